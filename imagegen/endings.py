"""How a job ends: with its picture, with an error, or with a doubt; each closes its money in the same statement."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from imagegen import layout, money, policies
from imagegen.budgets import discreet
from imagegen.errors import (
    Billed,
    BudgetExceeded,
    DeadlineExceeded,
    ImagegenError,
    PartUnavailable,
    SubmissionUnknown,
)
from imagegen.images import Published
from imagegen.jobs import Batch, Job
from imagegen.outcomes import Finish, Lost, Outcome, Park
from imagegen.placeholders import follow_up, stand_in
from imagegen.ports import Services
from imagegen.recording import commit, facts_of, move, patiently, reserve
from imagegen.records import Entry, EntryKind, Facts, Move
from imagegen.states import MoveName, Stage, Status
from imagegen.unpublishing import unpublish_if_cancelled

log = logging.getLogger(__name__)


def complete(job: Job, published: Published, original_bytes: int, services: Services) -> Outcome:
    """Published: settles the ledger with the actual cost and tells whoever waits."""
    keys = layout.picture_keys(job)
    entries = settlement(job)
    original = {"width": published.original_width, "height": published.original_height}
    ending = move(
        job, MoveName.COMPLETE, services, cause="published", stage=Stage.UPLOAD, entries=entries,
        until=policies.ANNOUNCE_AGAIN,
        changes={
            "public_url": services.blobs.public_url(keys.picture),
            "thumbnail_url": services.blobs.public_url(keys.thumbnail),
            "object_key": keys.picture, "sha256": published.sha256, "content_type": published.content_type,
            "bytes": len(published.data), "billed": _billed_in_all(job),
            "cost_credits": sum((entry.amount for entry in entries), money.NOTHING),
        },
        detail={"picture": {**original, "bytes": original_bytes}},
    )  # fmt: skip
    done = commit(ending, services)
    if done is None:
        unpublish_if_cancelled(job, services)
        return Lost()
    announce(done, services)
    return Finish(done)


def settlement(job: Job) -> tuple[Entry, ...]:
    """What closes the reservation of a delivered picture: its price, or nothing where it came from the cache."""
    if job.cache_hit:
        return ()
    return (money.line(job, "settle", money.price_of(job)),)


def _billed_in_all(job: Job) -> Billed:
    """A hit costs nothing; what an attempt before it cost stays."""
    return money.billed(job.cost_wasted, job.cost_uncertain) if job.cache_hit else "yes"


def fail(
    job: Job,
    error: ImagegenError,
    services: Services,
    *,
    facts: Facts | None = None,
    entries: tuple[Entry, ...] = (),
    changes: Mapping[str, Any] | None = None,
) -> Outcome:
    """Ends the job with this error, or with the placeholder it asked for; closes its batch if it was the last."""
    ending = move(
        job, MoveName.FAIL, services, cause=error.code, facts=facts, entries=entries, until=policies.ANNOUNCE_AGAIN,
        changes={
            "error_code": error.code, "error_message": error.message, "error_retryable": error.retryable,
            "billed": money.worse(money.charged(job, entries), error.billed), "paid_attempts": job.paid_attempts,
            **money.ended(job, entries), **(changes or {}),
        },
    )  # fmt: skip
    standing = stand_in(job, error, services, facts=facts, entries=entries, changes=changes)
    ended = standing or commit(ending, services)
    if ended is None:
        return stopped(job, ending, services)
    announce(ended, services)
    if ended.batch_id is not None:
        finish_batch(ended.batch_id, services)
    return Finish(ended)


def no_picture(job: Job, error: ImagegenError, charged: Decimal | None, services: Services, *, facts: Facts) -> Outcome:
    """A paid call gave no picture: its price (`charged`, None where untold) is lost, and told by what `error` knows.

    Another attempt is bought where the job may pay for one.
    """
    entry = _loss(job, error, charged)
    told = type(error)(error.message, {**error.details, "billed": _BILLED[entry.kind]})
    in_time = services.clock.now() < job.deadline_at
    if error.retryable and in_time and job.paid_attempts < job.max_paid_attempts:
        return buy_again(
            job, error, "another_attempt", services, facts=facts, entries=(entry,),
            changes={"billed": money.charged(job, (entry,))},
        )  # fmt: skip
    return fail(job, told, services, facts=facts, entries=(entry,))


def buy_again(
    job: Job,
    error: ImagegenError,
    reason: str,
    services: Services,
    *,
    facts: Facts | None = None,
    entries: tuple[Entry, ...] = (),
    changes: Mapping[str, Any],
) -> Outcome:
    """Back to the beginning, without anything of what was delivered.

    A hard budget without room for another picture ends the job instead, billed as it was.
    """
    nothing = ("provider_job_id", "result_url", "blob_sha256", "blob_content_type")
    again = move(
        job, MoveName.REPEAT, services, cause=error.code, stage=Stage.GENERATE, until=policies.REFETCH_AFTER,
        parked=True, waiting_for=reason, facts=facts, entries=entries,
        changes={
            **dict.fromkeys(nothing), "refreshed": False, "failures": 0, **money.lost(job, entries), **changes,
        },
    )  # fmt: skip
    try:
        going_on = reserve(again, services)
    except BudgetExceeded as refusal:
        charged = {"billed": changes["billed"]} if "billed" in changes else {}
        return fail(job, unaffordable(job, refusal, error), services, facts=facts, entries=entries, changes=charged)
    if going_on is None:
        return stopped(job, again, services)
    return Park(services.clock.now() + policies.REFETCH_AFTER, reason)


def priced_anew(job: Job, services: Services) -> Outcome:
    """A picture that was there at admission is gone: the job goes on if the budgets have room for buying it."""
    needed = move(
        job, MoveName.HOLD, services, cause="picture gone", stage=Stage.GENERATE, until=timedelta(0), parked=True,
        waiting_for="cache", changes={"cost_credits": None},
    )  # fmt: skip
    try:
        held = reserve(needed, services)
    except BudgetExceeded as refusal:
        return fail(job, unaffordable(job, refusal), services)
    return Park(services.clock.now(), "cache") if held else Lost()


def unaffordable(job: Job, refusal: BudgetExceeded, error: ImagegenError | None = None) -> BudgetExceeded:
    """The end of a job that its budget lets buy no further picture, as its owner may read it; the log tells it all.

    `error` is why it wanted one.
    """
    log.warning("job %s ends: %s", job.id, refusal)
    told = discreet(refusal, job.owner)
    why = "" if error is None else f"; it was wanted after {error.code}: {error.message}"
    return BudgetExceeded(told.message + why, told.details)


_BILLED: dict[str, Billed] = {"release": "no", "uncertain": "unknown", "waste": "yes"}


def _loss(job: Job, error: ImagegenError, charged: Decimal | None) -> Entry:
    """The ledger line of an attempt without a picture. As an answer to a paid call it is written whatever the job is;
    a transfer's word counts only while it holds the job."""
    kind: EntryKind = "release"
    if charged or (charged is None and error.billed == "yes"):
        kind = "waste"
    elif charged is None and error.billed == "unknown":
        kind = "uncertain"
    always = job.status is Status.GENERATING
    return money.line(job, kind, charged or job.cost_estimated or Decimal(0), always=always)


