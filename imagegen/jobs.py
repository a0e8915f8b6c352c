"""A job and a batch as the system holds them: one row each, and the documents made from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from imagegen.contracts import BatchDocument, Cost, JobDocument, JobError, StyleRef, WaitingFor, rfc3339
from imagegen.errors import Billed
from imagegen.states import PROGRESS, TERMINAL, BatchStatus, Stage, Status

PRIORITIES = {"high": 0, "normal": 5, "low": 9}
PRIORITY_NAMES = {number: name for name, number in PRIORITIES.items()}


@dataclass(frozen=True, kw_only=True)
class Job:
    """A row of `image_generation_jobs`. Money in US dollars, sizes in pixels, times with their zone.

    `plan` is what admission decided for the provider (ratio, tier, reference digests and keys, …, JSON);
    `continuation` the Celery canvas that waits for this job (JSON); `hints` how many were sent since it last moved;
    `slot_at` the moment a limit set for its paid call; `stopped` that its owner cancelled it during that call;
    `aliases` other ids under which its document is awaited; `replaces` the job whose placeholder its picture replaces;
    `erase_at` when what was asked for and drawn is to be erased (next), `erased_at` when it was.
    """

    id: UUID
    owner: str
    status: Status
    stage: Stage
    job_type: str
    project_id: str
    branch_id: str
    provider: str
    model: str
    width: int
    height: int
    format: str
    created_at: datetime
    updated_at: datetime
    next_run_at: datetime | None
    deadline_at: datetime
    batch_id: UUID | None = None
    batch_index: int | None = None
    scene_id: str | None = None
    shot_id: str | None = None
    asset_id: str | None = None
    character: str | None = None
    failure_stage: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    error_retryable: bool | None = None
    billed: Billed = "no"
    prompt: str = ""
    sent_prompt: str = ""
    style_name: str | None = None
    style_sha256: str | None = None
    visual_style_capsule_id: str | None = None
    request: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    fresh: bool = False
    tried: Sequence[str] = ()
    attempt_id: UUID | None = None
    attempts: int = 0
    paid_attempts: int = 0
    max_paid_attempts: int = 1
    provider_job_id: str | None = None
    result_url: str | None = None
    refreshed: bool = False
    submitted_at: datetime | None = None
    blob_sha256: str | None = None
    blob_content_type: str | None = None
    idempotency_key: str | None = None
    body_sha256: str = ""
    cost_estimated: Decimal | None = None
    cost_credits: Decimal | None = None
    cost_wasted: Decimal | None = None
    cost_uncertain: Decimal | None = None
    committed: Decimal = Decimal(0)
    reserved_on: date | None = None
    public_url: str | None = None
    thumbnail_url: str | None = None
    object_key: str | None = None
    sha256: str | None = None
    content_type: str | None = None
    bytes: int | None = None
    placeholder: bool = False
    emulated: bool = False
    cache_hit: bool = False
    priority: int = PRIORITIES["normal"]
    run: int = 1
    failures: int = 0
    hints: int = 0
    woken: bool = False
    waiting_for: str | None = None
    slot_at: datetime | None = None
    stopped: bool = False
    aliases: Sequence[UUID] = ()
    replaces: UUID | None = None
    claim: UUID | None = None
    continuation: Mapping[str, Any] | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    scheduled_at: datetime | None = None
    announce_at: datetime | None = None
    erase_at: datetime | None = None
    erased_at: datetime | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def terminal(self) -> bool:
        return self.status in TERMINAL

    def document(self) -> JobDocument:
        """What its owner sees."""
        return JobDocument(
            **{name: getattr(self, name) for name in _SAME},
            **{name: None if self.erased_at else getattr(self, name) for name in _TEXTS},
            job_id=self.id,
            index=self.batch_index,
            status=self.status.value,
            stage=None if self.terminal else self.stage.value,
            progress=PROGRESS[self.status],
            waiting_for=self._waiting(),
            style=StyleRef(name=self.style_name, sha256=self.style_sha256 or "") if self.style_name else None,
            tried=list(self.tried),
            cost=cost([self]),
            priority=PRIORITY_NAMES.get(self.priority, "normal"),
            **{name: rfc3339(getattr(self, name)) for name in _TIMES},
            error=self._error(),
            metadata=dict(self.metadata),
        )

    def _waiting(self) -> WaitingFor | None:
        if self.terminal or self.waiting_for is None:
            return None
        # Who waits for a limit without a slot waits for the sweep to give one, not for a time.
        timed = self.slot_at is not None or self.waiting_for not in {"pace", "in_flight"}
        return WaitingFor(reason=self.waiting_for, until=rfc3339(self.next_run_at) if timed else None)

    def _error(self) -> JobError | None:
        if self.error_code is None:
            return None
        return JobError(
            code=self.error_code,
            message=self.error_message or "",
            failure_stage=self.failure_stage,
            retryable=bool(self.error_retryable),
            billed=self.billed,
        )


_TIMES = ("created_at", "updated_at", "started_at", "completed_at", "scheduled_at", "erased_at")
_TEXTS = ("prompt", "sent_prompt")
_SAME = (
    "batch_id", "job_type", "project_id", "branch_id", "scene_id", "shot_id", "asset_id", "character", "owner",
    "visual_style_capsule_id", "provider", "model", "width", "height", "public_url",
    "thumbnail_url", "sha256", "content_type", "bytes", "placeholder", "emulated", "cache_hit", "billed", "attempts",
    "run",
)  # fmt: skip


def cost(jobs: Sequence[Job]) -> Cost:
    """What the jobs cost together; `actual` is null while none of it is known."""

    def total(values: list[Decimal | None]) -> float | None:
        known = [value for value in values if value is not None]
        return float(sum(known, Decimal(0)).quantize(Decimal("0.000001"))) if known else None

    return Cost(
        estimated=total([job.cost_estimated for job in jobs]),
        actual=total([job.cost_credits for job in jobs]),
        waste=total([job.cost_wasted for job in jobs]),
        uncertain=total([job.cost_uncertain for job in jobs]),
    )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A row of `imagegen_batches`: one to four jobs admitted together."""

    id: UUID
    owner: str
    status: BatchStatus
    size: int
    created_at: datetime
    run: int = 1
    completed_at: datetime | None = None
    idempotency_key: str | None = None
    body_sha256: str = ""
    aliases: Sequence[UUID] = ()
    callback_url: str | None = None
    notify_task: Mapping[str, Any] | None = None

    def document(self, jobs: Sequence[Job]) -> BatchDocument:
        """The batch and its jobs in input order."""
        return BatchDocument(
            batch_id=self.id,
            status=self.status.value,
            jobs=[job.document() for job in jobs],
            cost=cost(jobs),
            created_at=rfc3339(self.created_at),
            completed_at=rfc3339(self.completed_at),
        )
