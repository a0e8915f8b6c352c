"""A job's history: one line per move, written by the statement that moves it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CTE, Insert, Select, insert, select
from sqlalchemy.sql.elements import ColumnElement

from storage.tables import EVENTS, value

AT: ColumnElement[Any] = value("at", EVENTS.c.at)
CAUSE: ColumnElement[Any] = value("cause", EVENTS.c.cause)
WORKER: ColumnElement[Any] = value("worker", EVENTS.c.worker)
DETAIL: ColumnElement[Any] = value("detail", EVENTS.c.detail)
_COLUMNS = ("job_id", "run", "at", "move", "status", "stage", "cause", "worker", "detail")


def record(
    moved: CTE, move: ColumnElement[Any], *conditions: ColumnElement[bool], cause: ColumnElement[Any] = CAUSE
) -> Insert:
    """An event for every moved job; takes the values `at`, `cause` (unless given), `worker` and `detail`."""
    row = moved.c
    lines = select(row.id, row.run, AT, move, row.status, row.stage, cause, WORKER, DETAIL).where(*conditions)
    return insert(EVENTS).from_select(_COLUMNS, lines)


HISTORY: Select[Any] = select(EVENTS).where(EVENTS.c.job_id == value("job_id", EVENTS.c.job_id)).order_by(EVENTS.c.id)
