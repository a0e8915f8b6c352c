"""Which other provider may draw a job whose own cannot: only where nothing was, or may have been, charged for it.

| error | goes elsewhere |
|---|---|
| AUTH_ERROR, INSUFFICIENT_CREDIT, QUOTA_EXHAUSTED | at once |
| TEMPORARY: circuit open, or no key here | at once |
| TEMPORARY, RATE_LIMIT: the provider asks for a wait longer than `PATIENCE` | at once |
| TEMPORARY: anything else, the request that never left us included | at the second failure in a row |
| everything else | never: another provider would meet the same |

A job whose request names a provider stays with it. The others are tried once each, in the configured order; after
the last the job waits for the one it is at, or ends, as it would without them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from imagegen import models
from imagegen.errors import ImagegenError, InvalidRequest, PartUnavailable
from imagegen.jobs import Job
from imagegen.models import Choice
from imagegen.planning import offer_fields
from imagegen.ports import Services
from imagegen.references import check_reachable

log = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds that a provider's own wish to wait is obeyed rather than going elsewhere."""

FAILURES = 2
"""Failures in a row after which a passing trouble counts as an outage."""

_AT_ONCE = frozenset({"AUTH_ERROR", "INSUFFICIENT_CREDIT", "QUOTA_EXHAUSTED"})
_OUTAGES = frozenset({"breaker", "provider"})
"""`details["reason"]` of a `Temporary` that says by itself that the provider cannot be asked."""


def elsewhere(job: Job, error: ImagegenError, services: Services) -> Mapping[str, Any] | None:
    """The changes that send a job which was not bought to the next provider; None: it stays where it is.

    `job` as it stood before this failure: `failures` does not count it yet.
    """
    if "provider" in job.request or job.billed != "no" or error.billed != "no" or not _leaves(error, job.failures):
        return None
    choice = next(_choices(job, services, sure=error.code in _AT_ONCE), None)
    if choice is None:
        return None
    log.warning("job %s goes from %s to %s: %s", job.id, job.provider, choice.provider, error)
    tried = job.tried if job.provider in job.tried else (*job.tried, job.provider)
    offered = offer_fields(
        choice, job.plan, sent_prompt=job.sent_prompt, width=job.width, height=job.height, format=job.format,
        seed=job.request.get("seed"), emulated=job.emulated,
    )  # fmt: skip
    return {**offered, "tried": list(tried), "failures": 0}


def _leaves(error: ImagegenError, failures: int) -> bool:
    if error.code in {"TEMPORARY", "RATE_LIMIT"} and (error.retry_after or 0.0) > PATIENCE:
        return True
    if error.code == "TEMPORARY":
        return error.details.get("reason") in _OUTAGES or failures + 1 >= FAILURES
    return error.code in _AT_ONCE


def _choices(job: Job, services: Services, *, sure: bool) -> Iterator[Choice]:
    """What each provider not tried yet would draw, those that are paused or whose circuit is open last, and only where
    the job's own provider will `sure`ly not serve: waiting for either of two is no gain."""
    others = [name for name in services.providers if name != job.provider and name not in job.tried]
    resting = [name for name in others if _rests(name, services)]
    for name in [*(name for name in others if name not in resting), *(resting if sure else ())]:
        choice = _choice(job, name, services)
        if choice is not None:
            yield choice


def _rests(provider: str, services: Services) -> bool:
    try:
        paused = any(pause.scope == f"provider:{provider}" for pause in services.pauses.list())
        return paused or services.breaker.state(provider, "submit") == "open"
    except PartUnavailable:
        # Nobody knows; what the call just made came to is to be written down all the same.
        return False


def _choice(job: Job, provider: str, services: Services) -> Choice | None:
    """The same model where it is sold; another one only where the request named none."""
    for model in (job.model, None) if "model" not in job.request else (job.model,):
        try:
            return _serving(job, provider, model, services)
        except InvalidRequest as refusal:
            log.info("job %s cannot go to %s: %s", job.id, provider, refusal)
    return None


def _serving(job: Job, provider: str, model: str | None, services: Services) -> Choice:
    """Raises `InvalidRequest` where the provider cannot draw this job as it is."""
    plan = job.plan
    sent = [plan[name] for name in ("source", "mask") if plan.get(name)] + list(plan.get("references", ()))
    choice = models.select(
        services.catalog, request_model=model, request_provider=provider, job_type=job.job_type, width=job.width,
        height=job.height, references=len(sent), providers=[provider], today=services.clock.now().date(),
        published=job.format, prompt_length=len(job.sent_prompt),
    )  # fmt: skip
    if len(job.sent_prompt) > choice.max_prompt:
        raise InvalidRequest.of("prompt", f"is too long for {choice.model} there", "Shorten it.")
    check_reachable(sent, services, services.providers[provider])
    return choice
