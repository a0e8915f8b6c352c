"""The tables behind the metrics; see `storage.tables`."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, cast

from sqlalchemy import BigInteger, Numeric
from sqlmodel import Field

from storage.columns import JSON, MOMENT, TEXT, Row, table


class TotalRow(Row, table=True):
    """One figure by its labels: what was counted so far, or, of a balance, what it was at the moment `at`."""

    __tablename__ = "imagegen_totals"

    name: str = Field(sa_type=TEXT, primary_key=True)
    labels: dict[str, Any] = Field(sa_type=JSON, primary_key=True)
    value: Decimal = Field(sa_type=cast(Any, Numeric(20, 6)))
    at: datetime = Field(sa_type=MOMENT)


class CountedRow(Row, table=True):
    """How far the histories are in the totals: one row, whose lock makes every count one after another.

    `events` and `ledger` are the last numbers counted. Those up to `…_seen` can be counted as soon as every
    transaction before `begun` has ended: then no smaller number can still appear.
    """

    __tablename__ = "imagegen_counted"

    name: str = Field(sa_type=TEXT, primary_key=True)
    events: int = Field(sa_type=cast(Any, BigInteger))
    ledger: int = Field(sa_type=cast(Any, BigInteger))
    events_seen: int = Field(sa_type=cast(Any, BigInteger))
    ledger_seen: int = Field(sa_type=cast(Any, BigInteger))
    begun: int = Field(sa_type=cast(Any, BigInteger))
    at: datetime = Field(sa_type=MOMENT)


TOTALS, COUNTED = table(TotalRow), table(CountedRow)
