"""The outbox's table; see `storage.tables`."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Column, ForeignKeyConstraint, Index, desc, text
from sqlmodel import Field

from imagegen.outbox import State, Target
from storage.columns import JSON, MOMENT, TEXT, Row, one_of, table, words

UNTAKEN = (State.DISABLED, State.FAILED, State.REFUSED)
"""Ends of a delivery that nobody has taken."""


class DeliveryRow(Row, table=True):
    """What is to be told of one end to one target: `imagegen.outbox.Delivery`.

    `snapshot` holds the rows as the end left them, `log` one object per attempt. Whoever erases a job erases them.
    """

    __tablename__ = "imagegen_deliveries"
    __table_args__ = (
        one_of("target", Target),
        one_of("state", State),
        CheckConstraint(f"(due_at IS NULL) = (state <> '{State.DUE}')", name="due_rows_are_timed"),
        Index("imagegen_deliveries_once", "event_id", "target", unique=True),
        Index("imagegen_deliveries_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
        Index("imagegen_deliveries_newest", desc("at"), desc("id")),
        Index("imagegen_deliveries_job", "job_id"),
        Index("imagegen_deliveries_batch", "batch_id"),
        Index("imagegen_deliveries_untaken", "state", postgresql_where=text(f"state IN ({words(UNTAKEN)})")),
        ForeignKeyConstraint(["job_id"], ["image_generation_jobs.id"], ondelete="CASCADE"),
        ForeignKeyConstraint(["batch_id"], ["imagegen_batches.id"], ondelete="CASCADE"),
    )

    id: UUID = Field(primary_key=True)
    event_id: str = Field(sa_type=TEXT)
    kind: str = Field(sa_type=TEXT)
    target: str = Field(sa_type=TEXT)
    address: Any = Field(sa_column=Column("address", JSON, nullable=False))
    owner: str = Field(sa_type=TEXT)
    job_id: UUID | None
    batch_id: UUID | None
    at: datetime = Field(sa_type=MOMENT)
    since: datetime = Field(sa_type=MOMENT)
    snapshot: dict[str, Any] = Field(sa_type=JSON)
    state: str = Field(sa_type=TEXT)
    due_at: datetime | None = Field(sa_type=MOMENT)
    held_until: datetime | None = Field(sa_type=MOMENT)
    attempts: int
    log: list[dict[str, Any]] = Field(sa_type=JSON)


DELIVERIES = table(DeliveryRow)
