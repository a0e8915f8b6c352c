"""Slots of limits, pauses, pictures collected after the end, other ids for a job."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

JOBS, ATTEMPTS = "image_generation_jobs", "imagegen_attempts"
MOMENT, TEXT, NONE = sa.DateTime(timezone=True), sa.Text(), sa.text("'[]'")


def upgrade() -> None:
    """Adds columns, with a value for the rows that are there, then indexes and tables."""
    op.add_column(JOBS, sa.Column("slot_at", MOMENT))
    op.add_column(JOBS, sa.Column("replaces", sa.Uuid()))
    _filled(JOBS, "stopped", sa.Boolean(), sa.false())
    _filled(JOBS, "aliases", postgresql.JSONB(), NONE)
    _filled("imagegen_batches", "aliases", postgresql.JSONB(), NONE)
    op.add_column(ATTEMPTS, sa.Column("collect_at", MOMENT))
    _filled(ATTEMPTS, "collects", sa.Integer(), sa.text("0"))
    _partial(f"{JOBS}_paced", JOBS, ["provider", "model"], "waiting_for IN ('in_flight', 'pace')")
    _partial(f"{JOBS}_in_flight", JOBS, ["provider", "model"], "status IN ('generating', 'processing')")
    _partial(f"{JOBS}_slots", JOBS, ["provider", "model"], "status = 'queued' AND slot_at IS NOT NULL")
    _partial(f"{JOBS}_replaces", JOBS, ["replaces"], "replaces IS NOT NULL")
    _partial(f"{ATTEMPTS}_collectable", ATTEMPTS, ["collect_at"], "collect_at IS NOT NULL")
    op.create_table(
        "imagegen_pace",
        sa.Column("provider", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("next_slot", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("provider", "model", name="imagegen_pace_pkey"),
    )
    op.create_table(
        "imagegen_pauses",
        sa.Column("scope", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("paused_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("scope", name="imagegen_pauses_pkey"),
    )


def _filled(table: str, name: str, kind: Any, value: Any) -> None:
    op.add_column(table, sa.Column(name, kind, nullable=False, server_default=value))
    op.alter_column(table, name, server_default=None)


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, postgresql_where=sa.text(where))
