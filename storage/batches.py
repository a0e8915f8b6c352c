"""Batches: read with their jobs, and closed by one guarded UPDATE however many try."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from sqlalchemy import Integer, RowMapping, Select, and_, case, exists, func, literal_column, or_, select, update
from sqlalchemy.sql import FromClause
from sqlalchemy.sql.elements import ColumnElement

from imagegen.jobs import Batch, Job
from imagegen.states import LIVE, BatchStatus, Status
from storage import outbox, rows
from storage.events import AT
from storage.tables import BATCHES, JOBS, OPEN_BATCH, among, value

_BATCH_ID = value("batch_id", BATCHES.c.id)


def with_members(found: FromClause) -> Select[Any]:
    """Rows of `imagegen_batches`, each with its jobs beside it."""
    told = [one.label(rows.BATCH + one.name) for one in found.columns]
    return select(*told, *JOBS.columns).select_from(found.outerjoin(JOBS, JOBS.c.batch_id == found.c.id))


WITH_JOBS = with_members(BATCHES)
GET: Select[Any] = WITH_JOBS.where(BATCHES.c.id == _BATCH_ID).order_by(JOBS.c.batch_index)
GET_OWN: Select[Any] = GET.where(BATCHES.c.owner == value("owner", BATCHES.c.owner))

_LIVE_MEMBER = exists().where(JOBS.c.batch_id == BATCHES.c.id, among(JOBS.c.status, LIVE))
_OPEN = among(BATCHES.c.status, OPEN_BATCH)
UNCLOSED: Select[Any] = (
    select(BATCHES.c.id).where(_OPEN, ~_LIVE_MEMBER).order_by(BATCHES.c.created_at).limit(value("limit", Integer()))
)


def _members(aggregate: Any, status: Status) -> ColumnElement[bool]:
    alike = select(aggregate(JOBS.c.status == literal_column(f"'{status}'"))).where(JOBS.c.batch_id == _BATCH_ID)
    return alike.scalar_subquery()


_OUTCOME = case(
    (_members(func.bool_and, Status.COMPLETED), literal_column(f"'{BatchStatus.COMPLETED}'")),
    (_members(func.bool_or, Status.COMPLETED), literal_column(f"'{BatchStatus.PARTIAL}'")),
    (_members(func.bool_and, Status.CANCELLED), literal_column(f"'{BatchStatus.CANCELLED}'")),
    else_=literal_column(f"'{BatchStatus.FAILED}'"),
)
# A retry that reopens the batch while this statement waits for its row raises `run`: what the snapshot says of the
# members is then out of date, and nothing is closed.
_SEEN = BATCHES.alias("seen")
_SAME_RUN = BATCHES.c.run == select(_SEEN.c.run).where(_SEEN.c.id == _BATCH_ID).scalar_subquery()
_CLOSED = (
    update(BATCHES)
    .where(BATCHES.c.id == _BATCH_ID, _OPEN, ~_LIVE_MEMBER, _SAME_RUN)
    .values(status=_OUTCOME, completed_at=AT)
    .returning(*BATCHES.c)
    .cte("closed")
)
CLOSE: Select[Any] = select(_CLOSED).add_cte(outbox.tell_batch(_CLOSED).cte("told"))


def stands(wanted: str) -> ColumnElement[bool]:
    """Whether a batch has this status; like `with_jobs`, an open one is running as soon as any member was claimed."""
    begun = exists().where(
        JOBS.c.batch_id == BATCHES.c.id,
        or_(JOBS.c.started_at.is_not(None), JOBS.c.status != literal_column(f"'{Status.QUEUED}'")),
    )
    if wanted == BatchStatus.RUNNING:
        return and_(_OPEN, or_(BATCHES.c.status == wanted, begun))
    if wanted == BatchStatus.QUEUED:
        return and_(BATCHES.c.status == wanted, ~begun)
    return BATCHES.c.status == wanted


def grouped(found: Sequence[RowMapping]) -> list[tuple[Batch, list[Job]]]:
    """The batches of rows that come batch by batch, each with its jobs."""
    groups = [list(group) for _, group in groupby(found, key=lambda row: row[rows.BATCH + "id"])]
    return [pair for pair in map(with_jobs, groups) if pair is not None]


def with_jobs(found: Sequence[RowMapping]) -> tuple[Batch, list[Job]] | None:
    """The first batch of these rows and its jobs; an open one is running as soon as any of them was claimed."""
    if not found:
        return None
    batch = rows.batch(found[0], rows.BATCH)
    jobs = [rows.job(row) for row in found if row["id"] is not None and row["batch_id"] == batch.id]
    if batch.status is BatchStatus.QUEUED and any(job.started_at or job.status is not Status.QUEUED for job in jobs):
        batch = replace(batch, status=BatchStatus.RUNNING)
    return batch, jobs
