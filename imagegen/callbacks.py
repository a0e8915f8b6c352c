"""A provider's callback: a hint to look at a job now, and the proof of an answer that never reached us.

Who calls proves by the attempt's own token that it knows of that order, and by its signature, where there is one, who
it is. What it says moves nothing, signed or not: the record is read again with our key, and an order id that we do not
have yet is believed only after the provider has confirmed it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from imagegen import policies
from imagegen.errors import AuthError, PartUnavailable, RateLimited, Temporary
from imagegen.jobs import Job
from imagegen.ports import Services
from imagegen.providers.base import UNKNOWN_ORDER, Provider
from imagegen.providers.inbound.base import UNPROVEN, Checked, Proof, Refusal
from imagegen.records import Attempt, Facts, Move
from imagegen.states import MoveName, Stage, Status

log = logging.getLogger(__name__)

ROUTES = {"nanobanana": "nano-banana"}
"""What a provider is called in the addresses of our HTTP door, where that is not its id."""
LONGEST_TASK = 1000
"""Characters of an order's id; all that are known have fewer than a hundred."""
_NOBODY = "0" * 32
"""Compared with where there is no attempt, so that both answers take the same work."""


class Verdict(StrEnum):
    """What a callback came to. The last three lines are who was not listened to, and whom we could not hear out."""

    WOKEN = "woken"
    ACCEPTED = "accepted"
    COLLECTING = "collecting"
    LATE = "late"
    REPEATED = "repeated"
    UNREADABLE = "unreadable"
    UNSIGNED = "unsigned"
    STALE = "stale"
    FORGED = "forged"
    UNKNOWN = "unknown"
    DEFERRED = "deferred"


MISSED = "missed"
"""Counted beside the verdicts: a callback that was to come and did not."""
REFUSED = frozenset({Verdict.UNSIGNED, Verdict.STALE, Verdict.FORGED, Verdict.UNKNOWN})
_TAKEN = frozenset({Verdict.WOKEN, Verdict.ACCEPTED, Verdict.COLLECTING, Verdict.LATE, Verdict.REPEATED})
_AWAY = (PartUnavailable, Temporary, RateLimited, AuthError)


@dataclass(frozen=True, kw_only=True)
class Callback:
    """One request of a provider: the attempt and token of its address (None where the address names none), the body's
    bytes, and what its signature comes to."""

    provider: str
    attempt_id: UUID | None
    token: str
    body: bytes
    proof: Checked = UNPROVEN

    @property
    def delivery(self) -> str:
        """The same for every repetition: the provider's own id of it where that is signed, else the body's digest."""
        named = self.proof.delivery if isinstance(self.proof, Proof) and self.proof.body else None
        return named or hashlib.sha256(self.body).hexdigest()


def address(base: str, provider: str, attempt_id: UUID, token: str) -> str:
    """Where a provider reports on one attempt; nobody else knows it."""
    return f"{base}/api/webhooks/{ROUTES.get(provider, provider)}?attempt={attempt_id}&token={token}"


def provider_of(route: str) -> str:
    """The provider id behind a name in an address; a name that no provider has stays as it is."""
    by_route = {name: provider for provider, name in ROUTES.items()}
    return "" if route in ROUTES else by_route.get(route, route)


def take(callback: Callback, services: Services) -> Verdict:
    """Receives one callback and counts what it came to. Raises what `receive` raises, counted as `deferred`."""
    try:
        verdict, attempt = receive(callback, services)
    except _AWAY:
        count(callback.provider, Verdict.DEFERRED, services)
        raise
    if verdict not in _TAKEN or attempt is None:
        count(callback.provider, verdict, services)
        return verdict
    return Verdict(count(callback.provider, verdict, services, attempt_id=attempt.id, delivery=callback.delivery))


def count(
    provider: str, verdict: Verdict, services: Services, *, attempt_id: UUID | None = None, delivery: str | None = None
) -> str:
    """One more of this verdict; as what it was counted. The callback has done its work, whatever becomes of this."""
    told: dict[str, Any] = {"at": services.clock.now(), "attempt_id": attempt_id, "delivery": delivery}
    try:
        return services.callbacks.count(provider, verdict.value, **told)
    except PartUnavailable as error:
        log.warning("a callback of %s (%s) is not counted: %s", provider, verdict, error)
        return verdict.value


def count_missed(services: Services) -> int:
    """Counts the callbacks that were to come and did not: how their orders ended was found by asking. How many."""
    now, total = services.clock.now(), 0
    found = limit = policies.SWEEP_LIMIT
    while found == limit:
        found = services.callbacks.missed(at=now, patience=policies.CALLBACK_PATIENCE, limit=limit)
        total += found
    services.callbacks.forget(before=now - policies.CALLBACKS_KEPT)
    return total


