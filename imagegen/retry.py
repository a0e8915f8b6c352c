"""What to do after an error: again, and when; or give up. Pure: time and randomness are arguments.

not sent, or refused without a charge    again while the error may pass, at no paid attempt
charged, or possibly charged             again only while the job may pay once more
unknown                                  never again by itself
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from imagegen.errors import GenerationFailed, ImagegenError, QuotaExhausted, RateLimited, SubmissionUnknown
from imagegen.policies import BACKOFF_BASE, BACKOFF_CAP

GENERATION_REPEATS = 2
"""How often a picture that the provider failed to draw is asked for again: providers advise once or twice."""


@dataclass(frozen=True)
class Again:
    """Try again `after` this long. `reason` is the short code in a job's `waitingFor`."""

    after: timedelta
    reason: str


@dataclass(frozen=True)
class GiveUp:
    """It ends with its error."""


Decision = Again | GiveUp


def decide(
    error: ImagegenError,
    *,
    failures: int,
    paid_attempts: int,
    max_paid_attempts: int,
    now: datetime,
    deadline: datetime,
    seed: int,
) -> Decision:
    """`failures` before this one; `paid_attempts` which were or may have been charged, this one included."""
    if not error.retryable or isinstance(error, SubmissionUnknown):
        return GiveUp()
    if error.billed != "no" and paid_attempts >= max_paid_attempts:
        return GiveUp()
    if isinstance(error, GenerationFailed) and failures >= GENERATION_REPEATS:
        return GiveUp()
    after = backoff(failures, seed=seed, at_least=error.retry_after)
    if now + after >= deadline:
        return GiveUp()
    return Again(after, _reason(error))


def backoff(failures: int, *, seed: int, at_least: float | None = None) -> timedelta:
    """1 s doubled with every failure up to 60 s, of which a seeded half is jitter; or `at_least` seconds if longer."""
    whole = min(BACKOFF_CAP, BACKOFF_BASE * 2.0 ** min(failures, 30))
    waits = whole * random.Random(f"{seed}:{failures}").uniform(0.5, 1.0)
    return timedelta(seconds=max(waits, at_least or 0.0))


def _reason(error: ImagegenError) -> str:
    if "reason" in error.details:
        return str(error.details["reason"])
    if isinstance(error, RateLimited):
        return "rate_limit"
    return "quota" if isinstance(error, QuotaExhausted) else "backoff"
