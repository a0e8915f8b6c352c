"""The books: lines are only ever added, by the statement of the move that causes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import CTE, Boolean, exists, func, literal_column, or_, select
from sqlalchemy.dialects.postgresql import JSONB, Insert, insert
from sqlalchemy.sql import column
from sqlalchemy.sql.elements import ColumnElement

from imagegen.records import Entry
from storage.events import AT
from storage.tables import JOBS, LEDGER, value

_COLUMNS = ("job_id", "attempt_id", "kind", "amount", "currency", "price", "emulated", "at")


def enter(moved: CTE, job_id: ColumnElement[Any]) -> Insert:
    """The lines of a move: those marked `always` in any case, the others if the job moved; takes `entry_values`.

    A line that is there already (same attempt, same kind) is not written twice: a commit whose acknowledgement was
    lost may be repeated.
    """
    names = [column(name, LEDGER.c[name].type) for name in ("attempt_id", "kind", "amount", "price")]
    rows = (
        func.jsonb_to_recordset(value("entries", JSONB()))
        .table_valued(*names, column("always", Boolean()))
        .render_derived("line", with_types=True)
    )
    line = rows.c
    lines = (
        select(
            JOBS.c.id, line.attempt_id, line.kind, line.amount, literal_column("'USD'"), line.price, JOBS.c.emulated, AT
        )
        .select_from(rows.join(JOBS, JOBS.c.id == job_id))
        .where(or_(line.always, exists(select(moved.c.id))))
    )
    return insert(LEDGER).from_select(_COLUMNS, lines).on_conflict_do_nothing()


def entry_values(entries: Sequence[Entry]) -> dict[str, Any]:
    """The values that `enter` takes."""
    rows = [
        {
            "attempt_id": one.attempt_id,
            "kind": one.kind,
            "amount": one.amount,
            "price": one.price,
            "always": one.always,
        }
        for one in entries
    ]
    return {"entries": rows}
