"""The port `EventLog` on PostgreSQL: the lines of all jobs' histories, and which transactions may still add some.

Nothing listens and nothing is held between two statements, so PgBouncer's transaction mode works.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Integer, RowMapping, Select, Text, and_, cast, exists, func, or_, select, true
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql import column
from sqlalchemy.sql.elements import ColumnElement

from imagegen.jobs import Batch, Job
from imagegen.ports_events import LOOKBACK, Horizon, Line, Newest, News, Place, Scope
from storage import batches, rows
from storage.engine import Database
from storage.tables import BATCHES, EVENTS, JOBS, value

_LINE = tuple(field.name for field in fields(Line))
_IDS = value("ids", ARRAY(JOBS.c.id.type))
_LIMIT = value("limit", Integer())
_LAST = value("last", BigInteger())


def _numbers(name: str) -> ColumnElement[Any]:
    return value(name, ARRAY(BigInteger()))


def _transaction(edge: ColumnElement[Any]) -> ColumnElement[Any]:
    # xid8 has no cast to a number but by way of its text.
    return cast(cast(edge, Text()), BigInteger())


_SNAPSHOT = func.pg_current_snapshot()
_HORIZON = select(
    _transaction(func.pg_snapshot_xmin(_SNAPSHOT)).label("ended"),
    _transaction(func.pg_snapshot_xmax(_SNAPSHOT)).label("begun"),
).subquery("horizon")
_LINES: Select[Any] = select(
    *[EVENTS.c[name] for name in _LINE if name not in {"owner", "batch_id"}], JOBS.c.owner, JOBS.c.batch_id
).select_from(EVENTS.join(JOBS, JOBS.c.id == EVENTS.c.job_id))


def _newest() -> Select[Any]:
    tail = select(EVENTS.c.id).order_by(EVENTS.c.id.desc()).limit(LOOKBACK).subquery("tail")
    return select(_HORIZON, tail.c.id).select_from(_HORIZON.outerjoin(tail, true()))


def _after() -> Select[Any]:
    behind = _LINES.where(EVENTS.c.id > _LAST).order_by(EVENTS.c.id).limit(_LIMIT).subquery("behind")
    late = _LINES.where(EVENTS.c.id == func.any(_numbers("missing"))).subquery("late")
    seen = select(behind).union_all(select(late)).subquery("seen")
    return select(_HORIZON, seen).select_from(_HORIZON.outerjoin(seen, true())).order_by(seen.c.id)


def _between(scope: Scope) -> Select[Any]:
    row = EVENTS.c
    unread = or_(row.id > value("begin", BigInteger()), row.id == func.any(_numbers("begin_open")))
    passed = and_(row.id <= value("end", BigInteger()), row.id != func.all(_numbers("end_open")))
    asked = [(row.job_id, scope.job_id), (JOBS.c.batch_id, scope.batch_id), (JOBS.c.owner, scope.owner)]
    alike = [column == wanted for column, wanted in asked if wanted is not None]
    # The lowest number that is not behind `begin`, so that an index finds where to start.
    return _LINES.where(row.id >= value("lowest", BigInteger()), unread, passed, *alike).order_by(row.id).limit(_LIMIT)


def _gone() -> Select[Any]:
    asked = func.unnest(_IDS).table_valued(column("id", JOBS.c.id.type)).render_derived("asked")
    job, batch = exists().where(JOBS.c.id == asked.c.id), exists().where(BATCHES.c.id == asked.c.id)
    return select(asked.c.id).where(~job, ~batch)


_NEWEST, _AFTER, _GONE = _newest(), _after(), _gone()
_SOME_JOBS = select(JOBS).where(JOBS.c.id == func.any(_IDS))
_SOME_BATCHES = batches.WITH_JOBS.where(BATCHES.c.id == func.any(_IDS)).order_by(BATCHES.c.id, JOBS.c.batch_index)


class PostgresEventLog:
    """The log of one database; see `imagegen.ports_events.EventLog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(self) -> Newest:
        """Where the log ends."""
        found = self._database.run(_NEWEST)
        seen = {row["id"] for row in found if row["id"] is not None}
        last = max(seen, default=0)
        return Newest(last, frozenset(range(max(1, last - LOOKBACK + 1), last)) - seen, _horizon(found[0]))

    def after(self, last: int, missing: Sequence[int], *, limit: int) -> News:
        """What is new behind this number, and what came late."""
        found = self._database.run(_AFTER, {"last": last, "missing": [*missing], "limit": limit})
        return News([_line(row) for row in found if row["id"] is not None], _horizon(found[0]))

    def between(self, scope: Scope, begin: Place, end: Place, *, limit: int) -> Sequence[Line]:
        """Lines of the scope from one place to another."""
        values = {
            "begin": begin.last, "begin_open": sorted(begin.open), "lowest": min(begin.open, default=begin.last + 1),
            "end": end.last, "end_open": sorted(end.open), "limit": limit,
        }  # fmt: skip
        return [_line(row) for row in self._database.run(_between(scope), values)]

    def jobs(self, job_ids: Sequence[UUID]) -> Sequence[Job]:
        """Those that exist."""
        return [rows.job(row) for row in self._database.run(_SOME_JOBS, {"ids": [*job_ids]})]

    def batches(self, batch_ids: Sequence[UUID]) -> Sequence[tuple[Batch, Sequence[Job]]]:
        """Those that exist, with their jobs."""
        return batches.grouped(self._database.run(_SOME_BATCHES, {"ids": [*batch_ids]}))

    def gone(self, ids: Sequence[UUID]) -> frozenset[UUID]:
        """Those that do not exist."""
        return frozenset(row["id"] for row in self._database.run(_GONE, {"ids": [*ids]}))


def _line(row: RowMapping) -> Line:
    return Line(**{name: row[name] for name in _LINE})


def _horizon(row: RowMapping) -> Horizon:
    return Horizon(row["ended"], row["begun"])
