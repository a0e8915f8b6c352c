"""Gemini's other statuses than 200: which are refusals, how long to wait, and which leave the outcome open."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import responses

from imagegen.errors import (
    AuthError,
    ImagegenError,
    InsufficientCredit,
    InvalidRequest,
    QuotaExhausted,
    RateLimited,
    Temporary,
)
from imagegen.providers.base import Rejected, Unknown
from imagegen.providers.gemini import Gemini, until_midnight
from tests.gemini_wire import KEY, answered, gemini, refusal

UNTIL_MIDNIGHT = 20 * 3600.0
BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}


@pytest.fixture
def http() -> Iterator[responses.RequestsMock]:
    """Mocked answers; each must be used."""
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def provider() -> Gemini:
    """The provider under test."""
    return gemini()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (refusal(400, "INVALID_ARGUMENT"), InvalidRequest),
        (refusal(400, "INVALID_ARGUMENT", "API key not valid", BAD_KEY), AuthError),
        (refusal(400, "FAILED_PRECONDITION", "User location is not supported"), AuthError),
        (refusal(400, "FAILED_PRECONDITION", "Please enable billing"), InsufficientCredit),
        (refusal(401, "UNAUTHENTICATED"), AuthError),
        (refusal(403, "PERMISSION_DENIED"), AuthError),
        (refusal(404, "NOT_FOUND"), InvalidRequest),
        (refusal(413, ""), InvalidRequest),
        (refusal(429, "RESOURCE_EXHAUSTED"), RateLimited),
        (refusal(503, "UNAVAILABLE", "The model is overloaded"), Temporary),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_documented_refusal_was_not_charged(
    http: responses.RequestsMock, provider: Gemini, body: dict[str, Any], kind: type[ImagegenError], wrapped: bool
) -> None:
    """Each status has its meaning, also where the body is a list of one."""
    answer = answered(http, provider, [body] if wrapped else body, status=body["error"]["code"])
    assert isinstance(answer, Rejected)
    assert type(answer.error) is kind
    assert (answer.error.billed, answer.actual) == ("no", None)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, refusal(500, "INTERNAL")),
        (502, "<html>"),
        (503, "<html>"),
        (504, refusal(504, "DEADLINE_EXCEEDED")),
        (499, refusal(499, "CANCELLED")),
        (408, ""),
        (302, ""),
    ],
)
def test_a_server_s_failure_may_have_been_billed(
    http: responses.RequestsMock, provider: Gemini, status: int, body: Any
) -> None:
    """Drawing may have happened before the failure: unknown, never repeated by itself."""
    assert isinstance(answered(http, provider, body, status=status), Unknown)
    assert len(http.calls) == 1


def test_a_dead_model_is_named(http: responses.RequestsMock, provider: Gemini) -> None:
    """404 tells which model is gone and what to do."""
    answer = answered(http, provider, refusal(404, "NOT_FOUND", "models/x is not found"), status=404)
    assert "gemini-nano-banana-2.1 may have ended: choose another model" in str(answer.error)


def limited(delay: str | None = None, quota: str = "GenerateRequestsPerMinutePerProject") -> dict[str, Any]:
    """A 429 body."""
    details: list[dict[str, Any]] = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota}]},
        {"@type": "type.googleapis.com/google.rpc.Help"},
    ]
    if delay is not None:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay})
    return refusal(429, "RESOURCE_EXHAUSTED", "quota", *details)


@pytest.mark.parametrize(
    ("delay", "header", "wait"),
    [
        ("34s", None, 34.0),
        ("600.5s", None, 600.5),
        ("34s", "60", 60.0),
        ("34s", "5", 34.0),
        (None, "5", 5.0),
        (None, None, None),
        ("soon", None, None),
    ],
)
def test_of_two_waits_the_longer_is_obeyed(
    http: responses.RequestsMock, provider: Gemini, delay: str | None, header: str | None, wait: float | None
) -> None:
    """`RetryInfo`, fractions included, against `Retry-After`."""
    headers = {"Retry-After": header} if header else {}
    answer = answered(http, provider, limited(delay), status=429, headers=headers)
    assert isinstance(answer, Rejected)
    assert type(answer.error) is RateLimited
    assert answer.error.retry_after == wait


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "Sat, 21 Nov 2026 12:01:30 GMT"}, 90.0),
        ({"retry-after-ms": "850"}, 12.5),
        ({"retry-after-ms": "15500"}, 15.5),
        ({"Retry-After": "inf"}, 12.5),
    ],
)
@pytest.mark.parametrize("status", [(429, "RESOURCE_EXHAUSTED"), (503, "UNAVAILABLE")])
def test_every_form_of_a_wait_is_obeyed(
    http: responses.RequestsMock, provider: Gemini, status: tuple[int, str], headers: dict[str, str], wait: float
) -> None:
    """A moment and milliseconds count beside the body's `RetryInfo`, of a limit as of an overloaded model."""
    told = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "12.5s"}
    answer = answered(http, provider, refusal(*status, "wait", told), status=status[0], headers=headers)
    assert isinstance(answer, Rejected)
    assert answer.error.retry_after == wait


@pytest.mark.parametrize("delay", ["34s", None])
def test_a_day_s_quota_waits_for_midnight_in_california(
    http: responses.RequestsMock, provider: Gemini, delay: str | None
) -> None:
    """A quota per day is not asked again after the 34 seconds the answer names."""
    body = limited(delay, "GenerateRequestsPerDayPerProjectPerModel-FreeTier")
    answer = answered(http, provider, body, status=429)
    assert isinstance(answer, Rejected)
    assert isinstance(answer.error, QuotaExhausted)
    assert answer.error.retry_after == UNTIL_MIDNIGHT


@pytest.mark.parametrize(
    ("now", "hours"),
    [
        (datetime(2026, 11, 21, 7, 59, tzinfo=UTC), 1 / 60),
        (datetime(2026, 11, 21, 8, 0, tzinfo=UTC), 24),
        (datetime(2026, 3, 8, 8, 0, tzinfo=UTC), 23),
        (datetime(2026, 11, 1, 7, 0, tzinfo=UTC), 25),
    ],
)
def test_midnight_knows_daylight_saving(now: datetime, hours: float) -> None:
    """The days of the change have 23 and 25 hours."""
    assert until_midnight(now) == pytest.approx(hours * 3600)


def test_a_refusal_never_tells_the_key(http: responses.RequestsMock, provider: Gemini) -> None:
    """A message that repeats our key does not bring it into our errors."""
    answer = answered(http, provider, refusal(400, "INVALID_ARGUMENT", f"bad key {KEY}"), status=400)
    assert KEY not in repr(answer)
