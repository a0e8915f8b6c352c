"""What metrics need of the tables: totals that outlive what they count, and how far the histories are in them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"

TOTALS = "imagegen_totals"
COUNTED = "imagegen_counted"
DELIVERIES = "imagegen_deliveries"


def upgrade() -> None:
    """The histories are counted by whoever is asked first."""
    op.create_table(
        TOTALS,
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("labels", JSONB(), nullable=False),
        sa.Column("value", sa.Numeric(20, 6), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", "labels", name=f"{TOTALS}_pkey"),
    )
    numbers = ("events", "ledger", "events_seen", "ledger_seen", "begun")
    op.create_table(
        COUNTED,
        sa.Column("name", sa.Text(), nullable=False),
        *[sa.Column(name, sa.BigInteger(), nullable=False) for name in numbers],
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=f"{COUNTED}_pkey"),
    )
    op.create_index(
        f"{DELIVERIES}_untaken", DELIVERIES, ["state"],
        postgresql_where=sa.text("state IN ('disabled', 'failed', 'refused')"),
    )  # fmt: skip
