"""Buying one picture: the paid call between its two commits, and what each of its five answers comes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import uuid4

from imagegen import cadence, images, layout, policies, retry
from imagegen.endings import fail, in_doubt, no_picture
from imagegen.errors import BadArtifact, ImagegenError, PartUnavailable, StorageError
from imagegen.jobs import Job
from imagegen.outcomes import Lost, Outcome, Park, advanced
from imagegen.ports import Services
from imagegen.providers.base import Accepted, Delivered, NotSent, Order, Rejected, Submission, Unknown
from imagegen.recording import commit, facts_of, move, patiently
from imagegen.records import AttemptState, Entry, Facts, Move, NewAttempt
from imagegen.states import FailureStage, MoveName, Stage


def buy(job: Job, order: Order, report: Callable[[bool], None], services: Services) -> tuple[Job, Submission] | None:
    """The paid call, its intent committed before it. None: the job was taken away meanwhile, nothing was sent."""
    attempt = NewAttempt(
        id=uuid4(), job_id=job.id, number=job.attempts + 1, provider=job.provider, model=job.model, token=uuid4().hex,
        estimate=job.cost_estimated or Decimal(0), emulated=job.emulated,
    )  # fmt: skip
    intent = move(
        job, MoveName.SUBMIT, services, cause="intent", stage=Stage.GENERATE, until=policies.LEASES["submit"],
        claim=job.claim, new_attempt=attempt,
        changes={"paid_attempts": job.paid_attempts + 1, "submitted_at": services.clock.now()},
        entries=(Entry(kind="reserve", amount=attempt.estimate, attempt_id=attempt.id),),
    )  # fmt: skip
    submitting = commit(intent, services) or services.jobs.get(job.id)
    if submitting.attempt_id != attempt.id or submitting.claim != job.claim:
        return None
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
            return in_doubt(job, answer.error, services.provider(job.provider).reconcile_window, services)
        case Rejected() | NotSent():
            return _refused(job, answer, services)


def _accepted(job: Job, answer: Accepted, services: Services) -> Outcome:
    first = cadence.first_poll(job, services)
    at_once = first <= policies.POLL_AT_ONCE
    accepted = move(
        job, MoveName.ACCEPT, services, cause="accepted", stage=Stage.POLL,
        until=policies.GRACE if at_once else first, parked=not at_once, waiting_for=None if at_once else "provider",
        changes={"provider_job_id": answer.provider_job_id, "cost_credits": answer.actual, "failures": 0},
        facts=facts_of(job, "accepted", provider_job_id=answer.provider_job_id, actual=answer.actual),
    )  # fmt: skip
    waiting = commit(accepted, services)
    if at_once or waiting is None:
        return advanced(waiting)
    return Park(services.clock.now() + first, "provider")


def _delivered(job: Job, answer: Delivered, services: Services) -> Outcome:
    """Bytes in hand: first to the attempt's own key (a kill from here on loses nothing), then to their blob."""
    assert job.attempt_id is not None
    try:
        _store(layout.attempt_key(job.attempt_id), answer.data, "application/octet-stream", services)
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
        entries=(Entry(kind="waste", amount=price, attempt_id=job.attempt_id, always=True),),
        changes={"cost_credits": price, "failure_stage": FailureStage.PERSISTING},
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
    return advanced(commit(delivered, services) or _proven(delivered, services))


def _proven(delivered: Move, services: Services) -> Job | None:
    """The picture of a job that was given up in doubt: it is paid, so the job goes on with it (law 3)."""
    ended = patiently(lambda: services.jobs.get(delivered.job_id), services.clock)
    if not ended.terminal or ended.billed != "unknown":
        return None
    changes = {**delivered.changes, "cost_uncertain": None}
    return commit(replace(delivered, name=MoveName.PROVE, cause="late proof", changes=changes, seen=None), services)


def _refused(job: Job, answer: Rejected | NotSent, services: Services) -> Outcome:
    """Nothing was bought. A refusal that was or may have been charged counts as a paid attempt."""
    actual = answer.actual if isinstance(answer, Rejected) else None
    usage = answer.usage if isinstance(answer, Rejected) else None
    state: AttemptState = "rejected" if isinstance(answer, Rejected) else "not_sent"
    facts = facts_of(job, state, actual=actual, usage=usage, error=answer.error.document())
    if actual or answer.error.billed != "no":
        return no_picture(job, answer.error, actual, services, facts=facts)
    free = replace(job, paid_attempts=job.paid_attempts - 1)
    release = Entry(kind="release", amount=job.cost_estimated or Decimal(0), attempt_id=job.attempt_id, always=True)
    return not_bought(free, MoveName.REPEAT, answer.error, services, facts=facts, entries=(release,))


def not_bought(
    job: Job, name: MoveName, error: ImagegenError, services: Services,
    facts: Facts | None = None, entries: tuple[Entry, ...] = (),
) -> Outcome:  # fmt: skip
    """Parks the job until it may be tried again, or ends it."""
    decision = retry.decide(
        error, failures=job.failures, paid_attempts=job.paid_attempts, max_paid_attempts=job.max_paid_attempts,
        now=services.clock.now(), deadline=job.deadline_at, seed=job.id.int,
    )  # fmt: skip
    if isinstance(decision, retry.GiveUp):
        return fail(job, error, services, facts=facts, entries=entries)
    parked = move(
        job, name, services, cause=error.code, stage=Stage.GENERATE, until=decision.after, parked=True,
        waiting_for=decision.reason, facts=facts, entries=entries,
        changes={"failures": job.failures + 1, "paid_attempts": job.paid_attempts},
    )  # fmt: skip
    kept = commit(parked, services)
    return Park(services.clock.now() + decision.after, decision.reason) if kept else Lost()


def _store(key: str, data: bytes, content_type: str, services: Services) -> None:
    """Paid bytes: an object store that is away is waited for, as long as for the database (law 5)."""
    patiently(lambda: services.blobs.put(key, data, content_type), services.clock)


def _callback_url(services: Services, job: Job, attempt: NewAttempt) -> str | None:
    if services.callback_base_url is None:
        return None
    return f"{services.callback_base_url}/api/webhooks/{job.provider}?attempt={attempt.id}&token={attempt.token}"
