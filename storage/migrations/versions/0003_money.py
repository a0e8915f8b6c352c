"""What is wasted and committed, budgets with their spending, flights, alerts.

`image_generation_jobs.committed` is watched by a trigger: whatever statement changes it changes the spending of the
budgets that it belongs to, in the same transaction.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"

JOBS = "image_generation_jobs"
MOMENT, TEXT, BOOLEAN = sa.DateTime(timezone=True), sa.Text(), sa.Boolean()
DOLLARS, JSONB, DATE = sa.Numeric(14, 6), postgresql.JSONB(), sa.Date()


def upgrade() -> None:
    """Adds columns, with a value for the rows that are there, then tables."""
    op.add_column(JOBS, sa.Column("cost_wasted", DOLLARS))
    op.add_column(JOBS, sa.Column("committed", DOLLARS, nullable=False, server_default=sa.text("0")))
    op.alter_column(JOBS, "committed", server_default=None)
    op.add_column(JOBS, sa.Column("reserved_on", DATE))
    _table("imagegen_flights", ("fingerprint", TEXT), ("emulated", BOOLEAN), keys=2, rest=[
        ("leader", sa.Uuid()), ("taken_at", MOMENT),
    ])  # fmt: skip
    _table("imagegen_budgets", ("scope", TEXT), ("period", TEXT), ("emulated", BOOLEAN), keys=3, rest=[
        ("amount", DOLLARS), ("hard", BOOLEAN), ("created_at", MOMENT), ("updated_at", MOMENT),
    ])  # fmt: skip
    op.create_check_constraint(
        op.f("imagegen_budgets_period_check"), "imagegen_budgets", "period IN ('day', 'month', 'total')"
    )
    _table("imagegen_spending", ("scope", TEXT), ("period", TEXT), ("emulated", BOOLEAN), ("starts", DATE), keys=4, rest=[
        ("committed", DOLLARS),
    ])  # fmt: skip
    _table("imagegen_alerts", ("key", TEXT), keys=1, rest=[
        ("kind", TEXT), ("message", TEXT), ("detail", JSONB), ("raised_at", MOMENT), ("told_at", MOMENT, True),
    ])  # fmt: skip


def _table(name: str, *keyed: tuple[str, Any], keys: int, rest: list[tuple[Any, ...]]) -> None:
    columns = [sa.Column(column, kind, nullable=False) for column, kind in keyed]
    columns += [sa.Column(column, kind, nullable=bool(null)) for column, kind, *null in rest]
    primary = sa.PrimaryKeyConstraint(*[column for column, _ in keyed][:keys], name=f"{name}_pkey")
    op.create_table(name, *columns, primary)
