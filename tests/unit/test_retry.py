"""Again or give up: never a second paid call by itself, never beyond the deadline."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen import errors
from imagegen.errors import (
    AuthError,
    ContentRefused,
    GenerationFailed,
    ImagegenError,
    InsufficientCredit,
    InvalidRequest,
    QuotaExhausted,
    RateLimited,
    SubmissionUnknown,
    Temporary,
)
from imagegen.retry import Again, Decision, GiveUp, backoff, decide

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def decided(error: ImagegenError, **wanted: Any) -> Decision:
    """`decide` with everyday values for what a test does not care about."""
    usual: dict[str, Any] = {
        "failures": 0,
        "paid_attempts": 0,
        "max_paid_attempts": 1,
        "now": NOW,
        "deadline": NOW + timedelta(hours=1),
        "seed": 7,
    }
    return decide(error, **{**usual, **wanted})


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Temporary("x"), "backoff"),
        (Temporary("x", {"reason": "breaker", "retryAfter": 3}), "breaker"),
        (RateLimited("x"), "rate_limit"),
        (QuotaExhausted("x"), "quota"),
        (GenerationFailed("x"), "backoff"),
    ],
)
def test_a_passing_refusal_is_repeated_and_says_why(error: ImagegenError, reason: str) -> None:
    """What was refused for free is tried again, at no paid attempt, with the reason people see."""
    decision = decided(error, paid_attempts=1)
    assert isinstance(decision, Again)
    assert decision.reason == reason


@pytest.mark.parametrize("kind", [AuthError, InsufficientCredit, InvalidRequest, ContentRefused, SubmissionUnknown])
def test_what_will_not_pass_is_given_up(kind: type[ImagegenError]) -> None:
    """A wrong key, an empty account, a refused prompt and an unknown outcome are not tried again."""
    assert decided(kind("x"), max_paid_attempts=5) == GiveUp()


def test_an_unknown_outcome_is_never_repeated() -> None:
    """Not even where its details claim that it may be."""
    assert decided(SubmissionUnknown("x", {"retryable": True, "billed": "no"}), max_paid_attempts=9) == GiveUp()


@pytest.mark.parametrize("billed", ["yes", "unknown"])
def test_what_may_have_cost_is_repeated_only_within_the_allowance(billed: str) -> None:
    """A charged failure needs a further paid attempt."""
    error = GenerationFailed("x", {"billed": billed})
    assert decided(error, paid_attempts=1, max_paid_attempts=1) == GiveUp()
    assert isinstance(decided(error, paid_attempts=1, max_paid_attempts=2), Again)


def test_a_drawing_that_keeps_failing_is_given_up() -> None:
    """Two repeats, as the providers advise."""
    assert isinstance(decided(GenerationFailed("x"), failures=1), Again)
    assert decided(GenerationFailed("x"), failures=2) == GiveUp()


def test_the_longer_wait_wins() -> None:
    """`retryAfter` is obeyed, and does not shorten a longer backoff."""
    assert decided(RateLimited("x", {"retryAfter": 34.5})) == Again(timedelta(seconds=34.5), "rate_limit")
    waited = decided(RateLimited("x", {"retryAfter": 1}), failures=10)
    assert isinstance(waited, Again)
    assert waited.after >= timedelta(seconds=30)


def test_nothing_waits_beyond_the_deadline() -> None:
    """A wait that would end after the job's deadline ends the job instead."""
    deadline = NOW + timedelta(seconds=60)
    assert decided(QuotaExhausted("x", {"retryAfter": 60}), deadline=deadline) == GiveUp()
    assert isinstance(decided(QuotaExhausted("x", {"retryAfter": 59}), deadline=deadline), Again)


@given(st.integers(0, 10_000), st.integers(0, 2**128))
def test_backoff_grows_to_its_cap_and_is_repeatable(failures: int, seed: int) -> None:
    """1 s doubled up to 60 s, between half and the whole of it, the same for the same seed."""
    whole = min(60.0, 2.0 ** min(failures, 30))
    waits = backoff(failures, seed=seed)
    assert whole / 2 - 1e-5 <= waits.total_seconds() <= whole + 1e-5
    assert waits == backoff(failures, seed=seed)


def test_jitter_spreads_a_herd() -> None:
    """Jobs that failed together do not come back together."""
    assert len({backoff(3, seed=seed) for seed in range(50)}) > 45


@pytest.mark.parametrize("error", [kind("x") for kind in errors.BY_CODE.values()], ids=list(errors.BY_CODE))
def test_every_error_has_a_decision(error: ImagegenError) -> None:
    """No error of the tree is repeated unless it says that it may pass."""
    decision = decided(error)
    assert error.retryable or decision == GiveUp()
