"""A provider's callback: a hint to look at a job now, and the proof of an answer that never reached us.

Who calls proves by the attempt's own token that it knows of that order. What it says proves nothing: an order id that
we do not have yet is believed only after the provider has confirmed it to our key.
"""

from __future__ import annotations

import hmac
import json
import logging
from enum import StrEnum
from uuid import UUID

from imagegen.errors import Temporary
from imagegen.jobs import Job
from imagegen.ports import Services
from imagegen.providers.base import UNKNOWN_ORDER, Provider
from imagegen.records import Attempt, Facts, Move
from imagegen.states import MoveName, Stage, Status

log = logging.getLogger(__name__)

ROUTES = {"nanobanana": "nano-banana"}
"""What a provider is called in the addresses of our HTTP door, where that is not its id."""
_NOBODY = "0" * 32
"""Compared with where there is no attempt, so that both answers take the same work."""


class Verdict(StrEnum):
    """What a callback came to."""

    WOKEN = "woken"
    ACCEPTED = "accepted"
    COLLECTING = "collecting"
    KNOWN = "known"
    FORGED = "forged"
    UNREADABLE = "unreadable"


def address(base: str, provider: str, attempt_id: UUID, token: str) -> str:
    """Where a provider reports on one attempt; nobody else knows it."""
    return f"{base}/api/webhooks/{ROUTES.get(provider, provider)}?attempt={attempt_id}&token={token}"


def provider_of(route: str) -> str:
    """The provider id behind a name in an address; a name that no provider has stays as it is."""
    by_route = {name: provider for provider, name in ROUTES.items()}
    return "" if route in ROUTES else by_route.get(route, route)


def receive(provider: str, attempt_id: UUID, token: str, body: bytes, services: Services) -> Verdict:
    """Takes one callback; as often as it comes, early, late or never, it ends in the same picture and charge.

    Raises `PartUnavailable` where our own parts are away, and `Temporary`, `RateLimited` or `AuthError` where the
    provider could not be asked: the caller shall try again.
    """
    attempt = services.jobs.attempt(attempt_id)
    proven = hmac.compare_digest((attempt.token if attempt else _NOBODY).encode(), token.encode("utf-8", "replace"))
    if attempt is None or not proven or attempt.provider != provider:
        return Verdict.FORGED
    task = _task(services.provider(provider), body)
    if task is None:
        return Verdict.UNREADABLE
    if attempt.provider_job_id is not None:
        return _known(attempt, task, services)
    if not _ours(attempt, task, services):
        log.warning("job %s: a callback names an order that is not of attempt %s", attempt.job_id, attempt.id)
        return Verdict.FORGED
    return _proof(attempt, task, services)


def _task(provider: Provider, body: bytes) -> str | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return provider.callback_task(document)


def _known(attempt: Attempt, task: str, services: Services) -> Verdict:
    """The order's id is on record: its job looks at it now, or, ended without the picture, has it looked for."""
    if task != attempt.provider_job_id:
        return Verdict.KNOWN
    job = services.jobs.get(attempt.job_id)
    if job.terminal or job.attempt_id != attempt.id:
        return _collect(attempt, job, task, services)
    return _wake(job, services)


def _wake(job: Job, services: Services) -> Verdict:
    if job.status is not Status.GENERATING or job.stage is not Stage.POLL:
        return Verdict.KNOWN
    woken = services.jobs.wake(job.id, at=services.clock.now())
    if woken is None:
        return Verdict.KNOWN
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
        return Verdict.KNOWN
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
