"""What the store of jobs answers with, beside the jobs themselves: value objects without behaviour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from imagegen.jobs import Batch, Job


@dataclass(frozen=True, kw_only=True)
class Cached:
    """A picture bought before for the same fingerprint."""

    fingerprint: str
    blob_sha256: str
    content_type: str
    width: int
    height: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A job that this worker holds, and the picture bought before for its fingerprint, if any."""

    job: Job
    cached: Cached | None = None


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of a job's history."""

    id: int
    job_id: UUID
    run: int
    at: datetime
    move: str
    status: str
    stage: str | None
    cause: str
    worker: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """Which jobs to list; None means any."""

    owner: str | None = None
    status: str | None = None
    code: str | None = None
    provider: str | None = None
    project_id: str | None = None
    job_type: str | None = None
    batch_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    emulated: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """What admission wrote, or found already written under the same id or idempotency key (`created` false)."""

    jobs: Sequence[Job]
    batch: Batch | None
    created: bool
