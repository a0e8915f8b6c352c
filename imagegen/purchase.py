"""Buying one picture: the paid call between its two commits, and what each of its five answers comes to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from imagegen import cadence, callbacks, images, layout, money, policies, retry
from imagegen.endings import fail, in_doubt, no_picture, stopped, unaffordable
from imagegen.errors import BadArtifact, BudgetExceeded, ImagegenError, PartUnavailable, StorageError
from imagegen.fallback import elsewhere
from imagegen.jobs import Job
from imagegen.keeping import STORAGE
from imagegen.keepsakes import Keepsake
from imagegen.outcomes import Outcome, Park, advanced
from imagegen.placeholders import PROVIDER_DOWN, next_look
from imagegen.ports import Services
from imagegen.providers.base import Accepted, Delivered, NotSent, Order, Rejected, Submission, Unknown
from imagegen.recording import commit, facts_of, move, patiently, reserve
from imagegen.records import Attempt, AttemptState, Entry, Facts, Move, NewAttempt
from imagegen.states import FailureStage, MoveName, Stage

log = logging.getLogger(__name__)


def buy(job: Job, order: Order, report: Callable[[bool], None], services: Services) -> tuple[Job, Submission] | None:
    """The paid call, its intent committed before it. None: the job was taken away meanwhile, nothing was sent."""
    if job.slot_at is not None:
        services.clock.sleep(max(0.0, (job.slot_at - services.clock.now()).total_seconds()))
    called = services.callback_base_url is not None and not services.provider(job.provider).synchronous
    attempt = NewAttempt(
        id=uuid4(), job_id=job.id, number=job.attempts + 1, provider=job.provider, model=job.model, token=uuid4().hex,
        estimate=job.cost_estimated or Decimal(0), emulated=job.emulated, callback="expected" if called else None,
    )  # fmt: skip
    intent = move(
        job, MoveName.SUBMIT, services, cause="intent", stage=Stage.GENERATE, until=policies.LEASE,
        claim=job.claim, new_attempt=attempt,
        changes={"paid_attempts": job.paid_attempts + 1, "submitted_at": services.clock.now()},
        entries=(money.line(job, "reserve", attempt.estimate, attempt_id=attempt.id),),
    )  # fmt: skip
    submitting = commit(intent, services) or services.jobs.get(job.id)
    if submitting.attempt_id != attempt.id or submitting.claim != job.claim:
        return None
    services.heartbeat.buying(submitting)
    answer = services.provider(job.provider).submit(order, callback_url=_callback_url(services, job, attempt))
    if isinstance(answer, Accepted | Delivered):
        report(True)
    elif isinstance(answer, Unknown | NotSent) or answer.error.code == "TEMPORARY":
        report(False)
    return submitting, answer


def answered(job: Job, answer: Submission, services: Services) -> Outcome:
    """What the call taught us is written down whatever happens to the job."""
    match answer:
        case Accepted():
            return _accepted(job, answer, services)
        case Delivered():
            return _delivered(job, answer, services)
        case Unknown():
            return in_doubt(job, answer.error, _window(job, services), services)
        case Rejected() | NotSent():
            return _refused(job, answer, services)


def _accepted(job: Job, answer: Accepted, services: Services) -> Outcome:
    first = cadence.first_poll(job, services)
    at_once = first <= policies.POLL_AT_ONCE
    accepted = move(
        job, MoveName.ACCEPT, services, cause="accepted", stage=Stage.POLL,
        until=policies.GRACE if at_once else first, parked=not at_once, waiting_for=None if at_once else "provider",
        changes={
            "provider_job_id": answer.provider_job_id, "cost_credits": answer.actual, "failures": 0,
            "billed": job.billed if answer.actual is None else "yes",
        },
        facts=facts_of(job, "accepted", provider_job_id=answer.provider_job_id, actual=answer.actual),
    )  # fmt: skip
    waiting = _on_record(accepted, answer, services)
    if waiting is None:
        return stopped(job, accepted, services)
    if at_once:
        return advanced(waiting)
    return Park(services.clock.now() + first, "provider")


def _on_record(accepted: Move, answer: Accepted, services: Services) -> Job | None:
    """`commit`. While PostgreSQL is away the order's number is kept where a reconciliation looks for it too, for this
    worker may be gone, or have lost its patience, before PostgreSQL is back."""
    try:
        return services.jobs.apply(accepted)
    except PartUnavailable:
        _keep_order(accepted, answer, services)
    return commit(accepted, services)


def _keep_order(accepted: Move, answer: Accepted, services: Services) -> None:
    assert accepted.facts is not None
    kept = Keepsake(order=answer.provider_job_id, actual=answer.actual).packed()
    try:
        services.blobs.put(layout.attempt_key(accepted.facts.attempt_id), kept, "application/octet-stream")
    except (PartUnavailable, StorageError) as error:
        log.warning("job %s: its order %s is nowhere on record yet: %s", accepted.job_id, answer.provider_job_id, error)


def _delivered(job: Job, answer: Delivered, services: Services) -> Outcome:
    """Bytes in hand: first to the attempt's own key (a kill from here on loses nothing), then to their blob."""
    assert job.attempt_id is not None
    try:
        kept = Keepsake(data=answer.data, actual=answer.actual, usage=answer.usage).packed()
        key, refusals = layout.attempt_key(job.attempt_id), (PartUnavailable, StorageError)
        _store(key, kept, "application/octet-stream", services, refusals)
    except (PartUnavailable, StorageError) as error:
        return _not_kept(job, answer, error, services)
    try:
        return keep(job, answer.data, answer.actual, answer.usage, services)
    except StorageError as error:
        return in_doubt(job, error, policies.RECONCILE_AGAIN, services, actual=answer.actual, usage=answer.usage)


