"""Going on with a failed job at the stage that failed: what was paid is not bought again (R15).

| what is there | goes on | costs |
|---|---|---|
| the picture's original, in our store | at the upload | nothing |
| its address, and the file was not found bad | at the download | nothing |
| an order that the provider took | by asking for its picture's address | nothing |
| nothing, and nothing was charged | from the beginning | its price, as at first |
| nothing, though it was or may have been charged | from the beginning, only with `buy` | its price once more |

From the beginning a picture that lies in the result cache still costs nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from imagegen import budgets, layout, money, policies
from imagegen.errors import (
    ArtifactExpired,
    BadArtifact,
    BudgetExceeded,
    Conflict,
    DeadlineExceeded,
    ImagegenError,
    PartUnavailable,
    PurchaseNeeded,
    SubmissionUnknown,
)
from imagegen.jobs import Batch, Job
from imagegen.ports import Services
from imagegen.records import Attempt, Move
from imagegen.retry_keys import Keyed, keyed, meant
from imagegen.states import FailureStage, MoveName, Stage, Status

log = logging.getLogger(__name__)

LOOKS = 5
"""How often a job that changes while it is being continued is looked at again."""

SPOILT = {BadArtifact.code, ArtifactExpired.code, BudgetExceeded.code}
"""Ends of a transfer whose file is no good; the last where no other could be bought instead."""
_FILES = {BadArtifact.code, ArtifactExpired.code, DeadlineExceeded.code}
"""Errors of a picture that was drawn and could not be had."""
_DOUBTS = {SubmissionUnknown.code, DeadlineExceeded.code}
_OVER = {"failed", "rejected", "not_sent"}
TRANSFERS = {Stage.DOWNLOAD, Stage.UPLOAD}
"""Stages that move a picture which the provider has drawn."""


@dataclass(frozen=True, kw_only=True)
class RetryPlan:
    """How a job would go on: at which stage, with which status and changes of its row, and for how many US dollars.

    `buys`: it pays once more for what was, or may have been, charged before. `refusal`: why it does not go on; that of
    a plan which buys is withdrawn by the owner's `buy`.
    """

    stage: Stage
    target: Status
    buys: bool = False
    dollars: Decimal = Decimal(0)
    refusal: ImagegenError | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)


def plan_retry(job: Job, attempt: Attempt | None, *, cached: bool = False) -> RetryPlan:
    """How this job would go on. Pure. `attempt`: its newest; `cached`: its picture lies in the result cache."""
    if job.erase_at is not None:
        refusal = Conflict(f"job {job.id} was erased, or is about to be: send it anew")
        return RetryPlan(stage=job.stage, target=job.status, refusal=refusal)
    if job.status is not Status.FAILED:
        refusal = Conflict(f"job {job.id} is {job.status}: only a failed job is continued")
        return RetryPlan(stage=job.stage, target=job.status, refusal=refusal)
    # A picture from the cache is known to cost nothing; what else cost nothing has no picture yet.
    price = job.cost_credits if job.cache_hit else job.cost_credits or None
    known = {"failures": 0, "refreshed": False, "cost_credits": price}
    blob = _original(job, attempt)
    if blob is not None:
        return RetryPlan(stage=Stage.UPLOAD, target=Status.UPLOADING, changes=known | blob)
    if job.result_url is not None and job.stage is Stage.DOWNLOAD and job.error_code not in SPOILT:
        return RetryPlan(stage=Stage.DOWNLOAD, target=Status.UPLOADING, changes=known)
    order = _order(job, attempt)
    if order is not None:
        asks = {**known, "provider_job_id": order, "result_url": None}
        asks |= _undoubted(job, attempt) | _unspent(job, attempt)
        return RetryPlan(stage=Stage.POLL, target=Status.GENERATING, changes=asks)
    return _from_the_beginning(job, cached)


def plan_of(job: Job, services: Services) -> RetryPlan:
    """`plan_retry` with what the store knows of the job's newest attempt and of its picture."""
    attempt = None if job.attempt_id is None else services.jobs.attempt(job.attempt_id)
    plan = plan_retry(job, attempt)
    late = plan.changes.get("blob_sha256")
    if late is not None and attempt is not None:
        info = services.blobs.head(layout.blob_key(late))
        if info is not None:
            return replace(plan, changes={**plan.changes, "blob_content_type": info.content_type})
        plan = plan_retry(job, replace(attempt, blob_sha256=None))
    if not plan.buys or job.fresh:
        return plan
    found = services.jobs.cached(job.fingerprint, emulated=job.emulated, at=services.clock.now())
    if found is None or services.blobs.head(layout.blob_key(found.blob_sha256)) is None:
        return plan
    return plan_retry(job, attempt, cached=True)


