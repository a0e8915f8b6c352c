"""The outbox's rows, written by the statement of the end they tell of: no end without them, none without its end."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CTE, Integer, Select, Table, func, literal, literal_column, null, select
from sqlalchemy.dialects.postgresql import JSONB, Insert, insert
from sqlalchemy.sql import column
from sqlalchemy.sql.elements import ColumnElement

from imagegen.outbox import BATCH_ID, BATCH_KIND, JOB_ID, JOB_KIND, REPLACED, State, Target
from storage.events import AT
from storage.tables import BATCHES, JOBS
from storage.tables_outbox import DELIVERIES

_COLUMNS = (
    "id", "event_id", "kind", "target", "address", "owner", "job_id", "batch_id", "at", "since", "snapshot", "state",
    "due_at", "attempts", "log",
)  # fmt: skip
_EMPTY = literal_column("'[]'", JSONB())


def tell_job(moved: CTE, *, replaced: bool) -> Insert:
    """A row per target of the moved job, if it has any; a job whose picture replaced a placeholder tells its batch's
    targets too, which heard of the placeholder."""
    row = moved.c
    told: ColumnElement[Any] = literal_column(f"'{REPLACED}'") if replaced else row.status
    addresses = {Target.WEBHOOK: row.request["callbackUrl"], Target.TASK: row.request["notifyTask"]}
    source: Any = moved
    if replaced:
        batch = BATCHES.alias("of_batch")
        source = moved.outerjoin(batch, batch.c.id == row.batch_id)
        addresses = {
            Target.WEBHOOK: func.coalesce(addresses[Target.WEBHOOK], func.to_jsonb(batch.c.callback_url)),
            Target.TASK: func.coalesce(addresses[Target.TASK], batch.c.notify_task),
        }
    event = func.concat(f"{JOB_ID}_", row.id, "_", row.run, "_", told)
    kind = func.concat(literal(JOB_KIND), told)
    snapshot = func.jsonb_build_object(literal_column("'job'"), _whole(moved))
    return _rows(source, addresses, event, kind, row.owner, row.id, null(), snapshot)


def tell_batch(closed: CTE) -> Insert:
    """A row per target of the closed batch, if it has any."""
    row = closed.c
    members = select(func.jsonb_agg(_whole(JOBS))).where(JOBS.c.batch_id == row.id)
    snapshot = func.jsonb_build_object(
        literal_column("'batch'"), _whole(closed), literal_column("'jobs'"), members.scalar_subquery()
    )
    addresses = {Target.WEBHOOK: func.to_jsonb(row.callback_url), Target.TASK: row.notify_task}
    event = func.concat(f"{BATCH_ID}_", row.id, "_", row.run, "_", row.status)
    kind = func.concat(literal(BATCH_KIND), row.status)
    return _rows(closed, addresses, event, kind, row.owner, null(), row.id, snapshot)


def _whole(rows: CTE | Table) -> ColumnElement[Any]:
    """The row as JSON, without what only a worker needs."""
    return func.to_jsonb(rows.table_valued()).op("-")(literal_column("'continuation'"))


def _rows(
    source: Any,
    addresses: dict[Target, ColumnElement[Any]],
    event: ColumnElement[Any],
    kind: ColumnElement[Any],
    owner: ColumnElement[Any],
    job_id: ColumnElement[Any],
    batch_id: ColumnElement[Any],
    snapshot: ColumnElement[Any],
) -> Insert:
    pairs = [part for name, address in addresses.items() for part in (literal_column(f"'{name}'"), address)]
    each = func.jsonb_each(func.jsonb_strip_nulls(func.jsonb_build_object(*pairs)))
    to = each.table_valued("key", column("value", JSONB())).render_derived("addressed").lateral()
    lines: Select[Any] = select(
        func.gen_random_uuid(), event, kind, to.c.key, to.c.value, owner, job_id, batch_id, AT, AT, snapshot,
        literal_column(f"'{State.DUE}'"), AT, literal_column("0", Integer()), _EMPTY,
    ).select_from(source.join(to, literal_column("true")))  # fmt: skip
    return insert(DELIVERIES).from_select(_COLUMNS, lines).on_conflict_do_nothing()