def in_doubt(job: Job, cause: ImagegenError | None, window: float, services: Services, **known: Any) -> Outcome:
    """The paid call's answer is missing: wait for proof where proof may come, else end with the amount uncertain.

    `known`: what became known of the attempt all the same, as `Facts` has it.
    """
    facts = facts_of(job, "unknown", error=cause.document() if cause else None, **known)
    if window > 0:
        from_now = timedelta(seconds=window)
        doubted = move(
            job, MoveName.DOUBT, services, cause="unknown", stage=Stage.RECONCILE, until=from_now, parked=True,
            waiting_for="reconcile", facts=facts,
        )  # fmt: skip
        if commit(doubted, services) is None:
            return stopped(job, doubted, services)
        return Park(services.clock.now() + from_now, "reconcile")
    facts = replace(facts, collect=True)
    entry = money.line(job, "uncertain", job.cost_estimated or Decimal(0))
    error = cause if isinstance(cause, DeadlineExceeded) else SubmissionUnknown(_untold(cause))
    return fail(job, error, services, facts=facts, entries=(entry,))


def _untold(cause: ImagegenError | None) -> str:
    told = "the paid request left, its answer never came"
    return told if cause is None else f"{told}: {cause}"


def cancel(job: Job, services: Services, *, entry: Entry | None, facts: Facts | None) -> Finish | None:
    """Ends the job because its owner stopped it, and says by `entry` what that cost. None: it moved meanwhile.

    A picture that was or may have been paid is still looked for: the next request for the same finds it.
    """
    paid = entry is not None and entry.kind in {"waste", "uncertain", "settle"}
    if facts is not None:
        facts = replace(facts, collect=paid)
    entries = () if entry is None else (entry,)
    cancelling = move(
        job, MoveName.CANCEL, services, cause="cancelled", until=policies.ANNOUNCE_AGAIN, facts=facts,
        entries=entries, changes={"billed": money.charged(job, entries), **money.ended(job, entries)},
    )  # fmt: skip
    cancelled = commit(cancelling, services)
    if cancelled is None:
        return None
    announce(cancelled, services)
    if cancelled.batch_id is not None:
        finish_batch(cancelled.batch_id, services)
    return Finish(cancelled)


