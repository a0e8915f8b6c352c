"""The table of what providers' callbacks came to; see `storage.tables`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from sqlalchemy import BigInteger
from sqlmodel import Field

from storage.columns import MOMENT, TEXT, Row, table


class CallbackCountRow(Row, table=True):
    """How many callbacks of a provider came to one outcome within the hour that began at `hour`."""

    __tablename__ = "imagegen_callback_counts"

    provider: str = Field(sa_type=TEXT, primary_key=True)
    outcome: str = Field(sa_type=TEXT, primary_key=True)
    hour: datetime = Field(sa_type=MOMENT, primary_key=True)
    count: int = Field(sa_type=cast(Any, BigInteger))


CALLBACK_COUNTS = table(CallbackCountRow)
