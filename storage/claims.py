"""Taking a job, or parking it: one statement for the usual job; where a limit is set, a short transaction.

    limit's pointer locked → how the job and the limit stand → claimed with its slot, or parked → pointer moved on

What is decided there is in `imagegen.pace`. A picture that is in the cache costs nothing: pauses and limits let it by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import RowMapping, Select, Update, func, literal_column, not_, select, update

from imagegen import pace, policies
from imagegen.pace import PAUSED, Kept, Taken
from imagegen.records import Claimed, Held, Limit, Move
from imagegen.states import MoveName
from storage import moves, pauses, rows
from storage import pace as pointers
from storage.engine import Database, Run
from storage.events import AT
from storage.tables import JOBS, value

_row = JOBS.c
Continuation = Mapping[str, Any] | None


def claim(database: Database, move: Move, continuation: Continuation, limit: Limit | None) -> Claimed | Held | None:
    """See `imagegen.ports.Jobs.claim`."""
    if limit is not None and move.name is MoveName.CLAIM:
        with database.transaction() as run:
            return _limited(run, move, continuation, limit)
    claimed = _take(database.run, move, continuation)
    if claimed is None and move.name is MoveName.CLAIM:
        return _park(database.run, move, continuation, _paused(move.at))
    return claimed


def _limited(run: Run, move: Move, continuation: Continuation, limit: Limit) -> Claimed | Held | None:
    pointer = pointers.lock(run, limit, move.at)
    found = run(_standing(moves.shape(move, claiming=True)), {**moves.values(move), "provider": limit.provider})
    if not found:
        return None
    standing = found[0]
    if standing["cached"]:
        return _take(run, move, continuation)
    if not pace.governs(limit, standing["provider"], standing["model"]):
        return None
    if standing["paused"]:
        return _park(run, move, continuation, _paused(move.at))
    admitted = _admission(run, standing, limit, pointer, move.at)
    if isinstance(admitted, Taken):
        slotted = replace(move, changes={**move.changes, "slot_at": admitted.slot_at})
        done: Claimed | Held | None = _take(run, slotted, continuation)
    else:
        done = None if admitted is None else _park(run, move, continuation, admitted)
    if admitted is not None and done is not None and admitted.next_slot is not None:
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


def _take(run: Run, move: Move, continuation: Continuation) -> Claimed | None:
    found = run(moves.statement(moves.shape(move, claiming=True)), _values(move, continuation))
    if not found:
        return None
    cached = rows.cached(found[0]) if move.name is MoveName.CLAIM else None
    return Claimed(job=rows.job(found[0]), cached=cached)


def _paused(at: datetime) -> Kept:
    return Kept(reason=PAUSED, until=at + policies.PAUSE_LOOK)


def _park(run: Run, move: Move, continuation: Continuation, kept: Kept) -> Held | None:
    """The row waits; of time to its deadline no more than there is, for the sweep ends it then.

    Without a slot it stays due, so that its waiting time counts.
    """
    slotless = kept.reason in pace.WAITING and kept.slot_at is None
    terms = {
        "kept_until": move.at if slotless else kept.until,
        "waiting_for": kept.reason,
        "slot_at": kept.slot_at,
    }
    shape = moves.shape(move, claiming=True)
    found = run(_parking(shape, kept.reason == PAUSED), {**_values(move, continuation), **terms})
    return Held(reason=kept.reason, until=max(kept.until, found[0]["next_run_at"])) if found else None


def _values(move: Move, continuation: Continuation) -> dict[str, Any]:
    return {**moves.values(move), "continuation": continuation}


@lru_cache(maxsize=16)
def _standing(of: moves.Shape) -> Select[Any]:
    """How the job stands that is there to be claimed; takes what the claim takes, and `provider`."""
    told = (_row.provider, _row.model, _row.waiting_for, _row.slot_at)
    paused, cached = pauses.holding().label("paused"), moves.bought_before().label("cached")
    return select(*told, paused, cached, pointers.flying().label("flying")).where(*moves.guards(of))


@lru_cache(maxsize=32)
def _parking(of: moves.Shape, paused: bool) -> Update:
    """Parks the job; takes what the claim takes, and `kept_until`, `waiting_for`, `slot_at`.

    `paused`: only while it is, and no pause ends before this statement does.
    """
    held = [pauses.holding(strict=True), not_(moves.bought_before())] if paused else []
    new = {
        "next_run_at": func.least(value("kept_until", _row.next_run_at), func.greatest(_row.deadline_at, AT)),
        "waiting_for": value("waiting_for", _row.waiting_for),
        "slot_at": value("slot_at", _row.slot_at),
        "continuation": func.coalesce(value("continuation", _row.continuation), _row.continuation),
        "hints": literal_column("0"),
    }
    return update(JOBS).where(*moves.guards(of), *held).values(new).returning(_row.next_run_at)
