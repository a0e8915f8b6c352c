"""The outbox: what is to be told of an end, to whom, and every attempt at it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"

DELIVERIES = "imagegen_deliveries"
MOMENT, TEXT, JSONB = sa.DateTime(timezone=True), sa.Text(), postgresql.JSONB()


def upgrade() -> None:
    """A table of its own; ends from here on write into it."""
    op.create_table(
        DELIVERIES,
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("event_id", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("target", TEXT, nullable=False),
        sa.Column("address", JSONB, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("job_id", sa.Uuid()),
        sa.Column("batch_id", sa.Uuid()),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("snapshot", JSONB, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("due_at", MOMENT),
        sa.Column("held_until", MOMENT),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("log", JSONB, nullable=False),
        sa.PrimaryKeyConstraint("id", name=f"{DELIVERIES}_pkey"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["image_generation_jobs.id"], f"{DELIVERIES}_job_id_fkey", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["imagegen_batches.id"], f"{DELIVERIES}_batch_id_fkey", ondelete="CASCADE"
        ),
        sa.CheckConstraint("target IN ('task', 'webhook')", name="target"),
        sa.CheckConstraint("state IN ('delivered', 'disabled', 'due', 'failed', 'refused')", name="state"),
        sa.CheckConstraint("(due_at IS NULL) = (state <> 'due')", name="due_rows_are_timed"),
    )
    op.create_index(f"{DELIVERIES}_once", DELIVERIES, ["event_id", "target"], unique=True)
    op.create_index(f"{DELIVERIES}_due", DELIVERIES, ["due_at"], postgresql_where=sa.text("due_at IS NOT NULL"))
    op.create_index(f"{DELIVERIES}_newest", DELIVERIES, [sa.text("at DESC"), sa.text("id DESC")])
    op.create_index(f"{DELIVERIES}_job", DELIVERIES, ["job_id"])
    op.create_index(f"{DELIVERIES}_batch", DELIVERIES, ["batch_id"])