def retry(job_id: UUID, services: Services, buy: bool = False, key: str | None = None) -> Job:
    """The job, on its way again; one that was continued before and goes on still is returned as it is.

    `buy` lets it pay once more. `key`: sent again under it, nothing goes on by it a second time, however the job
    stands. Raises `NotFound`, `Conflict` for what has not failed, `PurchaseNeeded`, `IdempotencyConflict`, and
    `BudgetExceeded` where a hard budget has no room for another picture.
    """
    return _retried(job_id, services, buy, keyed(job_id, key, buy, [job_id]))


def _retried(job_id: UUID, services: Services, buy: bool, mark: Keyed | None) -> Job:
    for _ in range(LOOKS):
        job = services.jobs.get(job_id)
        if mark is not None and meant([job], mark, services)[1]:
            return services.jobs.get(job_id)
        if not job.terminal and job.run > 1:
            return job
        again = _continued(job, plan_of(job, services), services, buy, mark)
        if again is not None:
            return again
    raise Conflict(f"job {job_id} changes faster than it can be continued; try again", {"retryable": True})


def retry_batch(
    batch_id: UUID, services: Services, buy: bool = False, key: str | None = None
) -> tuple[Batch, Sequence[Job]]:
    """Continues the failed members of a batch; the others are not touched. `key`: as for one job.

    All or none: raises `PurchaseNeeded` with the dollars of all its members together, and `BudgetExceeded` where these
    do not fit, before any goes on. Raises `NotFound`, `IdempotencyConflict`, and `Conflict` where no member has failed.
    Should others take the budget's room in that very moment, the members that had gone on by then do so.
    """
    _, jobs = services.jobs.get_batch(batch_id)
    failed = [job for job in jobs if job.status is Status.FAILED]
    mark = keyed(batch_id, key, buy, [job.id for job in failed])
    known, done = (frozenset[UUID](), frozenset[UUID]()) if mark is None else meant(jobs, mark, services)
    if known:
        # Members that the first of these calls meant and did not reach, because its process ended.
        failed = [job for job in failed if job.id in known - done]
    plans = {job.id: plan_of(job, services) for job in failed}
    if not plans and not known and not any(not job.terminal and job.run > 1 for job in jobs):
        raise Conflict(f"no member of batch {batch_id} has failed: there is nothing to continue")
    bought = [plan.dollars for plan in plans.values() if plan.buys]
    if bought and not buy:
        what = f"{len(bought)} of {len(jobs)} pictures of batch {batch_id}"
        raise _purchase_needed(what, sum(bought, Decimal(0)), "unknown")
    prices = [(job, plans[job.id].dollars) for job in failed if plans[job.id].target is Status.QUEUED]
    if prices:
        now = services.clock.now()
        budgets.afford(prices, services.budgets.list(at=now), money.utc_day(now))
    for job_id in plans:
        _retried(job_id, services, buy, mark)
    return services.jobs.get_batch(batch_id)


def _continued(job: Job, plan: RetryPlan, services: Services, buy: bool, mark: Keyed | None) -> Job | None:
    if plan.refusal is not None and not (plan.buys and buy):
        raise plan.refusal
    now, buying = services.clock.now(), plan.target is Status.QUEUED
    reserved = {"reserved_on": money.utc_day(now)} if buying else {}
    going_on = Move(
        job_id=job.id, name=MoveName.RETRY, at=now, cause="bought again" if plan.buys else "continued",
        worker=services.worker, stage=plan.stage, target=plan.target, until=now + policies.GRACE,
        seen=(job.status, job.stage), run=job.run, detail={} if mark is None else mark.detail,
        changes={**plan.changes, **reserved, "deadline_at": now + _span(job, services)},
    )  # fmt: skip
    again = services.jobs.reserve(going_on) if buying else services.jobs.apply(going_on)
    if again is not None:
        tell_again(again, services)
    return again


def tell_again(job: Job, services: Services) -> None:
    """Who waits for it waits on, and the workers hear of it; the sweep finds it where they do not."""
    try:
        for identity in _awaited(job, services):
            services.results.withdraw(str(identity))
        services.hints.jobs([job])
    except PartUnavailable as error:
        log.warning("job %s goes on, though not everybody could be told: %s", job.id, error)


