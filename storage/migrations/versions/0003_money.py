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
SPEND = "imagegen_spend"
"""Function and triggers that keep `imagegen_spending`."""
MOMENT, TEXT, BOOLEAN = sa.DateTime(timezone=True), sa.Text(), sa.Boolean()
DOLLARS, JSONB, DATE = sa.Numeric(14, 6), postgresql.JSONB(), sa.Date()


def upgrade() -> None:
    """Adds columns, with a value for the rows that are there, then tables."""
    op.add_column(JOBS, sa.Column("cost_wasted", DOLLARS))
    op.add_column(JOBS, sa.Column("committed", DOLLARS, nullable=False, server_default=sa.text("0")))
    op.alter_column(JOBS, "committed", server_default=None)
    op.add_column(JOBS, sa.Column("reserved_on", DATE))
    op.execute(RECKON)
    _table("imagegen_flights", ("fingerprint", TEXT), ("emulated", BOOLEAN), keys=2, rest=[
        ("leader", sa.Uuid()), ("taken_at", MOMENT),
    ])  # fmt: skip
    _table("imagegen_budgets", ("scope", TEXT), ("period", TEXT), ("emulated", BOOLEAN), keys=3, rest=[
        ("amount", DOLLARS), ("hard", BOOLEAN), ("created_at", MOMENT), ("updated_at", MOMENT),
    ])  # fmt: skip
    op.create_check_constraint(
        op.f("imagegen_budgets_period_check"), "imagegen_budgets", "period IN ('day', 'month', 'total')"
    )
    account = (("scope", TEXT), ("period", TEXT), ("emulated", BOOLEAN), ("starts", DATE))
    _table("imagegen_spending", *account, keys=4, rest=[("committed", DOLLARS)])
    _table("imagegen_alerts", ("key", TEXT), keys=1, rest=[
        ("kind", TEXT), ("message", TEXT), ("detail", JSONB), ("raised_at", MOMENT), ("told_at", MOMENT, True),
    ])  # fmt: skip
    op.execute(FUNCTION)
    for what, rows in (("INSERT", "NEW TABLE AS new_rows"), ("UPDATE", "OLD TABLE AS old_rows NEW TABLE AS new_rows")):
        op.execute(
            f"CREATE TRIGGER {SPEND}_{what.lower()} AFTER {what} ON {JOBS} REFERENCING {rows}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION {SPEND}()"
        )


RECKON = f"""
WITH final AS (
    SELECT DISTINCT ON (attempt_id) job_id, kind, amount FROM imagegen_ledger
    WHERE kind <> 'reserve' ORDER BY attempt_id, id DESC
), sums AS (
    SELECT job_id,
        sum(amount) FILTER (WHERE kind = 'settle') AS settled, sum(amount) FILTER (WHERE kind = 'waste') AS lost
    FROM final GROUP BY job_id
), told AS (
    SELECT job.id, sums.lost AS wasted,
        CASE WHEN job.status NOT IN ('failed', 'cancelled') THEN job.cost_credits
             WHEN sums.settled IS NULL AND job.cost_uncertain > 0 THEN NULL
             ELSE coalesce(sums.settled, 0) END AS credits
    FROM {JOBS} AS job LEFT JOIN sums ON sums.job_id = job.id
)
UPDATE {JOBS} AS job SET
    cost_wasted = told.wasted,
    cost_credits = told.credits,
    reserved_on = (job.created_at AT TIME ZONE 'UTC')::date,
    committed = coalesce(told.credits, CASE WHEN job.next_run_at IS NOT NULL THEN job.cost_estimated END, 0)
        + coalesce(told.wasted, 0) + coalesce(job.cost_uncertain, 0)
FROM told WHERE told.id = job.id
"""
"""What jobs of earlier releases wasted was told as their cost: the ledger knows better."""

FUNCTION = f"""
CREATE FUNCTION {SPEND}() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    lines jsonb;
    account record;
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT jsonb_agg(jsonb_build_object(
            'owner', owner, 'project', project_id, 'provider', provider, 'emulated', emulated,
            'day', coalesce(reserved_on, (created_at AT TIME ZONE 'UTC')::date), 'amount', committed
        )) INTO lines FROM new_rows WHERE committed <> 0;
    ELSE
        SELECT jsonb_agg(jsonb_build_object(
            'owner', after.owner, 'project', after.project_id,
            'provider', side.provider, 'emulated', after.emulated,
            'day', coalesce(side.reserved_on, (after.created_at AT TIME ZONE 'UTC')::date), 'amount', side.committed
        )) INTO lines
        FROM new_rows AS after JOIN old_rows AS before USING (id)
        CROSS JOIN LATERAL (VALUES
            (after.provider, after.reserved_on, after.committed),
            (before.provider, before.reserved_on, -before.committed)
        ) AS side (provider, reserved_on, committed)
        WHERE (after.committed, after.provider, after.reserved_on)
            IS DISTINCT FROM (before.committed, before.provider, before.reserved_on);
    END IF;
    IF lines IS NULL THEN
        RETURN NULL;
    END IF;
    -- Whoever sets a budget waits for this transaction; what it set before is seen by the next statement.
    LOCK TABLE imagegen_budgets IN ROW SHARE MODE;
    FOR account IN
        SELECT budget.scope, budget.period, budget.emulated, began.starts, sum(line.amount) AS amount
        FROM jsonb_to_recordset(lines)
            AS line (owner text, project text, provider text, emulated boolean, day date, amount numeric)
        JOIN imagegen_budgets AS budget ON budget.emulated = line.emulated AND budget.scope IN
            ('all', 'owner:' || line.owner, 'project:' || line.project, 'provider:' || line.provider)
        CROSS JOIN LATERAL (SELECT CASE budget.period
            WHEN 'day' THEN line.day
            WHEN 'month' THEN date_trunc('month', line.day::timestamp)::date
            ELSE DATE '1970-01-01' END AS starts) AS began
        GROUP BY 1, 2, 3, 4 HAVING sum(line.amount) <> 0
        -- One order for everybody, so that no two wait for each other.
        ORDER BY 1, 2, 3, 4
    LOOP
        UPDATE imagegen_spending AS spent SET committed = spent.committed + account.amount
        WHERE (spent.scope, spent.period, spent.emulated, spent.starts)
            = (account.scope, account.period, account.emulated, account.starts);
        IF NOT FOUND AND account.amount > 0 THEN
            INSERT INTO imagegen_spending AS spent (scope, period, emulated, starts, committed)
            VALUES (account.scope, account.period, account.emulated, account.starts, account.amount)
            ON CONFLICT (scope, period, emulated, starts)
            DO UPDATE SET committed = spent.committed + excluded.committed;
        END IF;
    END LOOP;
    RETURN NULL;
END
$$
"""
"""Adds what the rows of one statement commit more, or less, to the budgets that they belong to.

A period's account begins with its first job; `SET search_path` fixes the schema that the migration ran in, so that
nothing depends on the session.
"""


def _table(name: str, *keyed: tuple[str, Any], keys: int, rest: list[tuple[Any, ...]]) -> None:
    columns = [sa.Column(column, kind, nullable=False) for column, kind in keyed]
    columns += [sa.Column(column, kind, nullable=bool(null)) for column, kind, *null in rest]
    primary = sa.PrimaryKeyConstraint(*[column for column, _ in keyed][:keys], name=f"{name}_pkey")
    op.create_table(name, *columns, primary)
