"""The table of what an erasure left to be looked at; see `storage.tables`."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index
from sqlmodel import Field

from storage.columns import MOMENT, TEXT, Row, table


class DiscardRow(Row, table=True):
    """An original or input whose referrer was erased: deleted once it is due, unless another row needs it by then."""

    __tablename__ = "imagegen_discards"
    __table_args__ = (Index("imagegen_discards_due", "due_at"),)

    key: str = Field(sa_type=TEXT, primary_key=True)
    due_at: datetime = Field(sa_type=MOMENT)


DISCARDS = table(DiscardRow)
