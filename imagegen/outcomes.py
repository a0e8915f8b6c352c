"""What a stage answers; `tasks.stages` turns it into Celery's acknowledgement and continuation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from imagegen.jobs import Job
from imagegen.states import Stage, Status


@dataclass(frozen=True)
class Advance:
    """The job moved on to its next stage: the message's continuation goes on there."""

    job: Job

    @property
    def stage(self) -> Stage:
        return self.job.stage


@dataclass(frozen=True)
class Park:
    """The job rests in the database until `until`; the sweep (or a webhook) wakes it. `reason` is for people."""

    until: datetime
    reason: str


@dataclass(frozen=True)
class Finish:
    """The job ended."""

    job: Job

    @property
    def status(self) -> Status:
        return self.job.status


@dataclass(frozen=True)
class Lost:
    """Somebody else has the job, or it needs nothing: a normal answer."""


Outcome = Advance | Park | Finish | Lost


def advanced(job: Job | None) -> Outcome:
    """The answer to a guarded move onward: it moved, or somebody else was first."""
    return Lost() if job is None else Advance(job)
