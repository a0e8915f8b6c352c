"""The in-memory double: what is paused, whose turn it is under a limit, and who is parked meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from imagegen import pace, policies
from imagegen.flights import FLIGHT
from imagegen.jobs import Job
from imagegen.pace import PACE, Kept, Taken
from imagegen.records import Held, Limit, Pause
from imagegen.states import Status
from imagegen.testing import rules
from imagegen.testing.books import Books

_BUYING = {Status.PROCESSING, Status.GENERATING}


def scopes(job: Job) -> frozenset[str]:
    """Whatever may pause the job."""
    return frozenset({"all", f"provider:{job.provider}", f"owner:{job.owner}"})


@dataclass
class Paces(Books):
    """Pauses by scope, and each limit's next free slot."""

    pauses: dict[str, Pause] = field(default_factory=dict)
    pointers: dict[tuple[str, str], datetime] = field(default_factory=dict)

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """Held by whoever changes rows: every call of the double is one transaction."""
        return self._lock

    def paused(self, job: Job) -> bool:
        """Whether a pause holds the job."""
        return not scopes(job).isdisjoint(self.pauses)

    def paced(self, limit: Limit, *, at: datetime) -> int:
        with self._lock:
            flying, waiting = self._flying(limit.provider), self._waiting(limit, at)
            first, count = pace.slots(limit, self._pointer(limit, at), at, pace.room(limit, flying))
            rooms, given = pace.rooms_of_models(limit, flying), 0
            for job in sorted(waiting, key=lambda one: (rules.rank(one, at), one.next_run_at, one.id)):
                if given < count and rooms.get(job.model) != 0:
                    slot_at = first if limit.interval is None else first + given * limit.interval
                    self._keep_for(job, Kept(reason=PACE, until=slot_at - policies.SLOT_LEAD, slot_at=slot_at))
                    rooms |= {job.model: rooms[job.model] - 1} if job.model in rooms else {}
                    given += 1
            if given and limit.interval is not None:
                self.pointers[limit.provider, limit.model] = first + given * limit.interval
            return given

    def _admission(self, job: Job, limit: Limit, at: datetime) -> Taken | Kept | None:
        pointer, flying = self._pointer(limit, at), self._flying(limit.provider, job)
        if job.slot_at is not None:
            return pace.slotted(limit, job.slot_at, pointer, at)
        if job.waiting_for in pace.WAITING:
            return None
        if not pace.has_room(limit, job.model, flying):
            return pace.waiting(limit, pointer, at, crowded=True)
        turn = pace.free(limit, pointer, at)
        before = any(pace.has_room(limit, one.model, flying) for one in self._waiting(limit, at))
        return pace.waiting(limit, pointer, at) if isinstance(turn, Taken) and before else turn

    def _park(self, job: Job, kept: Kept, continuation: Mapping[str, Any] | None, at: datetime) -> Held:
        slotless = kept.reason in pace.WAITING and kept.slot_at is None
        until = min(at if slotless else kept.until, max(job.deadline_at, at))
        parked = self._keep_for(replace(job, continuation=continuation), replace(kept, until=until))
        shown = until if kept.reason == FLIGHT else kept.until
        return Held(reason=kept.reason, until=max(shown, parked.next_run_at or at))

    def _keep_for(self, job: Job, kept: Kept) -> Job:
        told: dict[str, Any] = {"waiting_for": kept.reason, "slot_at": kept.slot_at, "next_run_at": kept.until}
        self.jobs[job.id] = replace(job, hints=0, **told)
        return self.jobs[job.id]

    def _pointer(self, limit: Limit, at: datetime) -> datetime:
        return self.pointers.setdefault((limit.provider, limit.model), at)

    def _flying(self, provider: str, without: Job | None = None) -> Mapping[str, int]:
        def flies(job: Job) -> bool:
            return job.status in _BUYING or (job.status is Status.QUEUED and job.slot_at is not None)

        here = (job for job in self.jobs.values() if job.provider == provider and flies(job))
        return Counter(job.model for job in here if without is None or job.id != without.id)

    def _waiting(self, limit: Limit, at: datetime) -> list[Job]:
        return [
            job
            for job in self.jobs.values()
            if job.status is Status.QUEUED
            and job.waiting_for in pace.WAITING
            and job.slot_at is None
            and job.deadline_at > at
            and pace.governs(limit, job.provider, job.model)
            and not self.paused(job)
        ]