def _awaited(job: Job, services: Services) -> list[UUID]:
    ids = [job.id, *job.aliases]
    if job.batch_id is not None:
        batch, _ = services.jobs.get_batch(job.batch_id)
        ids += [batch.id, *batch.aliases]
    return ids


def doubted(job: Job) -> bool:
    """Whether its end put its newest attempt in doubt; an earlier one's charge says nothing of that."""
    return job.error_code in _DOUBTS and job.failure_stage == FailureStage.GENERATING and not job.refreshed


def _span(job: Job, services: Services) -> timedelta:
    """How long the job had at first."""
    if job.replaces is not None:
        return policies.PROVIDER_DOWN_PATIENCE
    asked = job.request.get("deadlineSeconds")
    return services.deadline if asked is None else timedelta(seconds=asked)


def _original(job: Job, attempt: Attempt | None) -> dict[str, Any] | None:
    """The changes that let it go on from its original; None where there is none that serves."""
    transferring = job.stage in TRANSFERS and job.failure_stage != FailureStage.GENERATING
    if job.blob_sha256 is not None and transferring and job.error_code not in SPOILT:
        return {}
    late = attempt is not None and attempt.state not in _OVER and attempt.blob_sha256 not in {None, job.blob_sha256}
    if attempt is None or not late:
        return None
    price = attempt.estimate if attempt.actual is None else attempt.actual
    return {**_undoubted(job, attempt), "blob_sha256": attempt.blob_sha256, "cost_credits": price, "billed": "yes"}


def _order(job: Job, attempt: Attempt | None) -> str | None:
    """The provider's order whose picture can still be asked for."""
    if job.provider_job_id is not None and (job.stage in TRANSFERS or job.refreshed) and not _given_up(attempt):
        return job.provider_job_id
    if attempt is None or attempt.state in _OVER:
        return None
    return attempt.provider_job_id


def _given_up(attempt: Attempt | None) -> bool:
    """Whether its provider itself said that it has no picture: no file was at fault, and no fresh address is owed."""
    if attempt is None or attempt.state != "failed":
        return False
    return (attempt.error or {}).get("code") not in _FILES


def _undoubted(job: Job, attempt: Attempt | None) -> dict[str, Any]:
    """The amount that the end put in doubt is in doubt no longer: the order that it was for goes on."""
    if attempt is None or not doubted(job):
        return {}
    rest = money.less(job.cost_uncertain, attempt.estimate)
    return {"cost_uncertain": rest, "billed": money.billed(job.cost_wasted, rest)}


def _unspent(job: Job, attempt: Attempt | None) -> dict[str, Any]:
    """The price of an order whose file was no good is no waste while the file is asked for once more."""
    if attempt is None or attempt.state != "failed" or not job.cost_wasted:
        return {}
    price = attempt.estimate if attempt.actual is None else attempt.actual
    rest = money.less(job.cost_wasted, price)
    return {"cost_wasted": rest, "cost_credits": price, "billed": "yes"}


def _from_the_beginning(job: Job, cached: bool) -> RetryPlan:
    nothing = dict.fromkeys(("provider_job_id", "result_url", "blob_sha256", "blob_content_type", "cost_credits"))
    changes: dict[str, Any] = {**nothing, "failures": 0, "refreshed": False, "cache_hit": False}
    plan = RetryPlan(stage=Stage.GENERATE, target=Status.QUEUED, changes=changes)
    if cached:
        return plan
    price = job.cost_estimated or Decimal(0)
    if job.billed == "no":
        return replace(plan, dollars=price, changes={**changes, "paid_attempts": 0})
    allowed = max(job.max_paid_attempts, job.paid_attempts + 1)
    refusal = _purchase_needed(f"the picture of job {job.id}", price, job.billed)
    changes["max_paid_attempts"] = allowed
    return replace(plan, buys=True, dollars=price, refusal=refusal)


def _purchase_needed(what: str, price: Decimal, billed: str) -> PurchaseNeeded:
    told = "was charged and cannot be had any more" if billed == "yes" else "was, or may have been, charged"
    dollars = f"{price.normalize():f}"
    return PurchaseNeeded(
        f"{what} {told}: to go on means to buy again for about ${dollars}. Retry with --buy (buy=true) to pay that, "
        "or leave it as it is",
        {"dollars": dollars, "billed": billed},
    )