def stopped(job: Job, answer: Move, services: Services) -> Outcome:
    """What the answer of a paid call comes to where it moved nothing: its job was stopped meanwhile, and ends here.

    Otherwise the job was somebody else's by then: Lost. The answer's facts are on record in either case.
    """
    if answer.facts is None or job.status is not Status.GENERATING:
        return Lost()
    found = patiently(lambda: services.jobs.get(job.id), services.clock)
    if not found.stopped or found.terminal or found.attempt_id != answer.facts.attempt_id:
        return Lost()
    told = next((entry for entry in answer.entries if entry.kind in _BILLED), None)
    return cancel(found, services, entry=told or _price_of(found, answer), facts=answer.facts) or Lost()


def _price_of(job: Job, answer: Move) -> Entry:
    """Taken or delivered: it is charged. In doubt: it may be."""
    told = answer.facts.actual if answer.facts else None
    price = told if told is not None else job.cost_estimated or Decimal(0)
    kind: EntryKind = "uncertain" if answer.name is MoveName.DOUBT else "waste"
    return money.line(job, kind, price)


def overdue(job: Job, services: Services) -> bool:
    """Ends a job whose deadline passed, True if it has; a paid picture that is on its way is finished all the same."""
    now = services.clock.now()
    if now < job.deadline_at or job.stage in {Stage.DOWNLOAD, Stage.UPLOAD, Stage.RECONCILE}:
        return False
    if job.stage is not Stage.POLL:
        fail(job, DeadlineExceeded("the deadline passed before anything was bought"), services)
    elif not job.refreshed:
        in_doubt(job, DeadlineExceeded("the deadline passed", {"billed": "unknown"}), 0.0, services)
    elif now < job.deadline_at + policies.FRESH_URL_PATIENCE:
        return False
    else:
        error = DeadlineExceeded("the provider gives no fresh address for the picture it drew")
        charged = job.cost_estimated if job.cost_credits is None else job.cost_credits
        no_picture(job, error, charged, services, facts=facts_of(job, "failed", error=error.document()))
    return True


def finish_batch(batch_id: UUID, services: Services) -> bool:
    """Closes the batch if no member is live; whoever closes it publishes its document. True: it was us."""
    closed = services.jobs.close_batch(batch_id, at=services.clock.now())
    if closed is None:
        return False
    announce_batch(batch_id, services)
    return True


def announce(job: Job, services: Services) -> None:
    """Tells whoever waits for this job, and does what its end asks for.

    A part is away: the sweep does it again, for the row says it is due.
    """
    try:
        publish(job, services)
    except PartUnavailable as error:
        log.warning("job %s ended; its announcement waits: %s", job.id, error)


def publish(job: Job, services: Services) -> None:
    """`announce` that raises `PartUnavailable`. The picture of a replacement changes its original's document too."""
    replaced = follow_up(job, services)
    for one in (job, replaced):
        if one is not None:
            _tell(one, services.links.job(one).json_document(), services)
    if replaced is not None and replaced.batch_id is not None:
        publish_batch(replaced.batch_id, services)


def announce_batch(batch_id: UUID, services: Services) -> None:
    """Tells whoever waits for this batch, if it is closed. Redis away: told again with its last member."""
    try:
        publish_batch(batch_id, services)
    except PartUnavailable as error:
        log.warning("batch %s ended; its announcement waits: %s", batch_id, error)


def publish_batch(batch_id: UUID, services: Services) -> None:
    """Publishes the document of a closed batch; raises `PartUnavailable`."""
    batch, jobs = services.jobs.get_batch(batch_id)
    if batch.completed_at is not None:
        _tell(batch, services.links.batch(batch, jobs).json_document(), services)


def _tell(ended: Job | Batch, document: Mapping[str, Any], services: Services) -> None:
    """Under its own id, and under each other id that was answered with it."""
    for identity in (ended.id, *ended.aliases):
        services.results.publish(str(identity), document)