def _not_kept(job: Job, answer: Delivered, error: ImagegenError, services: Services) -> Outcome:
    """Paid and lost. Another purchase would meet the same store, so none is made by itself."""
    lost = StorageError(f"the paid picture could not be kept: {error}", {"billed": "yes"})
    price = answer.actual if answer.actual is not None else job.cost_estimated or Decimal(0)
    return fail(
        job, lost, services,
        facts=facts_of(job, "failed", actual=price, usage=answer.usage, error=lost.document()),
        entries=(money.line(job, "waste", price, always=True),),
        changes={"failure_stage": FailureStage.PERSISTING},
    )  # fmt: skip


def keep(job: Job, data: bytes, actual: Decimal | None, usage: Mapping[str, Any] | None, services: Services) -> Outcome:
    """Paid bytes become a blob under their digest, or turn out to be no picture."""
    try:
        picture = images.inspect(data)
    except BadArtifact as error:
        return no_picture(job, error, actual, services, facts=facts_of(job, "failed", actual=actual, usage=usage))
    _store(layout.blob_key(picture.sha256), data, picture.content_type, services)
    delivered = move(
        job, MoveName.DELIVER, services, cause="delivered", stage=Stage.UPLOAD, until=policies.GRACE,
        changes={
            "blob_sha256": picture.sha256, "blob_content_type": picture.content_type, "billed": "yes",
            "cost_credits": actual if actual is not None else job.cost_estimated, "failures": 0,
        },
        facts=facts_of(job, "succeeded", blob_sha256=picture.sha256, actual=actual, usage=usage),
    )  # fmt: skip
    moved = commit(delivered, services)
    return stopped(job, delivered, services) if moved is None else advanced(moved)


def without_answer(job: Job, attempt: Attempt, services: Services) -> Outcome:
    """A paid call whose worker was lost, or whose answer was: nothing is kept of it. Proof may still come in time.

    Its chance begins with the first look: a worker that was only cut off from the database shows a sign of life
    within `policies.SETTLING`.
    """
    if attempt.provider_job_id is not None:
        return _accepted(job, Accepted(provider_job_id=attempt.provider_job_id, actual=attempt.actual), services)
    if attempt.state != "submitting":
        return in_doubt(job, None, 0.0, services)
    return in_doubt(job, None, max(policies.SETTLING, _window(job, services)), services)


