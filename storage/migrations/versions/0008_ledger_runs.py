"""A line of the books belongs to a run of its job: what an attempt came to may change from run to run, and back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

LEDGER = "imagegen_ledger"


def upgrade() -> None:
    """Lines that are there have one of each kind per attempt, so any run will do for them."""
    op.add_column(LEDGER, sa.Column("run", sa.Integer(), nullable=False, server_default=sa.text("1")))
    op.drop_index(f"{LEDGER}_once", LEDGER)
    op.create_index(f"{LEDGER}_once", LEDGER, ["attempt_id", "kind", "run"], unique=True)
