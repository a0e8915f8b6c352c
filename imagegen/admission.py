"""From a request to a committed row: all or nothing, and the same thing sent again finds what was written.

Every problem of every member is told at once, with fields like `characters.2.referenceImages.0`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from uuid import UUID, uuid4

from imagegen import thrift
from imagegen.checks import Problems, check_targets, check_text
from imagegen.contracts import BatchRequest, ImageRequest
from imagegen.errors import IdempotencyConflict, InvalidRequest, NotFound, PartUnavailable
from imagegen.fingerprint import body_sha256, digest
from imagegen.ids import batch_id_for, job_id_for
from imagegen.inputs import Door
from imagegen.jobs import Batch
from imagegen.planning import SCHEDULED, Planner, plan_image
from imagegen.ports import Services
from imagegen.records import Admitted
from imagegen.states import BatchStatus

__all__ = ["admit_batch", "admit_image", "plan_image", "send_hints"]

logger = logging.getLogger(__name__)


def admit_image(
    request: ImageRequest, services: Services, *, door: Door, job_id: UUID | None = None, hints: bool = True
) -> Admitted:
    """Writes one job, or finds it written under the same id or idempotency key.

    Without `hints` the workers are not told: the caller does that by `send_hints`, after its own answer.

    `job_id` is the Celery task's; without it the id is derived from owner and key, or random. Raises `InvalidRequest`
    with every problem, `IdempotencyConflict`, `BudgetExceeded`, `PartUnavailable`; nothing is written then.
    """
    chosen = job_id or (job_id_for(request.owner, request.idempotency_key) if request.idempotency_key else uuid4())
    planner = Planner(services, door, request.owner)
    request = planner.readied(request)

    def existing() -> Admitted:
        job = services.jobs.get(chosen)
        _same_body(job.body_sha256 == body_sha256(request) and job.owner == request.owner)
        return Admitted(jobs=[job], batch=None, created=False)

    try:
        job = planner.plan(request, job_id=chosen)
    except InvalidRequest as error:
        return _resent(error, existing)
    return _told(thrift.admit([job], None, services), services, door, hints)


def admit_batch(
    request: BatchRequest, services: Services, *, door: Door, batch_id: UUID | None = None, hints: bool = True
) -> Admitted:
    """Writes a batch and all of its jobs, or nothing; see `admit_image`."""
    key = request.idempotency_key
    check_text({"idempotencyKey": key, "owner": request.owner})
    chosen = batch_id or (batch_id_for(request.owner, key) if key else uuid4())
    planner = Planner(services, door, request.owner)
    members, problems = request.members(), Problems()
    with problems.collected():
        check_targets(request, signing=services.signer is not None, allow_hosts=services.allow_hosts)
    ready, jobs = planner.plan_members(request, members, chosen, problems)

    def existing() -> Admitted:
        batch, found = services.jobs.get_batch(chosen)
        _same_body(batch.body_sha256 == _batch_body(request, ready) and batch.owner == request.owner)
        return Admitted(jobs=found, batch=batch, created=False)

    try:
        problems.check()
    except InvalidRequest as error:
        if len(ready) < len(members):
            raise
        return _resent(error, existing)
    batch = Batch(
        id=chosen, owner=request.owner, status=BatchStatus.QUEUED, size=len(jobs), created_at=planner.now,
        idempotency_key=key, body_sha256=_batch_body(request, ready), callback_url=request.callback_url,
        notify_task=request.notify_task.model_dump() if request.notify_task else None,
    )  # fmt: skip
    return _told(thrift.admit(jobs, batch, services), services, door, hints)


def send_hints(admitted: Admitted, services: Services) -> None:
    """Tells the workers about new jobs that are due; a lost hint only means that the sweep sends it."""
    due = [job for job in admitted.jobs if job.waiting_for != SCHEDULED]
    if not admitted.created or not due:
        return
    try:
        if admitted.batch is not None and len(due) == len(admitted.jobs):
            services.hints.batch(admitted.batch, due)
        else:
            services.hints.jobs(due)
    except PartUnavailable as error:
        logger.warning("hint lost, the sweep sends it: %s", error, extra={"job_ids": [str(job.id) for job in due]})


def _batch_body(batch: BatchRequest, members: Sequence[ImageRequest]) -> str:
    """Digest of what was asked; whom to tell counts where somebody is to be told."""
    told = batch.model_dump(mode="json", include={"callback_url", "notify_task"}, exclude_none=True)
    return digest([*(body_sha256(member) for member in members), *([told] if told else [])])


def _told(admitted: Admitted, services: Services, door: Door, hints: bool) -> Admitted:
    # A Celery message's own worker goes on with the job itself.
    if hints and door != "celery":
        send_hints(admitted, services)
    return admitted


def _same_body(same: bool) -> None:
    if not same:
        raise IdempotencyConflict("this id or idempotency key was used for another request; nothing was accepted")


def _resent(error: InvalidRequest, existing: Callable[[], Admitted]) -> Admitted:
    """What was accepted before stays accepted, though its references or dates would not pass any more."""
    try:
        return existing()
    except NotFound:
        raise error from None