def _window(job: Job, services: Services) -> float:
    """Seconds to wait for proof of a lost answer: without an address for callbacks none can come."""
    return services.provider(job.provider).reconcile_window if services.callback_base_url else 0.0


def _refused(job: Job, answer: Rejected | NotSent, services: Services) -> Outcome:
    """Nothing was bought. A refusal that was or may have been charged counts as a paid attempt."""
    actual = answer.actual if isinstance(answer, Rejected) else None
    usage = answer.usage if isinstance(answer, Rejected) else None
    state: AttemptState = "rejected" if isinstance(answer, Rejected) else "not_sent"
    facts = facts_of(job, state, actual=actual, usage=usage, error=answer.error.document())
    if actual or answer.error.billed != "no":
        return no_picture(job, answer.error, actual, services, facts=facts)
    free = replace(job, paid_attempts=job.paid_attempts - 1)
    release = money.line(job, "release", job.cost_estimated or Decimal(0), always=True)
    return not_bought(free, MoveName.REPEAT, answer.error, services, facts=facts, entries=(release,))


def not_bought(
    job: Job, name: MoveName, error: ImagegenError, services: Services,
    facts: Facts | None = None, entries: tuple[Entry, ...] = (),
) -> Outcome:  # fmt: skip
    """Sends the job to another provider, parks it until it may be tried again, or ends it."""
    decision, changes = _next_try(job, error, services)
    if isinstance(decision, retry.GiveUp):
        return fail(job, error, services, facts=facts, entries=entries)
    to = changes.get("provider")
    # Nobody was asked at an open circuit, nor while its picture could not be kept.
    tried = decision.reason not in {"breaker", STORAGE}
    parked = move(
        job, name, services, cause=error.code, stage=Stage.GENERATE, until=decision.after, parked=True,
        waiting_for=decision.reason, facts=facts, entries=entries,
        changes={"failures": job.failures + tried, "paid_attempts": job.paid_attempts, **changes},
        detail={"fallback": {"from": job.provider, "to": to}} if to else {},
    )  # fmt: skip
    try:
        resting = reserve(parked, services) if to else commit(parked, services)
    except BudgetExceeded as refusal:
        return fail(job, unaffordable(job, refusal, error), services, facts=facts, entries=entries)
    if resting is None:
        return stopped(job, parked, services)
    return Park(services.clock.now() + decision.after, decision.reason)


def _next_try(job: Job, error: ImagegenError, services: Services) -> tuple[retry.Decision, Mapping[str, Any]]:
    """Where and when; a job that replaces a placeholder asks all providers again each time it looks."""
    changes = elsewhere(job, error, services)
    if changes is not None:
        return retry.Again(timedelta(0), "fallback"), changes
    look = next_look(job, error, services)
    if look is not None:
        return retry.Again(look, PROVIDER_DOWN), {"tried": [job.provider]}
    decision = retry.decide(
        error, failures=job.failures, paid_attempts=job.paid_attempts, max_paid_attempts=job.max_paid_attempts,
        now=services.clock.now(), deadline=job.deadline_at, seed=job.id.int,
    )  # fmt: skip
    return decision, {}


def _store(
    key: str, data: bytes, content_type: str, services: Services,
    away: tuple[type[ImagegenError], ...] = (PartUnavailable,),
) -> None:  # fmt: skip
    """Paid bytes: an object store that is away is waited for, as long as for the database (law 5)."""
    patiently(lambda: services.keeping.put(key, data, content_type, services), services.clock, away)


def _callback_url(services: Services, job: Job, attempt: NewAttempt) -> str | None:
    if services.callback_base_url is None:
        return None
    return callbacks.address(services.callback_base_url, job.provider, attempt.id, attempt.token)
