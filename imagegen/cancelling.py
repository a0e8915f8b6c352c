"""Cancelling a job at any stage, with the truth about what that costs (R16).

| where it stands | what happens | charged |
|---|---|---|
| queued, processing | it ends | as before: an earlier attempt may have been |
| its paid call is under way | it is stopped; the answer ends it | what the answer says |
| the answer was lost | it ends, and its picture is looked for | unknown |
| its provider draws, its picture is being transferred | it ends, and its picture is kept for the next request | yes |
| its picture came from the cache | it ends | no |

Every move is guarded by where the job was seen; one that came too late looks again.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

from imagegen import endings, money
from imagegen.errors import Conflict
from imagegen.jobs import Batch, Job
from imagegen.ports import Services
from imagegen.recording import commit, facts_of, move
from imagegen.records import Entry, EntryKind, Event
from imagegen.retrying import SPOILT, TRANSFERS
from imagegen.states import MoveName, Stage, Status
from imagegen.unpublishing import unpublish

LOOKS = 10
"""How often a job that moves on while it is being cancelled is looked at again."""


def cancel(job_id: UUID, services: Services) -> Job:
    """The job, cancelled; or with `stopped` set while its paid call is under way, whose answer ends it.

    Cancelling what is cancelled is fine. Raises `NotFound`, `Conflict` for a job that has its picture or has failed.
    """
    for _ in range(LOOKS):
        job = services.jobs.get(job_id)
        if job.status is Status.CANCELLED:
            return job
        if job.terminal:
            raise Conflict(f"job {job.id} has {job.status} already: there is nothing left to cancel")
        done = _cancelled(job, services)
        if done is not None:
            return done
    raise Conflict(f"job {job_id} moves on faster than it can be cancelled; try again", {"retryable": True})


def cancel_batch(batch_id: UUID, services: Services) -> tuple[Batch, Sequence[Job]]:
    """Cancels the members of a batch that have not ended; those which have are left alone.

    Raises `NotFound`, and `Conflict` where all have ended, unless every one was cancelled.
    """
    live = [job for job in _members(batch_id, services) if not job.terminal]
    for job in live:
        try:
            cancel(job.id, services)
        except Conflict as error:
            if error.retryable:
                raise
    batch, jobs = services.jobs.get_batch(batch_id)
    if not live and any(job.status is not Status.CANCELLED for job in jobs):
        raise Conflict(f"batch {batch_id} has ended: there is nothing left to cancel")
    return batch, jobs


def price_of_cancelling(job: Job) -> Decimal:
    """US dollars that are, or may be, spent on a live job that ends without a picture as it stands."""
    if job.status in {Status.QUEUED, Status.PROCESSING} or job.cache_hit or job.terminal:
        return Decimal(0)
    return money.price_of(job)


def _members(batch_id: UUID, services: Services) -> Sequence[Job]:
    _, jobs = services.jobs.get_batch(batch_id)
    return jobs


def _cancelled(job: Job, services: Services) -> Job | None:
    """The job as it stands after this; None: it moved on meanwhile."""
    if job.status is Status.GENERATING and job.stage is Stage.GENERATE:
        return job if job.stopped else commit(move(job, MoveName.STOP, services, cause="cancelled"), services)
    entry = _cost(job, services)
    # `unknown` teaches nothing about an attempt whose fate is known already.
    ended = endings.cancel(job, services, entry=entry, facts=facts_of(job, "unknown") if entry else None)
    if ended is None:
        return None
    if job.status is Status.UPLOADING and job.stage is Stage.UPLOAD:
        unpublish(job, services)
    return ended.job


def _cost(job: Job, services: Services) -> Entry | None:
    """The ledger line that closes the attempt; None where nothing of it is open."""
    if job.status in {Status.QUEUED, Status.PROCESSING} or job.cache_hit:
        return None
    kind: EntryKind = "uncertain" if job.stage is Stage.RECONCILE else "waste"
    if job.run > 1 and _settled(services.jobs.history(job.id)):
        kind = "settle"
    amount = (job.cost_estimated or Decimal(0)) if kind == "uncertain" else price_of_cancelling(job)
    return money.line(job, kind, amount)


def _settled(history: Sequence[Event]) -> bool:
    """Whether an earlier run of the job failed in a transfer, which settled the price of its newest attempt."""
    bought = max((event.id for event in history if event.move == MoveName.SUBMIT), default=0)
    ends = (event for event in history if event.id > bought and event.move == MoveName.FAIL)
    return any(event.stage in TRANSFERS and event.cause not in SPOILT for event in ends)
