"""The port `EventLog` over the jobs in memory: a line is seen as soon as it is written, so none comes late."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from imagegen.jobs import Batch, Job
from imagegen.ports_events import LOOKBACK, Horizon, Line, Newest, News, Place, Scope
from imagegen.records import Event
from imagegen.testing.jobs import MemoryJobs

_STILL = Horizon(1, 1)


class MemoryEventLog:
    """The histories of these jobs as one log."""

    def __init__(self, jobs: MemoryJobs) -> None:
        self._jobs = jobs

    def newest(self) -> Newest:
        """Where the log ends."""
        seen = {line.id for line in self._lines()}
        last = max(seen, default=0)
        return Newest(last, frozenset(range(max(1, last - LOOKBACK + 1), last)) - seen, _STILL)

    def after(self, last: int, missing: Sequence[int], *, limit: int) -> News:
        """What is new behind this number, and what came late."""
        lines = self._lines()
        late = [line for line in lines if line.id in missing]
        return News([*late, *[line for line in lines if line.id > last][:limit]], _STILL)

    def between(self, scope: Scope, begin: Place, end: Place, *, limit: int) -> Sequence[Line]:
        """Lines of the scope from one place to another."""
        found = [line for line in self._lines() if scope.holds(line)]
        return [line for line in found if end.passed(line.id) and not begin.passed(line.id)][:limit]

    def jobs(self, job_ids: Sequence[UUID]) -> Sequence[Job]:
        """Those that exist."""
        return [self._jobs.jobs[job_id] for job_id in {*job_ids} if job_id in self._jobs.jobs]

    def batches(self, batch_ids: Sequence[UUID]) -> Sequence[tuple[Batch, Sequence[Job]]]:
        """Those that exist, with their jobs."""
        return [self._jobs.get_batch(batch_id) for batch_id in sorted({*batch_ids}) if batch_id in self._jobs.batches]

    def gone(self, ids: Sequence[UUID]) -> frozenset[UUID]:
        """Those that do not exist."""
        return frozenset(one for one in ids if one not in self._jobs.jobs and one not in self._jobs.batches)

    def _lines(self) -> list[Line]:
        return [self._line(event) for event in [*self._jobs.events] if event.job_id in self._jobs.jobs]

    def _line(self, event: Event) -> Line:
        job = self._jobs.jobs[event.job_id]
        return Line(
            id=event.id, job_id=job.id, batch_id=job.batch_id, owner=job.owner, run=event.run, at=event.at,
            move=event.move, status=event.status, stage=event.stage,
        )  # fmt: skip
