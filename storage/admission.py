"""Admission: new jobs and their batch in one statement, all or nothing, once per id and once per idempotency key.

Where a hard budget is set, that statement and the look for room are one transaction (`storage.budgets`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import CTE, ColumnElement, Select, Table, and_, exists, func, literal_column, or_, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.sql import column
from sqlalchemy.sql.selectable import TableValuedAlias

from imagegen import money
from imagegen.errors import IdempotencyConflict
from imagegen.jobs import Batch, Job
from imagegen.records import Admitted
from storage import budgets, events, rows
from storage.batches import WITH_JOBS, with_jobs
from storage.engine import IDLE, Database
from storage.tables import BATCHES, BUDGETS, JOBS, value

RACES = 3
"""How often admission looks again when what stood in its way was erased meanwhile."""


def _records(table: Table, parameter: str) -> TableValuedAlias:
    """The JSON array given as `parameter` as rows with the table's own columns and types."""
    columns = [column(one.name, one.type) for one in table.columns]
    given = func.jsonb_to_recordset(value(parameter, JSONB()))
    return given.table_valued(*columns).render_derived(parameter, with_types=True)


_UNLIMITED = ~exists(select(BUDGETS.c.scope).where(BUDGETS.c.hard))


def _insert_jobs(batch: CTE | None, *conditions: ColumnElement[bool]) -> CTE:
    given = _records(JOBS, "new_jobs")
    new = select(*[given.c[one.name] for one in JOBS.columns]).where(*conditions)
    names = [one.name for one in JOBS.columns]
    if batch is None:
        return insert(JOBS).from_select(names, new).on_conflict_do_nothing().returning(*JOBS.c).cte("moved")
    # Members follow their batch; one that exists already without it is a mistake, and undoes the whole statement.
    joined = new.select_from(given.join(batch, batch.c.id == given.c.batch_id))
    return insert(JOBS).from_select(names, joined).returning(*JOBS.c).cte("moved")


def _statement(batched: bool, *conditions: ColumnElement[bool]) -> Select[Any]:
    jobs = _insert_jobs(_batch(*conditions)) if batched else _insert_jobs(None, *conditions)
    event = events.record(jobs, literal_column("'admit'")).cte("event")
    return select(jobs).order_by(jobs.c.batch_index).add_cte(event)


def _batch(*conditions: ColumnElement[bool]) -> CTE:
    given = _records(BATCHES, "new_batch")
    names = [one.name for one in BATCHES.columns]
    new = select(*[given.c[name] for name in names]).where(*conditions)
    return insert(BATCHES).from_select(names, new).on_conflict_do_nothing().returning(BATCHES.c.id).cte("batch")


_FREELY = {batched: _statement(batched, _UNLIMITED) for batched in (False, True)}
"""Write nothing where a hard budget is set."""
_WITHIN = {batched: _statement(batched) for batched in (False, True)}
_ID, _OWNER, _KEY = value("id", JOBS.c.id), value("owner", JOBS.c.owner), value("key", JOBS.c.idempotency_key)
_SAME_KEY = and_(JOBS.c.owner == _OWNER, JOBS.c.idempotency_key == _KEY, JOBS.c.batch_id.is_(None))
_JOB_IN_THE_WAY = select(JOBS).where(or_(JOBS.c.id == _ID, _SAME_KEY)).order_by((JOBS.c.id == _ID).desc()).limit(1)
_BATCH_IN_THE_WAY = WITH_JOBS.where(
    or_(BATCHES.c.id == _ID, (BATCHES.c.owner == _OWNER) & (BATCHES.c.idempotency_key == _KEY))
).order_by((BATCHES.c.id == _ID).desc(), BATCHES.c.id, JOBS.c.batch_index)


def admit(
    database: Database, jobs: Sequence[Job], batch: Batch | None, worker: str, detail: Mapping[str, Any] | None
) -> Admitted:
    """See `imagegen.job_store.Jobs.admit`."""
    if batch is None and len(jobs) != 1:
        raise ValueError("several jobs are admitted together only as a batch")
    values: dict[str, Any] = {
        "new_jobs": [rows.job_record(money.admitted(one)) for one in jobs],
        "at": (batch or jobs[0]).created_at,
        "cause": "admitted",
        "worker": worker,
        "detail": detail or {},
    }
    if batch is not None:
        values["new_batch"] = [rows.batch_record(batch)]
    batched = batch is not None
    for _ in range(RACES):
        written = [rows.job(row) for row in database.run(_FREELY[batched], values)]
        found = None if written else _found(database, jobs, batch)
        if found is not None:
            return found
        written = written or _within_budgets(database, batched, values)
        if written:
            return Admitted(jobs=written, batch=batch, created=True)
    raise IdempotencyConflict("another request with this id or idempotency key is being written; send it again")


def _within_budgets(database: Database, batched: bool, values: Mapping[str, Any]) -> list[Job]:
    """The new jobs; none where something is in their way. Raises `BudgetExceeded`: then nothing was written."""
    with database.transaction() as run:
        run(select(IDLE))
        written = [rows.job(row) for row in run(_WITHIN[batched], values)]
        budgets.make_room(run, (), written)
    return written


def _found(database: Database, jobs: Sequence[Job], batch: Batch | None) -> Admitted | None:
    return _found_job(database, jobs[0]) if batch is None else _found_batch(database, batch)


def same_request(new: Job | Batch, old: Job | Batch) -> None:
    """Raises `IdempotencyConflict` unless both came from the same owner with the same body."""
    if new.owner != old.owner:
        raise IdempotencyConflict(f"the id {new.id} is taken")
    if new.body_sha256 != old.body_sha256:
        named = f"idempotency key {new.idempotency_key!r}" if new.idempotency_key else f"id {new.id}"
        raise IdempotencyConflict(f"this {named} was used for another request")


def _looked_for(new: Job | Batch) -> dict[str, Any]:
    return {"id": new.id, "owner": new.owner, "key": new.idempotency_key}


def _found_job(database: Database, new: Job) -> Admitted | None:
    found = database.run(_JOB_IN_THE_WAY, _looked_for(new))
    if not found:
        return None
    old = rows.job(found[0])
    same_request(new, old)
    return Admitted(jobs=[old], batch=None, created=False)


def _found_batch(database: Database, new: Batch) -> Admitted | None:
    found = with_jobs(database.run(_BATCH_IN_THE_WAY, _looked_for(new)))
    if found is None:
        return None
    old, jobs = found
    same_request(new, old)
    return Admitted(jobs=jobs, batch=old, created=False)
