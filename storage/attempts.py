"""Attempts: the intent to buy, and what every answer taught us of it, whatever became of the job (law 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    CTE,
    Boolean,
    Column,
    Insert,
    Integer,
    Select,
    Update,
    and_,
    case,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.sql.elements import ColumnElement

from imagegen.moves import names_picture, over
from imagegen.records import Facts, NewAttempt
from storage.events import AT
from storage.tables import ATTEMPTS, value

_NEW = ("id", "number", "provider", "model", "token", "estimate", "emulated", "callback")
_LEARNT = ("provider_job_id", "result_url", "blob_sha256", "usage", "actual", "error")
_SILENT = ("submitting", "unknown")
_FINAL = ("succeeded", "failed")


def _value(prefix: str, column: Column[Any]) -> ColumnElement[Any]:
    return value(prefix + column.name, column)


FACT_ID = _value("fact_", ATTEMPTS.c.id)


def intend(moved: CTE) -> Insert:
    """The row of a new attempt (state `submitting`), if the job moved; takes `new_values`."""
    given = [_value("new_", ATTEMPTS.c[name]) for name in _NEW]
    row = select(*given, literal_column("'submitting'"), literal_column("0"), AT, moved.c.id, moved.c.run)
    return insert(ATTEMPTS).from_select([*_NEW, "state", "collects", "submitted_at", "job_id", "run"], row)


def new_values(attempt: NewAttempt) -> dict[str, Any]:
    """The values that `intend` takes."""
    return {f"new_{name}": getattr(attempt, name) for name in _NEW}


def settle(
    state: ColumnElement[Any], ready: ColumnElement[Any], learnt: Mapping[str, ColumnElement[Any]]
) -> dict[str, Any]:
    """The columns of an UPDATE that adds what was learnt: a null teaches nothing, not knowing undoes no knowledge, and
    how an attempt ended is not taken back by an earlier answer that comes later."""
    known = ATTEMPTS.c
    silent = and_(state.in_([literal(word) for word in _SILENT]), known.state != "submitting")
    early = and_(state.not_in([literal(word) for word in _FINAL]), known.state.in_([literal(word) for word in _FINAL]))
    ignorant = or_(silent, early)
    return {
        **{name: func.coalesce(value, known[name]) for name, value in learnt.items()},
        "state": case((ignorant, known.state), else_=state),
        "answered_at": case((and_(known.answered_at.is_(None), state != "submitting"), AT), else_=known.answered_at),
        "ready_at": case((and_(known.ready_at.is_(None), ready), AT), else_=known.ready_at),
    }


def learn(collect_at: ColumnElement[Any], attempt_id: ColumnElement[Any] = FACT_ID) -> Update:
    """What one answer taught us, unconditionally, and when its picture is looked for; takes `fact_values`."""
    state = value("fact_state", ATTEMPTS.c.state)
    ready = value("fact_ready", Boolean())
    learnt = {name: _value("fact_", ATTEMPTS.c[name]) for name in _LEARNT}
    known = {**settle(state, ready, learnt), "collect_at": collect_at}
    return update(ATTEMPTS).where(ATTEMPTS.c.id == attempt_id).values(known)


def fact_values(facts: Facts) -> dict[str, Any]:
    """The values that `learn` takes."""
    return {
        **{f"fact_{name}": getattr(facts, name) for name in _LEARNT},
        "fact_id": facts.attempt_id,
        "fact_state": facts.state,
        "fact_ready": over(facts),
        "fact_collect": facts.collect,
        "fact_names": names_picture(facts),
    }


GET: Select[Any] = select(ATTEMPTS).where(ATTEMPTS.c.id == value("attempt_id", ATTEMPTS.c.id))

ORDERED: Select[Any] = (
    select(ATTEMPTS)
    .where(
        ATTEMPTS.c.provider == value("provider", ATTEMPTS.c.provider),
        ATTEMPTS.c.provider_job_id == value("provider_job_id", ATTEMPTS.c.provider_job_id),
    )
    .order_by(ATTEMPTS.c.submitted_at.desc(), ATTEMPTS.c.id.desc())
    .limit(1)
)

LATENCIES: Select[Any] = (
    select(func.extract("epoch", ATTEMPTS.c.ready_at - ATTEMPTS.c.submitted_at).label("seconds"))
    .where(
        ATTEMPTS.c.provider == value("provider", ATTEMPTS.c.provider),
        ATTEMPTS.c.model == value("model", ATTEMPTS.c.model),
        ATTEMPTS.c.ready_at.is_not(None),
        ATTEMPTS.c.state != literal_column("'failed'"),
    )
    .order_by(ATTEMPTS.c.submitted_at.desc())
    .limit(value("limit", Integer()))
)
