"""Who holds a job and for how long, who is woken before its time, and under which other ids a job is awaited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table, Update, and_, case, func, or_, select, true, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql import column

from imagegen.records import Holding
from imagegen.states import Stage, Status
from storage.events import AT
from storage.moves import JOB_ID
from storage.tables import BATCHES, JOBS, among, value

_row = JOBS.c
_GENERATING = among(_row.status, [Status.GENERATING])


def _renew() -> Update:
    """Takes `held` (rows of `holdings`) and `until`.

    Never shortens a lease. Rows are locked in one order, so that two statements about many jobs cannot wait for each
    other; what a sweep freed meanwhile is seen as it is then.
    """
    names = {"job_id": _row.id, "claim": _row.claim, "attempt_id": _row.attempt_id}
    given = func.jsonb_to_recordset(value("held", JSONB()))
    held = given.table_valued(*[column(name, like.type) for name, like in names.items()])
    held = held.render_derived("held", with_types=True)
    buying = and_(_GENERATING, among(_row.stage, [Stage.GENERATE, Stage.RECONCILE]))
    mine = or_(_row.claim == held.c.claim, and_(_row.attempt_id == held.c.attempt_id, buying))
    locked = (
        select(_row.id)
        .select_from(JOBS.join(held, held.c.job_id == _row.id))
        .where(_row.next_run_at.is_not(None), mine)
        .order_by(_row.id)
        .with_for_update(of=JOBS, key_share=True)
        .cte("locked")
    )
    until = func.greatest(_row.next_run_at, value("until", _row.next_run_at))
    return update(JOBS).where(_row.id == locked.c.id).values(next_run_at=until)


RENEW = _renew()


def holdings(held: Sequence[Holding]) -> list[dict[str, Any]]:
    """The rows that `RENEW` takes."""
    return [{"job_id": one.job_id, "claim": one.claim, "attempt_id": one.attempt_id} for one in held]


# At stage `generate` the time is the lease of the worker that buys: it remembers the wake-up, and keeps its time.
_ASKING = among(_row.stage, [Stage.POLL, Stage.RECONCILE])
WAKE = (
    update(JOBS)
    .where(_row.id == JOB_ID, _GENERATING)
    .values(woken=true(), next_run_at=case((_ASKING, func.least(_row.next_run_at, AT)), else_=_row.next_run_at))
    .returning(*_row)
)


def _alias(table: Table) -> Update:
    """Takes `identity` and `alias` (a JSON array of one id)."""
    alias = value("alias", table.c.aliases)
    told = case((table.c.aliases.contains(alias), table.c.aliases), else_=table.c.aliases.concat(alias))
    return update(table).where(table.c.id == value("identity", table.c.id)).values(aliases=told).returning(*table.c)


ALIAS_JOB, ALIAS_BATCH = _alias(JOBS), _alias(BATCHES)
