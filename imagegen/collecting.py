"""A paid picture whose job ended without it: looked for afterwards, for a while, and kept (law 3).

The job was cancelled, given up in doubt, or out of time while its provider drew on. What turns up feeds the result
cache, so that the next request for the same picture is free; a job that ended in doubt goes on with it.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

from imagegen import images, layout, money, policies
from imagegen.errors import ImagegenError, NotFound
from imagegen.images import Picture
from imagegen.jobs import Job
from imagegen.keepsakes import Keepsake
from imagegen.ports import Services
from imagegen.providers.base import Failed, Progress, Ready
from imagegen.records import Attempt, EntryKind, Facts, Move, Settled
from imagegen.retrying import doubted, tell_again
from imagegen.states import MoveName, Stage, Status

log = logging.getLogger(__name__)


def collect(attempt_id: UUID, services: Services) -> str:
    """Looks once; the answer is for people. What cannot be had yet is looked for again by the sweep."""
    attempt = services.jobs.attempt(attempt_id)
    if attempt is None:
        return "there is no such attempt"
    job = services.jobs.get(attempt.job_id)
    if not job.terminal:
        return "its job goes on"
    if job.erased_at is not None:
        told = Facts(attempt_id=attempt.id, state=attempt.state)
        services.jobs.collected(Settled(facts=told), at=services.clock.now())
        return "its job was erased"
    if job.status is Status.COMPLETED and job.attempt_id == attempt.id:
        services.jobs.collected(Settled(facts=Facts(attempt_id=attempt.id, state="succeeded")), at=services.clock.now())
        return "its job has it"
    try:
        found = _picture(attempt, services)
        if found is None:
            return "nothing yet"
        picture = images.verify(found.data)
        services.blobs.put(layout.blob_key(picture.sha256), found.data, picture.content_type)
    except ImagegenError as error:
        if error.retryable:
            return f"later: {error}"
        return _none_to_be_had(job, attempt, error, services)
    known = replace(attempt, actual=found.actual if attempt.actual is None else attempt.actual)
    return _had(job, known, picture, services)


def _picture(attempt: Attempt, services: Services) -> Keepsake | None:
    """The picture from wherever it is, None where it is not there yet."""
    kept = [layout.attempt_key(attempt.id)]
    if attempt.blob_sha256 is not None:
        kept.insert(0, layout.blob_key(attempt.blob_sha256))
    order = attempt.provider_job_id
    for key in kept:
        try:
            found = Keepsake.unpacked(services.blobs.get(key))
        except NotFound:
            continue
        if found.order is None:
            return found
        order = order or found.order
    if order is None:
        return None
    progress = _asked(attempt.provider, order, services)
    if isinstance(progress, Failed):
        raise type(progress.error)(progress.error.message, {**progress.error.details, "retryable": False})
    if not isinstance(progress, Ready):
        return None
    limits: dict[str, Any] = {"max_bytes": policies.MAX_ARTIFACT_BYTES, "total": policies.DOWNLOAD_TOTAL}
    fetched = services.transport.fetch(progress.url, **limits)
    return Keepsake(data=fetched.data, actual=progress.actual, usage=progress.usage)


def _asked(provider: str, order: str, services: Services) -> Progress:
    """Where the question fails, say because a key was withdrawn, nothing is known of the order: it is asked later."""
    try:
        return services.provider(provider).poll(order)
    except ImagegenError as error:
        raise type(error)(error.message, {**error.details, "retryable": True}) from error


def _had(job: Job, attempt: Attempt, picture: Picture, services: Services) -> str:
    price = attempt.estimate if attempt.actual is None else attempt.actual
    facts = Facts(attempt_id=attempt.id, state="succeeded", blob_sha256=picture.sha256, actual=price)
    if job.status is Status.FAILED and _in_doubt(job, attempt):
        proven = {
            "blob_sha256": picture.sha256, "blob_content_type": picture.content_type, "cost_credits": price,
            "cost_uncertain": money.less(job.cost_uncertain, attempt.estimate), "billed": "yes", "failures": 0,
        }  # fmt: skip
        moved = _after(job, MoveName.PROVE, "late proof", services, facts=facts, changes=proven, stage=Stage.UPLOAD)
        if moved is not None:
            tell_again(moved, services)
            return "its job goes on with the picture"
    _settle(job, attempt, "waste", price, services)
    told = {"width": picture.width, "height": picture.height, "bytes": picture.bytes}
    settled = Settled(facts=facts, picture={**told, "content_type": picture.content_type})
    services.jobs.collected(settled, at=services.clock.now())
    return "kept for the next request"


def _in_doubt(job: Job, attempt: Attempt) -> bool:
    """Whether it is this attempt's charge that nobody knows."""
    return job.attempt_id == attempt.id and (job.billed == "unknown" or (bool(job.cost_uncertain) and doubted(job)))


def _none_to_be_had(job: Job, attempt: Attempt, error: ImagegenError, services: Services) -> str:
    if error.billed == "no":
        _settle(job, attempt, "release", attempt.estimate, services)
    facts = Facts(attempt_id=attempt.id, state="failed", error=error.document())
    services.jobs.collected(Settled(facts=facts), at=services.clock.now())
    log.warning("job %s: no picture is to be had of attempt %s: %s", job.id, attempt.id, error)
    return f"none to be had: {error}"


def _settle(job: Job, attempt: Attempt, kind: EntryKind, amount: Decimal, services: Services) -> None:
    """What was uncertain is known: in the books, and in the job if that is what it said."""
    if not _in_doubt(job, attempt):
        return
    entry = money.line(job, kind, amount, attempt_id=attempt.id)
    doubt = money.less(job.cost_uncertain, attempt.estimate)
    changes = money.ended(replace(job, cost_uncertain=doubt), (entry,)) | {"cost_uncertain": doubt}
    changes["billed"] = money.billed(changes.get("cost_wasted", job.cost_wasted), doubt)
    _after(job, MoveName.SETTLE, "late proof", services, changes=changes, entries=(entry,))


def _after(job: Job, name: MoveName, cause: str, services: Services, **fields: Any) -> Job | None:
    now = services.clock.now()
    later = now + policies.GRACE
    return services.jobs.apply(
        Move(job_id=job.id, name=name, at=now, cause=cause, worker=services.worker, until=later, **fields)
    )
