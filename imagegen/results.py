"""What a client gets back: the documents of `contracts`, with the three questions a caller asks of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from pydantic import Field

from imagegen.contracts import BatchDocument, Cost, JobDocument, JobError
from imagegen.states import TERMINAL, BatchStatus, Status

_BATCH_ENDS = frozenset({BatchStatus.COMPLETED, BatchStatus.PARTIAL, BatchStatus.FAILED, BatchStatus.CANCELLED})


class Job(JobDocument):
    """A job document with `id`, `done` and `ok`. Times are RFC 3339 text, money US dollars."""

    @property
    def id(self) -> UUID:
        return self.job_id

    @property
    def done(self) -> bool:
        """Whether it has ended: completed, failed or cancelled."""
        return self.status in TERMINAL

    @property
    def ok(self) -> bool:
        """Whether there is a picture at `public_url`; an erased job has none."""
        return self.status == Status.COMPLETED and self.erased_at is None


class Batch(BatchDocument):
    """A batch document whose members are `Job`s, in input order."""

    jobs: list[Job]  # type: ignore[assignment]
    cost: Cost = Field(default_factory=Cost)
    error: JobError | None = None
    """Why the batch as a whole was refused; null once it was accepted."""

    @property
    def id(self) -> UUID:
        return self.batch_id

    @property
    def done(self) -> bool:
        """Whether every member has ended."""
        return self.status in _BATCH_ENDS

    @property
    def ok(self) -> bool:
        """Whether every member has its picture."""
        return self.status == BatchStatus.COMPLETED and all(job.ok for job in self.jobs)


def result_of(document: Mapping[str, Any]) -> Job | Batch:
    """The typed result of a document: a batch has `jobs`, a job has not."""
    return Batch.model_validate(document) if "jobs" in document else Job.model_validate(document)
