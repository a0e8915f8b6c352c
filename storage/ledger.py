"""The books: lines are only ever added, by the statement of the move that causes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import CTE, Boolean, and_, exists, func, literal_column, or_, select
from sqlalchemy.dialects.postgresql import JSONB, Insert, insert
from sqlalchemy.sql import column
from sqlalchemy.sql.elements import ColumnElement

from imagegen.records import Entry
from storage.events import AT
from storage.tables import JOBS, LEDGER, value

_COLUMNS = ("job_id", "attempt_id", "kind", "amount", "currency", "price", "emulated", "at", "run")


def enter(moved: CTE, job_id: ColumnElement[Any]) -> Insert:
    """The lines of a move: those marked `always` in any case, the others if the job moved; takes `entry_values`.

    A line that stands already (the attempt's newest, of the same kind) is not written twice, nor is one of its kind and
    run, nor one of a run before that of its newest line: a commit whose acknowledgement was lost may be repeated, and a
    job that goes on may come to the same once more.
    """
    names = [column(name, LEDGER.c[name].type) for name in ("attempt_id", "kind", "amount", "price", "run")]
    rows = (
        func.jsonb_to_recordset(value("entries", JSONB()))
        .table_valued(*names, column("always", Boolean()))
        .render_derived("line", with_types=True)
    )
    line = rows.c
    lines = (
        select(
            JOBS.c.id,
            line.attempt_id,
            line.kind,
            line.amount,
            literal_column("'USD'"),
            line.price,
            JOBS.c.emulated,
            AT,
            line.run,
        )
        .select_from(rows.join(JOBS, JOBS.c.id == job_id))
        .where(or_(line.always, exists(select(moved.c.id))), ~_stands(line))
    )
    return insert(LEDGER).from_select(_COLUMNS, lines).on_conflict_do_nothing()


def _stands(line: Any) -> ColumnElement[bool]:
    """Whether the attempt's newest line that is no reservation is of this kind, or, of a reservation, there is one; or
    whether a later run has told what became of the attempt."""
    same, newer = LEDGER.alias("same").c, LEDGER.alias("newer").c
    later = exists(
        select(newer.id).where(
            newer.attempt_id == same.attempt_id, newer.id > same.id, newer.kind != literal_column("'reserve'")
        )
    )
    last = or_(line.kind == literal_column("'reserve'"), ~later)
    told = or_(and_(same.kind == line.kind, last), same.run > line.run)
    return exists(select(same.id).where(same.attempt_id == line.attempt_id, told))


def entry_values(entries: Sequence[Entry]) -> dict[str, Any]:
    """The values that `enter` takes."""
    rows = [
        {
            "attempt_id": one.attempt_id,
            "kind": one.kind,
            "amount": one.amount,
            "price": one.price,
            "always": one.always,
            "run": one.run,
        }
        for one in entries
    ]
    return {"entries": rows}
