"""When a job may be bought under a limit. Pure: every store decides with these, while it holds the limit's lock.

A limit has a pointer, the time of its next free slot. Whoever finds it in the past takes the slot at once; everybody
else is parked, and given one of the next slots in order of urgency. A slot is good from `policies.SLOT_LEAD` before its
time until the limit's `slack` after it: later it would be used together with its successors, so it is changed for a
fresh one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from imagegen import policies
from imagegen.limits import EVERY_MODEL
from imagegen.records import Limit

PACE, IN_FLIGHT, PAUSED = "pace", "in_flight", "paused"
"""What a held job waits for."""

WAITING = frozenset({PACE, IN_FLIGHT})
"""Jobs that a limit holds; without a slot they are released by `Jobs.paced` alone."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """The job is bought at `slot_at` (None: at once); `next_slot`: the pointer from then on, None where it stays."""

    slot_at: datetime | None
    next_slot: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The job waits for `reason`, with a slot or for one; it runs again at `until`."""

    reason: str
    until: datetime
    slot_at: datetime | None = None
    next_slot: datetime | None = None


def governs(limit: Limit, provider: str, model: str) -> bool:
    """Whether it is this limit that paces the provider's model."""
    here = model not in limit.others if limit.model == EVERY_MODEL else model == limit.model
    return provider == limit.provider and here


def room(limit: Limit, flying: Mapping[str, int]) -> int | None:
    """How many more generations the limit allows; `flying`: generations by model of the whole provider, with the slots
    given and not used yet. None: any number."""
    total = sum(flying.values())
    if limit.model == EVERY_MODEL:
        return None if limit.in_flight is None else max(0, limit.in_flight - total)
    rooms = [] if limit.in_flight is None else [limit.in_flight - flying.get(limit.model, 0)]
    rooms += [] if limit.total is None else [limit.total - total]
    return max(0, min(rooms)) if rooms else None


def rooms_of_models(limit: Limit, flying: Mapping[str, int]) -> dict[str, int]:
    """How many more generations single models are allowed below a provider's limit."""
    return {model: max(0, cap - flying.get(model, 0)) for model, cap in limit.caps.items()}


def has_room(limit: Limit, model: str, flying: Mapping[str, int]) -> bool:
    """Whether one more generation of this model may begin."""
    return room(limit, flying) != 0 and rooms_of_models(limit, flying).get(model) != 0


def slotted(limit: Limit, slot_at: datetime, next_slot: datetime, at: datetime) -> Taken | Kept | None:
    """What becomes of a job that has a slot, and with it the room for a generation; None: its time has not come."""
    if slot_at > at + policies.SLOT_LEAD:
        return None
    if limit.interval is None or slot_at >= at - limit.slack:
        return Taken(slot_at=slot_at)
    fresh = max(next_slot, at)
    # The worker waits for a near one itself: sent away, it would come too late for that one again.
    if fresh <= at + policies.SLOTS_AHEAD:
        return Taken(slot_at=fresh, next_slot=fresh + limit.interval)
    until = fresh - policies.SLOT_LEAD
    return Kept(reason=PACE, until=until, slot_at=fresh, next_slot=fresh + limit.interval)


def free(limit: Limit, next_slot: datetime, at: datetime) -> Taken | Kept:
    """What becomes of a job without a slot where there is room for it; nobody waits before it."""
    if limit.interval is None:
        return Taken(slot_at=at)
    if next_slot <= at:
        return Taken(slot_at=at, next_slot=at + limit.interval)
    return waiting(limit, next_slot, at)


def waiting(limit: Limit, next_slot: datetime, at: datetime, *, crowded: bool = False) -> Kept:
    """The job waits for a slot or, `crowded`, for room: at least until then, but nobody knows how long."""
    paced = limit.interval is not None and not crowded
    return Kept(reason=PACE if paced else IN_FLIGHT, until=max(next_slot, at) if paced else at + policies.SLOTS_AHEAD)


def slots(limit: Limit, next_slot: datetime, at: datetime, room: int | None) -> tuple[datetime, int]:
    """The first slot to be given away and how many, one `interval` after the other.

    None earlier than `SLOT_LEAD` from `at`: its job is still to be sent to a worker.
    """
    most = policies.SWEEP_LIMIT if room is None else min(room, policies.SWEEP_LIMIT)
    if limit.interval is None:
        return at, most
    first = max(next_slot, at + policies.SLOT_LEAD)
    ahead = at + policies.SLOTS_AHEAD - first
    return first, max(0, min(most, ahead // limit.interval + 1))
