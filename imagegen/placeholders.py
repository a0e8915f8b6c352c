"""Opt-in placeholders: what stands in for a picture that no provider delivers, and the job that replaces it.

    job with `placeholder: on_failure` ──stand_in──► completed, `placeholder: true`, cost 0, nothing cached
                                                        │  follow_up, twice
    its replacement: a job of its own, own money ───────┘──complete──► replace: the first job shows the real picture

The replacement is admitted once its placeholder is on record, and shown once it is completed; each is done by whoever
ends the job and once more by the sweep that announces every end twice, so that a worker killed in between loses
neither. Its id follows from the job's, so that doing it again finds what is there.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

from imagegen import layout, money, policies
from imagegen.errors import BudgetExceeded, ImagegenError, NotFound, PartUnavailable, StorageError
from imagegen.fingerprint import digest
from imagegen.jobs import Job
from imagegen.placeholder_picture import draw
from imagegen.ports import Services
from imagegen.recording import commit, move, patiently
from imagegen.records import Entry, Facts, Move
from imagegen.states import MoveName, Stage, Status

log = logging.getLogger(__name__)

PROVIDER_DOWN = "provider_down"
"""`waitingFor.reason` of a replacement between two looks."""

DELIVERS_NOT = frozenset({
    "TEMPORARY", "RATE_LIMIT", "QUOTA_EXHAUSTED", "INSUFFICIENT_CREDIT", "AUTH_ERROR", "GENERATION_FAILED",
    "DEADLINE_EXCEEDED",
})  # fmt: skip
"""Codes of errors that are no fault of the request, and that no part of ours is to blame for."""

_SAME = (
    "owner", "job_type", "project_id", "branch_id", "scene_id", "shot_id", "asset_id", "character", "provider", "model",
    "width", "height", "format", "prompt", "sent_prompt", "style_name", "style_sha256", "visual_style_capsule_id",
    "plan", "fingerprint", "fresh", "max_paid_attempts", "cost_estimated", "emulated", "priority", "metadata",
)  # fmt: skip


def stand_in(
    job: Job,
    error: ImagegenError,
    services: Services,
    *,
    facts: Facts | None = None,
    entries: tuple[Entry, ...] = (),
    changes: Mapping[str, Any] | None = None,
) -> Job | None:
    """Completes a job that would fail with its placeholder, if it asked for one and nothing is or may be charged.

    None: it fails as it would without; so it does where the object store cannot keep the placeholder. `facts`,
    `entries` and `changes` are those of the failure.
    """
    wanted = job.request.get("placeholder") == "on_failure" and error.code in DELIVERS_NOT
    if not wanted or money.charged(job, entries) != "no" or error.billed != "no":
        return None
    try:
        shown = _published(job, services)
    except (PartUnavailable, StorageError) as trouble:
        log.warning("job %s fails without its placeholder: %s", job.id, trouble)
        return None
    standing = move(
        job, MoveName.STAND_IN, services, cause=error.code, until=policies.ANNOUNCE_AGAIN, facts=facts,
        entries=entries, detail={"error": error.document()},
        changes={
            "paid_attempts": job.paid_attempts, **(changes or {}), **shown, "placeholder": True,
            "cost_credits": Decimal(0), "billed": "no",
        },
    )  # fmt: skip
    return commit(standing, services)


def _published(job: Job, services: Services) -> dict[str, Any]:
    """Draws and publishes the placeholder; what the row says of it."""
    drawn = draw(str(job.id), job.character or job.asset_id, job.width, job.height, job.format)
    keys = layout.placeholder_keys(job)
    services.blobs.put(keys.picture, drawn.data, drawn.content_type, cache_control=policies.CACHE_CONTROL)
    services.blobs.put(keys.thumbnail, drawn.thumbnail, "image/webp", cache_control=policies.CACHE_CONTROL)
    return {
        "public_url": services.blobs.public_url(keys.picture), "object_key": keys.picture,
        "thumbnail_url": services.blobs.public_url(keys.thumbnail), "sha256": drawn.sha256,
        "content_type": drawn.content_type, "bytes": len(drawn.data),
    }  # fmt: skip


def follow_up(job: Job, services: Services) -> Job | None:
    """What the end of this job asks for; as often as it is told. Returns the job whose placeholder was replaced.

    Raises `PartUnavailable`; the sweep follows up again.
    """
    if job.placeholder and job.status is Status.COMPLETED and job.erase_at is None:
        _buy_after_all(job, services)
    if job.replaces is None:
        return None
    if job.status is Status.COMPLETED:
        return _replaced(job, job.replaces, services)
    if job.status is Status.FAILED:
        log.warning("job %s failed (%s): the placeholder of %s stays", job.id, job.error_code, job.replaces)
    return None


def _buy_after_all(job: Job, services: Services) -> None:
    try:
        services.jobs.admit([replacement(job, services)], None, worker=services.worker)
    except BudgetExceeded as refusal:
        log.warning("the placeholder of job %s stays: %s", job.id, refusal)


def replacement(job: Job, services: Services) -> Job:
    """The job that buys the picture after all: the same request without a placeholder, under an id of its own."""
    now = services.clock.now()
    # The end of the replacement is told as the `replaced` of its job.
    own = {"placeholder", "idempotencyKey", "callbackUrl", "notifyTask"}
    request = {name: value for name, value in job.request.items() if name not in own}
    return Job(
        **{name: getattr(job, name) for name in _SAME},
        id=replacement_id(job), status=Status.QUEUED, stage=Stage.GENERATE, replaces=job.id, request=request,
        body_sha256=digest({"replaces": str(job.id), "run": job.run}), created_at=now, updated_at=now,
        next_run_at=now + policies.PROVIDER_DOWN_LOOK, waiting_for=PROVIDER_DOWN,
        deadline_at=now + policies.PROVIDER_DOWN_PATIENCE,
    )  # fmt: skip


def replacement_id(job: Job) -> UUID:
    """Of this run of this job: always the same one."""
    return uuid5(job.id, f"replacement {job.run}")


def _replaced(job: Job, original_id: UUID, services: Services) -> Job | None:
    """The picture of `job` is shown where the placeholder was; what that job cost stays nothing."""
    try:
        original = services.jobs.get(original_id)
    except NotFound:
        return None
    if not original.placeholder or original.status is not Status.COMPLETED:
        return None
    now = services.clock.now()
    same = ("public_url", "thumbnail_url", "object_key", "sha256", "content_type", "bytes")
    replacing = Move(
        job_id=original.id, name=MoveName.REPLACE, at=now, until=now + policies.ANNOUNCE_AGAIN, cause="replaced",
        worker=services.worker, detail={"by": str(job.id)},
        changes={**{name: getattr(job, name) for name in same}, "placeholder": False},
    )  # fmt: skip
    return patiently(lambda: services.jobs.apply(replacing), services.clock)


def next_look(job: Job, error: ImagegenError, services: Services) -> timedelta | None:
    """How long a replacement waits for its provider after an error that would end another job; None: it ends too.

    Nothing was charged, and what is wrong (a key, an empty account) may be put right while it waits.
    """
    if job.replaces is None or error.code not in DELIVERS_NOT or job.billed != "no" or error.billed != "no":
        return None
    grown = policies.PROVIDER_DOWN_LOOK * 2.0 ** min(job.failures, 10)
    wait = min(grown, policies.PROVIDER_DOWN_LONGEST)
    wait = max(wait, timedelta(seconds=error.retry_after or 0.0))
    return wait if services.clock.now() + wait < job.deadline_at else None
