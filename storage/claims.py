"""Taking a job, or parking it: one statement for the usual job; where a limit is set, a short transaction.

    limit's pointer locked → how the job and the limit stand → claimed with its slot, or parked → pointer moved on

What is decided there is in `imagegen.pace`. A picture that is in the cache costs nothing: pauses and limits let it by.
So does one that was refused, and one that somebody else is buying already is waited for without a slot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import CompoundSelect, RowMapping, Select, Update, func, not_, select, union_all, update

from imagegen import pace, policies
from imagegen.errors import ImagegenError, rebuild
from imagegen.flights import FLIGHT
from imagegen.pace import PAUSED, Kept, Taken
from imagegen.records import Claimed, Held, Limit, Move
from imagegen.states import MoveName
from storage import flights, moves, pauses, rows
from storage import pace as pointers
from storage.engine import Database, Run
from storage.events import AT
from storage.tables import JOBS, value

_row = JOBS.c
Continuation = Mapping[str, Any] | None


@dataclass(frozen=True)
class Asking:
    """Who asks for a job: the move, the message's continuation, and which pictures of the cache are too old for it."""

    move: Move
    continuation: Continuation
    cached_since: datetime

    @property
    def shape(self) -> moves.Shape:
        return moves.shape(self.move, claiming=True)

    @property
    def values(self) -> dict[str, Any]:
        return {**moves.values(self.move), "continuation": self.continuation, "cached_since": self.cached_since}


def claim(database: Database, asking: Asking, limit: Limit | None) -> Claimed | Held | None:
    """See `imagegen.job_store.Jobs.claim`."""
    if asking.move.name is not MoveName.CLAIM:
        found = database.run(moves.statement(asking.shape), asking.values)
        return Claimed(job=rows.job(found[0])) if found else None
    if limit is not None:
        with database.transaction() as run:
            return _limited(run, asking, limit)
    return _take(database.run, asking) or _park(database.run, asking, _paused(asking.move.at))


def _limited(run: Run, asking: Asking, limit: Limit) -> Claimed | Held | None:
    move = asking.move
    pointer = pointers.lock(run, limit, move.at)
    found = run(_standing(asking.shape), {**asking.values, "provider": limit.provider})
    if not found:
        return None
    standing = found[0]
    if standing["settled"]:
        return _take(run, asking)
    if not pace.governs(limit, standing["provider"], standing["model"]):
        return None
    if standing["paused"]:
        return _park(run, asking, _paused(move.at))
    admitted = _admission(run, standing, limit, pointer, move.at)
    if isinstance(admitted, Taken):
        slotted = replace(move, changes={**move.changes, "slot_at": admitted.slot_at})
        done = _take(run, replace(asking, move=slotted))
    else:
        done = None if admitted is None else _park(run, asking, admitted)
    follows = isinstance(done, Held) and done.reason == FLIGHT
    if admitted is not None and done is not None and not follows and admitted.next_slot is not None:
        pointers.move_on(run, limit, admitted.next_slot)
    return done


def _admission(run: Run, job: RowMapping, limit: Limit, pointer: datetime, at: datetime) -> Taken | Kept | None:
    if job["slot_at"] is not None:
        return pace.slotted(limit, job["slot_at"], pointer, at)
    if job["waiting_for"] in pace.WAITING:
        return None
    if not pace.has_room(limit, job["model"], job["flying"]):
        return pace.waiting(limit, pointer, at, crowded=True)
    admitted = pace.free(limit, pointer, at)
    if isinstance(admitted, Taken) and pointers.somebody_waits(run, limit, job["flying"], at):
        return pace.waiting(limit, pointer, at)
    return admitted


def _take(run: Run, asking: Asking) -> Claimed | Held | None:
    found = run(moves.statement(asking.shape), asking.values)[0]
    if found["id"] is not None:
        return Claimed(job=rows.job(found), cached=rows.cached(found), refused=_refusal(found["refused"]))
    until = found["followed_until"]
    return None if until is None else Held(reason=FLIGHT, until=until)


def _refusal(told: Mapping[str, Any] | None) -> ImagegenError | None:
    """Another job's; this one was never sent, so nothing was charged for it."""
    return None if told is None else rebuild({**told, "billed": "no"})


def _paused(at: datetime) -> Kept:
    return Kept(reason=PAUSED, until=at + policies.PAUSE_LOOK)


def _park(run: Run, asking: Asking, kept: Kept) -> Held | None:
    """The row waits; of time to its deadline no more than there is, for the sweep ends it then.

    Without a slot it stays due, so that its waiting time counts.
    """
    slotless = kept.reason in pace.WAITING and kept.slot_at is None
    terms = {
        "kept_until": asking.move.at if slotless else kept.until,
        "waiting_for": kept.reason,
        "slot_at": kept.slot_at,
    }
    found = run(_parking(asking.shape, kept.reason == PAUSED), {**asking.values, **terms})
    if not found:
        return None
    reason, until = found[0]["waiting_for"], found[0]["next_run_at"]
    return Held(reason=reason, until=until if reason == FLIGHT else max(kept.until, until))


@lru_cache(maxsize=16)
def _standing(of: moves.Shape) -> Select[Any]:
    """How the job stands that is there to be claimed; takes what the claim takes, and `provider`."""
    told = (_row.provider, _row.model, _row.waiting_for, _row.slot_at)
    paused, settled = pauses.holding().label("paused"), flights.settled().label("settled")
    return select(*told, paused, settled, pointers.flying().label("flying")).where(*moves.guards(of))


@lru_cache(maxsize=32)
def _parking(of: moves.Shape, paused: bool) -> Update | CompoundSelect[Any]:
    """Parks the job; takes what the claim takes, and `kept_until`, `waiting_for`, `slot_at`.

    `paused`: only while it is, and no pause ends before this statement does. For a limit it takes the flight along, or
    waits for that instead where it is another's.
    """
    there = moves.guards(of)
    new = {
        **flights.parked(),
        "next_run_at": func.least(value("kept_until", _row.next_run_at), func.greatest(_row.deadline_at, AT)),
        "waiting_for": value("waiting_for", _row.waiting_for),
        "slot_at": value("slot_at", _row.slot_at),
    }
    told = (_row.next_run_at, _row.waiting_for)
    if paused:
        held = [pauses.holding(strict=True), not_(flights.settled())]
        return update(JOBS).where(*there, *held).values(new).returning(*told)
    asked = flights.asked(there)
    flight = flights.take(asked)
    kept = update(JOBS).where(*there, flights.granted(asked, flight)).values(new).returning(*told).cte("kept")
    return union_all(select(kept), select(flights.follow(there, asked, flight)))
