"""Slots of limits: the pointer's lock, who waits for it, and who is given the next ones.

Whoever decides about a limit locks the pointer of its provider first, then the model's own, then rows of jobs in the
order of their ids: decisions about one provider come one after another, in any process of the cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Insert,
    Integer,
    Interval,
    Select,
    Update,
    and_,
    bindparam,
    cast,
    func,
    literal_column,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert

from imagegen import pace, policies
from imagegen.limits import EVERY_MODEL
from imagegen.pace import PACE
from imagegen.records import Limit
from imagegen.states import Stage, Status
from storage import pauses
from storage.engine import IDLE, Database, Run
from storage.events import AT
from storage.tables import BUYING, JOBS, PACED, VALUE, among, value
from storage.tables import PACE as POINTERS

_row = JOBS.c
_PROVIDER = value("provider", _row.provider)
_MODELS = ARRAY(_row.model.type)


@cache
def _lock(models: int) -> Insert:
    """Takes `provider`, `at` and `model_0`, …: rows are locked in this order."""
    rows = [
        {
            "provider": _PROVIDER,
            "model": bindparam(f"{VALUE}model_{number}", type_=POINTERS.c.model.type),
            "next_slot": AT,
        }
        for number in range(models)
    ]
    made = insert(POINTERS).values(rows)
    kept = made.on_conflict_do_update(index_elements=["provider", "model"], set_={"next_slot": POINTERS.c.next_slot})
    return kept.returning(POINTERS.c.model, POINTERS.c.next_slot, IDLE)


MOVE_ON = (
    update(POINTERS)
    .where(POINTERS.c.provider == _PROVIDER, POINTERS.c.model == value("model", POINTERS.c.model))
    .values(next_slot=value("next_slot", POINTERS.c.next_slot))
)


def lock(run: Run, limit: Limit, at: datetime) -> datetime:
    """Until the transaction ends nobody else decides about this provider; the limit's pointer."""
    models = list(dict.fromkeys([EVERY_MODEL, limit.model]))
    named = {f"model_{number}": model for number, model in enumerate(models)}
    found = run(_lock(len(models)), {"provider": limit.provider, "at": at, **named})
    pointers: dict[str, datetime] = {one["model"]: one["next_slot"] for one in found}
    return pointers[limit.model]


def move_on(run: Run, limit: Limit, next_slot: datetime) -> None:
    """The limit's pointer from now on."""
    run(MOVE_ON, {"provider": limit.provider, "model": limit.model, "next_slot": next_slot})


def flying() -> ColumnElement[Any]:
    """Generations of `provider` by model as a JSON object, with the slots given and not used; without `job_id`."""
    mine = and_(_row.provider == _PROVIDER, _row.id.is_distinct_from(value("job_id", _row.id)))
    slots = and_(_row.status == literal_column(f"'{Status.QUEUED}'"), _row.slot_at.is_not(None))
    both = union_all(
        select(_row.model).where(mine, among(_row.status, BUYING)), select(_row.model).where(mine, slots)
    ).subquery()
    counted = select(both.c.model, func.count().label("n")).group_by(both.c.model).subquery()
    return select(
        func.coalesce(func.jsonb_object_agg(counted.c.model, counted.c.n), literal_column("'{}'::jsonb"))
    ).scalar_subquery()


def _waits() -> list[ColumnElement[bool]]:
    """Whether the row waits for a slot of this limit, and could go; takes `provider`, `model`, `others`, `at`."""
    model = value("model", _row.model)
    every = and_(model == literal_column(f"'{EVERY_MODEL}'"), _row.model != func.all(value("others", _MODELS)))
    return [
        _row.provider == _PROVIDER,
        among(_row.waiting_for, PACED),
        _row.status == literal_column(f"'{Status.QUEUED}'"),
        _row.stage == literal_column(f"'{Stage.GENERATE}'"),
        _row.slot_at.is_(None),
        or_(every, _row.model == model),
        _row.deadline_at > AT,
        ~pauses.holding(),
    ]


FLYING: Select[Any] = select(flying().label("flying"))
WAITERS: Select[Any] = select(_row.id).where(*_waits(), _row.model != func.all(value("full", _MODELS))).limit(1)


def _give() -> Update:
    """Takes `count`, `rooms` (by model, where there are bounds), `first` and `interval`, and what `_waits` takes."""
    count = value("count", Integer())
    rank = (_row.priority - func.extract("epoch", AT - _row.next_run_at) / policies.AGEING).label("rank")
    nth = func.row_number().over(partition_by=_row.model, order_by=(rank, _row.next_run_at, _row.id)).label("nth")
    waiting = select(_row.id, _row.model, _row.next_run_at, rank, nth).where(*_waits()).cte("waiting")
    most = cast(value("rooms", JSONB())[waiting.c.model].astext, Integer())
    picked = (
        select(waiting.c.id, waiting.c.rank, waiting.c.next_run_at)
        .where(waiting.c.nth <= func.coalesce(most, count))
        .order_by(waiting.c.rank, waiting.c.next_run_at, waiting.c.id)
        .limit(count)
        .cte("picked")
    )
    locked = (
        select(_row.id, picked.c.rank, picked.c.next_run_at)
        .select_from(JOBS.join(picked, picked.c.id == _row.id))
        .where(*_waits())
        .order_by(_row.id)
        .with_for_update(of=JOBS, key_share=True)
        .cte("locked")
    )
    place = func.row_number().over(order_by=(locked.c.rank, locked.c.next_run_at, locked.c.id)) - 1
    given = select(locked.c.id, place.label("place")).cte("given")
    slot = value("first", _row.slot_at) + given.c.place * value("interval", Interval())
    new = {"slot_at": slot, "next_run_at": slot - policies.SLOT_LEAD, "waiting_for": PACE, "hints": literal_column("0")}
    return update(JOBS).where(_row.id == given.c.id).values(new).returning(_row.id)


GIVE = _give()


def who(limit: Limit, at: datetime) -> dict[str, Any]:
    """The values that tell which jobs wait for this limit."""
    return {"provider": limit.provider, "model": limit.model, "others": [*limit.others], "at": at}


def somebody_waits(run: Run, limit: Limit, flying: Mapping[str, int], at: datetime) -> bool:
    """Whether a job that could go has waited longer."""
    full = [model for model, left in pace.rooms_of_models(limit, flying).items() if not left]
    return bool(run(WAITERS, {**who(limit, at), "full": full}))


def paced(database: Database, limit: Limit, at: datetime) -> int:
    """Gives away the limit's next slots; one cheap look where nobody waits."""
    waiting = {**who(limit, at), "full": []}
    if not database.run(WAITERS, waiting):
        return 0
    with database.transaction() as run:
        pointer = lock(run, limit, at)
        flying = run(FLYING, {"provider": limit.provider, "job_id": None})[0]["flying"]
        first, count = pace.slots(limit, pointer, at, pace.room(limit, flying))
        if not count:
            return 0
        rooms, interval = pace.rooms_of_models(limit, flying), limit.interval
        terms = {"count": count, "rooms": rooms, "first": first, "interval": interval or policies.SLOT_LEAD * 0}
        given = len(run(GIVE, {**who(limit, at), **terms}))
        if given and interval is not None:
            move_on(run, limit, first + given * interval)
        return given
