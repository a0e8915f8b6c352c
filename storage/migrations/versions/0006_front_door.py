"""What the HTTP door needs of the tables: an owner's batches, newest first."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

BATCHES = "imagegen_batches"
JOBS = "image_generation_jobs"
DISCARDS = "imagegen_discards"
ATTEMPTS = "imagegen_attempts"
CALLBACK_COUNTS = "imagegen_callback_counts"


def upgrade() -> None:
    """Lists by owner and as a whole, as those of jobs."""
    op.create_index("imagegen_batches_owner", BATCHES, ["owner", sa.text("created_at DESC"), sa.text("id DESC")])
    op.create_index("imagegen_batches_newest", BATCHES, [sa.text("created_at DESC"), sa.text("id DESC")])
    _erasing()
    _callbacks()


def _erasing() -> None:
    """When a job's content is to be erased and when it was; the objects that may have lost their last referrer."""
    for name in ("erase_at", "erased_at"):
        op.add_column(JOBS, sa.Column(name, sa.DateTime(timezone=True)))
    op.create_index(
        f"{JOBS}_kept", JOBS, ["job_type", "completed_at"],
        postgresql_where=sa.text("erase_at IS NULL AND completed_at IS NOT NULL"),
    )  # fmt: skip
    op.create_index(
        f"{JOBS}_erasing", JOBS, ["erase_at"],
        postgresql_where=sa.text("erase_at IS NOT NULL AND erased_at IS NULL"),
    )  # fmt: skip
    op.create_table(
        DISCARDS,
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=f"{DISCARDS}_pkey"),
    )
    op.create_index(f"{DISCARDS}_due", DISCARDS, ["due_at"])


def _callbacks() -> None:
    """Whether a provider was to call and did, the last delivery taken, and the counts of what callbacks came to."""
    for name in ("callback", "delivery"):
        op.add_column(ATTEMPTS, sa.Column(name, sa.Text()))
    op.create_check_constraint("callback", ATTEMPTS, "callback IN ('arrived', 'expected', 'missed')")
    op.create_index(
        f"{ATTEMPTS}_uncalled", ATTEMPTS, ["ready_at"],
        postgresql_where=sa.text("callback = 'expected' AND ready_at IS NOT NULL"),
    )  # fmt: skip
    op.create_table(
        CALLBACK_COUNTS,
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("provider", "outcome", "hour", name=f"{CALLBACK_COUNTS}_pkey"),
    )