def receive(callback: Callback, services: Services) -> tuple[Verdict, Attempt | None]:
    """Takes one callback; as often as it comes, early, late or never, it ends in the same picture and charge.

    Raises `PartUnavailable` where our own parts are away, and `Temporary`, `RateLimited` or `AuthError` where the
    provider could not be asked: the caller shall try again.
    """
    if isinstance(callback.proof, Refusal):
        return Verdict(callback.proof.value), None
    attempt = _attempt(callback, callback.proof, services)
    if isinstance(attempt, Verdict):
        return attempt, None
    if attempt.delivery == callback.delivery:
        return Verdict.REPEATED, attempt
    return _heard(attempt, callback, services), attempt


def _attempt(callback: Callback, proof: Proof, services: Services) -> Attempt | Verdict:
    """The attempt it is about, which its token must prove. An address without one needs a body that is signed."""
    if callback.attempt_id is None:
        provider = services.providers.get(callback.provider)
        task = _task(provider, callback.body) if proof.body and provider is not None else None
        found = None if task is None else services.jobs.ordered(callback.provider, task)
        return Verdict.UNKNOWN if found is None else found
    attempt = services.jobs.attempt(callback.attempt_id)
    token = callback.token.encode("utf-8", "replace")
    proven = hmac.compare_digest((attempt.token if attempt else _NOBODY).encode(), token)
    if attempt is None:
        return Verdict.UNKNOWN
    return attempt if proven and attempt.provider == callback.provider else Verdict.FORGED


def _heard(attempt: Attempt, callback: Callback, services: Services) -> Verdict:
    task = _task(services.provider(callback.provider), callback.body)
    if task is None:
        return Verdict.UNREADABLE
    if attempt.provider_job_id is not None:
        return _known(attempt, task, services)
    if not _ours(attempt, task, services):
        return _not_ours(attempt)
    return _proof(attempt, task, services)


def _not_ours(attempt: Attempt) -> Verdict:
    log.warning("job %s: a callback names an order that is not of attempt %s", attempt.job_id, attempt.id)
    return Verdict.FORGED


def _task(provider: Provider, body: bytes) -> str | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    task = provider.callback_task(document)
    return task if task is not None and task.isprintable() and len(task) <= LONGEST_TASK else None


def _known(attempt: Attempt, task: str, services: Services) -> Verdict:
    """The order's id is on record: its job looks at it now, or, ended without the picture, has it looked for."""
    if task != attempt.provider_job_id:
        return _not_ours(attempt)
    job = services.jobs.get(attempt.job_id)
    if job.terminal or job.attempt_id != attempt.id:
        return _collect(attempt, job, task, services)
    return _wake(job, services)


def _wake(job: Job, services: Services) -> Verdict:
    if job.status is not Status.GENERATING or job.stage is not Stage.POLL:
        return Verdict.LATE
    woken = services.jobs.wake(job.id, at=services.clock.now())
    if woken is None:
        return Verdict.LATE
    services.hints.jobs([woken])
    return Verdict.WOKEN


def _ours(attempt: Attempt, task: str, services: Services) -> bool:
    """Whether our account has this order, and no other attempt has it."""
    holder = services.jobs.ordered(attempt.provider, task)
    if holder is not None:
        return holder.id == attempt.id
    with services.breaker.call(attempt.provider, "poll") as report:
        try:
            services.provider(attempt.provider).poll(task)
        except Temporary as error:
            unheard_of = bool(error.details.get(UNKNOWN_ORDER))
            report(unheard_of)
            if unheard_of:
                return False
            raise
        report(True)
    return True


def _proof(attempt: Attempt, task: str, services: Services) -> Verdict:
    """The lost answer is found. Our own call's answer may still be on its way: whichever is written first wins."""
    job = services.jobs.get(attempt.job_id)
    if job.status is not Status.GENERATING or job.attempt_id != attempt.id:
        return _collect(attempt, job, task, services)
    accepted = services.jobs.apply(_accept(attempt, task, services))
    if accepted is not None:
        services.hints.jobs([accepted])
        return Verdict.ACCEPTED
    job = services.jobs.get(attempt.job_id)
    return Verdict.COLLECTING if job.terminal else _wake(job, services)


def _collect(attempt: Attempt, job: Job, task: str, services: Services) -> Verdict:
    """No job waits for this order any more. What may have been paid is looked for; the move itself finds nothing."""
    if attempt.state in {"succeeded", "failed"} or attempt.blob_sha256 is not None:
        return Verdict.LATE
    services.jobs.apply(_accept(attempt, task, services, collect=True))
    log.info("job %s is %s: the picture of attempt %s is looked for", job.id, job.status, attempt.id)
    return Verdict.COLLECTING


def _accept(attempt: Attempt, task: str, services: Services, *, collect: bool = False) -> Move:
    now = services.clock.now()
    return Move(
        job_id=attempt.job_id, name=MoveName.ACCEPT, at=now, cause="callback", worker=services.worker,
        stage=Stage.POLL, until=now, parked=True, waiting_for="provider",
        changes={"provider_job_id": task, "failures": 0},
        facts=Facts(attempt_id=attempt.id, state="accepted", provider_job_id=task, collect=collect),
    )  # fmt: skip
