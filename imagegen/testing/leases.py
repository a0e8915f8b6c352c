"""The in-memory double: who holds a job and for how long, who is woken, and under which ids it is awaited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from imagegen.errors import NotFound
from imagegen.jobs import Batch, Job
from imagegen.records import Holding
from imagegen.states import Stage, Status
from imagegen.testing.books import Books

_BUYING = {Stage.GENERATE, Stage.RECONCILE}
_ASKING = {Stage.POLL, Stage.RECONCILE}


@dataclass
class Leases(Books):
    """Renewing, waking and naming of the rows."""

    def renew(self, held: Sequence[Holding], *, until: datetime) -> None:
        with self._lock:
            for one in held:
                job = self.jobs.get(one.job_id)
                if job is not None and job.next_run_at is not None and _still_held(job, one):
                    self.jobs[job.id] = replace(job, next_run_at=max(job.next_run_at, until))

    def wake(self, job_id: UUID, *, at: datetime) -> Job | None:
        with self._lock:
            job = self.jobs.get(job_id)
            if job is None or job.status is not Status.GENERATING or job.next_run_at is None:
                return None
            due = min(job.next_run_at, at) if job.stage in _ASKING else job.next_run_at
            self.jobs[job.id] = replace(job, woken=True, next_run_at=due)
            return self.jobs[job.id]

    def alias(self, alias: UUID, identity: UUID, *, batch: bool) -> Job | Batch:
        with self._lock:
            row: Job | Batch | None = self.batches.get(identity) if batch else self.jobs.get(identity)
            if row is None:
                raise NotFound(f"no {'batch' if batch else 'job'} {identity}")
            if alias not in row.aliases:
                row = replace(row, aliases=(*row.aliases, alias))
            if isinstance(row, Batch):
                self.batches[row.id] = row
            else:
                self.jobs[row.id] = row
            return row


def _still_held(job: Job, held: Holding) -> bool:
    bought = job.status is Status.GENERATING and job.stage in _BUYING
    return job.claim == held.claim or (bought and held.attempt_id is not None and job.attempt_id == held.attempt_id)
