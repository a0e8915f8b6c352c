"""How a job ends: with its picture, with an error, or with a doubt; each closes its money in the same statement."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from imagegen import layout, policies
from imagegen.errors import DeadlineExceeded, ImagegenError, PartUnavailable, SubmissionUnknown
from imagegen.images import Published
from imagegen.jobs import Job
from imagegen.outcomes import Finish, Lost, Outcome, Park
from imagegen.ports import Entry, Facts, Services
from imagegen.recording import commit, move
from imagegen.states import MoveName, Stage

log = logging.getLogger(__name__)


def complete(job: Job, published: Published, original_bytes: int, services: Services) -> Outcome:
    """Published: settles the ledger with the actual cost and tells whoever waits."""
    keys = layout.picture_keys(job)
    settled = Decimal(0) if job.cache_hit else (job.cost_credits or job.cost_estimated or Decimal(0))
    entries = () if job.cache_hit else (Entry(kind="settle", amount=settled, attempt_id=job.attempt_id),)
    original = {"width": published.original_width, "height": published.original_height}
    ending = move(
        job, MoveName.COMPLETE, services, cause="published", stage=Stage.UPLOAD, entries=entries,
        until=policies.ANNOUNCE_AGAIN,
        changes={
            "public_url": services.blobs.public_url(keys.picture),
            "thumbnail_url": services.blobs.public_url(keys.thumbnail),
            "object_key": keys.picture, "sha256": published.sha256, "content_type": published.content_type,
            "bytes": len(published.data), "cost_credits": settled, "billed": "no" if job.cache_hit else "yes",
        },
        detail={"picture": {**original, "bytes": original_bytes}},
    )  # fmt: skip
    done = services.jobs.apply(ending)
    if done is None:
        return Lost()
    announce(done, services)
    return Finish(done)


def fail(
    job: Job,
    error: ImagegenError,
    services: Services,
    *,
    facts: Facts | None = None,
    entries: tuple[Entry, ...] = (),
    changes: Mapping[str, Any] | None = None,
) -> Outcome:
    """Ends the job with this error and closes its batch if it was the last."""
    ending = move(
        job, MoveName.FAIL, services, cause=error.code, facts=facts, entries=entries, until=policies.ANNOUNCE_AGAIN,
        changes={
            "error_code": error.code, "error_message": error.message, "error_retryable": error.retryable,
            "billed": "yes" if job.billed == "yes" else error.billed, "paid_attempts": job.paid_attempts,
            **(changes or {}),
        },
    )  # fmt: skip
    failed = commit(ending, services)
    if failed is None:
        return Lost()
    announce(failed, services)
    if failed.batch_id is not None:
        finish_batch(failed.batch_id, services)
    return Finish(failed)


def no_picture(job: Job, error: ImagegenError, charged: Decimal | None, services: Services, *, facts: Facts) -> Outcome:
    """An attempt that was accepted gave no picture. What it cost is waste; another may be bought where allowed."""
    amount = job.cost_estimated or Decimal(0)
    entry = (
        Entry(kind="waste", amount=charged, attempt_id=job.attempt_id, always=True)
        if charged
        else Entry(kind="release", amount=amount, attempt_id=job.attempt_id, always=True)
    )
    if error.retryable and job.paid_attempts < job.max_paid_attempts:
        again = move(
            job, MoveName.REPEAT, services, cause=error.code, stage=Stage.GENERATE, until=policies.REFETCH_AFTER,
            parked=True, waiting_for="another_attempt", facts=facts, entries=(entry,),
            changes={"provider_job_id": None, "result_url": None, "refreshed": False, "failures": 0},
        )  # fmt: skip
        kept = commit(again, services)
        if kept is not None:
            return Park(services.clock.now() + policies.REFETCH_AFTER, "another_attempt")
    told = type(error)(error.message, {**error.details, "billed": "yes"}) if charged else error
    return fail(job, told, services, facts=facts, entries=(entry,), changes={"cost_credits": Decimal(0)})


def in_doubt(job: Job, cause: ImagegenError | None, window: float, services: Services) -> Outcome:
    """The paid call's answer is missing: wait for proof where proof may come, else end with the amount uncertain."""
    facts = None
    if job.attempt_id is not None:
        facts = Facts(attempt_id=job.attempt_id, state="unknown", error=cause.document() if cause else None)
    if window > 0:
        from_now = timedelta(seconds=window)
        doubted = move(
            job, MoveName.DOUBT, services, cause="unknown", stage=Stage.RECONCILE, until=from_now, parked=True,
            waiting_for="reconcile", facts=facts,
        )  # fmt: skip
        return Park(services.clock.now() + from_now, "reconcile") if commit(doubted, services) else Lost()
    uncertain = job.cost_estimated or Decimal(0)
    error = cause if isinstance(cause, DeadlineExceeded) else SubmissionUnknown(_untold(cause))
    entry = Entry(kind="uncertain", amount=uncertain, attempt_id=job.attempt_id)
    return fail(job, error, services, facts=facts, entries=(entry,), changes={"cost_uncertain": uncertain})


def _untold(cause: ImagegenError | None) -> str:
    told = "the paid request left, its answer never came"
    return told if cause is None else f"{told}: {cause}"


def finish_batch(batch_id: UUID, services: Services) -> bool:
    """Closes the batch if no member is live; whoever closes it publishes its document. True: it was us."""
    closed = services.jobs.close_batch(batch_id, at=services.clock.now())
    if closed is None:
        return False
    announce_batch(batch_id, services)
    return True


def announce(job: Job, services: Services) -> None:
    """Tells whoever waits for this job. Redis away: the sweep tells them again, for the row says it is due."""
    try:
        services.results.publish(str(job.id), job.document().json_document())
    except PartUnavailable as error:
        log.warning("job %s ended; its announcement waits: %s", job.id, error)


def announce_batch(batch_id: UUID, services: Services) -> None:
    """Tells whoever waits for this batch, if it is closed."""
    batch, jobs = services.jobs.get_batch(batch_id)
    if batch.completed_at is None:
        return
    try:
        services.results.publish(str(batch.id), batch.document(jobs).json_document())
    except PartUnavailable as error:
        log.warning("batch %s ended; its announcement waits: %s", batch.id, error)
