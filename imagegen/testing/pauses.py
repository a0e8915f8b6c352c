"""The port `Pauses` in memory, over the jobs that it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from imagegen.jobs import Job
from imagegen.pace import PAUSED
from imagegen.records import Pause
from imagegen.states import Status
from imagegen.testing.jobs import MemoryJobs
from imagegen.testing.pace import scopes


class MemoryPauses:
    """See `imagegen.ports.Pauses`. `jobs`: the double whose claims and submissions keep these pauses."""

    def __init__(self, jobs: MemoryJobs) -> None:
        self._jobs = jobs

    def pause(self, scope: str, *, reason: str, at: datetime) -> None:
        with self._jobs.lock:
            since = self._jobs.pauses[scope].paused_at if scope in self._jobs.pauses else at
            self._jobs.pauses[scope] = Pause(scope=scope, reason=reason, paused_at=since)

    def resume(self, scope: str, *, at: datetime) -> int | None:
        with self._jobs.lock:
            if scope not in self._jobs.pauses:
                return None
            held = [job for job in self._jobs.jobs.values() if self._waits_for(job, scope)]
            del self._jobs.pauses[scope]
            freed = [job for job in held if not self._jobs.paused(job)]
            for job in freed:
                self._jobs.jobs[job.id] = replace(job, next_run_at=min(job.next_run_at or at, at))
            return len(freed)

    def list(self) -> Sequence[Pause]:
        return sorted(self._jobs.pauses.values(), key=lambda one: (one.paused_at, one.scope))

    def _waits_for(self, job: Job, scope: str) -> bool:
        return job.status is Status.QUEUED and job.waiting_for == PAUSED and scope in scopes(job)
