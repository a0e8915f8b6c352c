"""Gemini's generateContent on the wire: what is sent, and what each answer is taken for."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import requests
import responses

from imagegen.catalog import load
from imagegen.errors import (
    AuthError,
    BadArtifact,
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
from imagegen.providers.base import Delivered, Failed, InputImage, NotSent, Order, Rejected, Unknown
from imagegen.providers.gemini import Gemini, until_midnight
from imagegen.testing.memory import ManualClock
from imagegen.transport import Transport

HOST = "https://generativelanguage.googleapis.com"
KEY = "AIza-secret"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
UNTIL_MIDNIGHT = 20 * 3600.0
PNG, DRAFT = b"\x89PNG the picture", b"\x89PNG a draft"
USAGE = {
    "promptTokenCount": 9,
    "candidatesTokenCount": 1120,
    "thoughtsTokenCount": 200,
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
}
THOUGHT_USAGE = {"promptTokenCount": 9, "thoughtsTokenCount": 100}
CATALOG = load()


@pytest.fixture
def http() -> Iterator[responses.RequestsMock]:
    """Mocked answers; each must be used."""
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def provider() -> Gemini:
    """The provider at a known time, with a key that must never be told."""
    return Gemini(transport=Transport(), catalog=CATALOG, clock=ManualClock(NOW), url=HOST, key=lambda: KEY)


def order(**wanted: Any) -> Order:
    """An everyday order."""
    usual: dict[str, Any] = {
        "prompt": "a fox",
        "model": "nano-banana-2.1",
        "ratio": "16:9",
        "tier": "2K",
        "format": "jpeg",
    }
    return Order(**{**usual, **wanted})


def path(model: str = "gemini-nano-banana-2.1") -> str:
    """Where a model is asked."""
    return f"{HOST}/v1beta/models/{model}:generateContent"


def picture(data: bytes = PNG, **more: Any) -> dict[str, Any]:
    """A part with a picture."""
    return {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(data).decode()}, **more}


def candidate(*parts: dict[str, Any], reason: str = "STOP", usage: Any = USAGE) -> dict[str, Any]:
    """An HTTP 200 body with one candidate."""
    body: dict[str, Any] = {
        "candidates": [{"content": {"role": "model", "parts": list(parts)}, "finishReason": reason}]
    }
    return body if usage is None else {**body, "usageMetadata": usage}


def answered(http: responses.RequestsMock, provider: Gemini, body: Any, **options: Any) -> Any:
    """What one order comes to when the API answers so."""
    http.post(path(), **({"json": body} if not isinstance(body, str) else {"body": body}), **options)
    return provider.submit(order(), callback_url=None)


def test_the_request_is_exact(http: responses.RequestsMock, provider: Gemini) -> None:
    """Only what the Developer API takes: ratio, size, seed, least thinking, pictures alone as output."""
    http.post(path(), json=candidate(picture()))
    provider.submit(order(seed=7), callback_url="https://me.example/unused")
    assert json.loads(http.calls[0].request.body or "") == {
        "contents": [{"role": "user", "parts": [{"text": "a fox"}]}],
        "generationConfig": {
            "responseModalities": ["IMAGE"],
            "imageConfig": {"aspectRatio": "16:9", "imageSize": "2K"},
            "seed": 7,
            "thinkingConfig": {"thinkingLevel": "minimal"},
        },
    }
    assert http.calls[0].request.headers["x-goog-api-key"] == KEY
    assert "key=" not in (http.calls[0].request.url or "")


@pytest.mark.parametrize(
    ("model", "own", "config"),
    [
        ("nano-banana-pro", "gemini-3-pro-image", {"imageConfig": {"aspectRatio": "16:9", "imageSize": "2K"}}),
        ("nano-banana-2-lite", "gemini-3.1-flash-lite-image", {"imageConfig": {"aspectRatio": "16:9"}}),
    ],
)
def test_a_model_is_sent_only_what_it_takes(
    http: responses.RequestsMock, provider: Gemini, model: str, own: str, config: dict[str, Any]
) -> None:
    """No size for a model of one size, no thinking level for one that always or never thinks."""
    http.post(path(own), json=candidate(picture()))
    provider.submit(order(model=model), callback_url=None)
    body = json.loads(http.calls[0].request.body or "")
    assert body["generationConfig"] == {"responseModalities": ["IMAGE"], **config}


def test_pictures_are_sent_as_bytes_in_order(http: responses.RequestsMock, provider: Gemini) -> None:
    """Text first, then source, mask and references, each with its own type."""
    http.post(path(), json=candidate(picture()))
    images = [InputImage(content_type=f"image/{name}", data=name.encode()) for name in ("png", "webp", "jpeg")]
    provider.submit(order(source=images[0], mask=images[1], references=(images[2],)), callback_url=None)
    parts = json.loads(http.calls[0].request.body or "")["contents"][0]["parts"]
    assert parts[0] == {"text": "a fox"}
    assert [part["inlineData"]["mimeType"] for part in parts[1:]] == ["image/png", "image/webp", "image/jpeg"]
    assert [base64.b64decode(part["inlineData"]["data"]) for part in parts[1:]] == [b"png", b"webp", b"jpeg"]


def test_a_picture_is_delivered_with_its_price(http: responses.RequestsMock, provider: Gemini) -> None:
    """Bytes, usage and the price of exactly that usage; the bytes stay out of every representation."""
    delivered = answered(http, provider, candidate({"text": "Here."}, picture()))
    assert delivered == Delivered(data=PNG, usage=USAGE, actual=Decimal("0.035114"))
    assert "PNG" not in repr(delivered)


@pytest.mark.parametrize(
    "parts",
    [
        [picture(DRAFT, thought=True), picture()],
        [picture(), picture(DRAFT, thought=True)],
        [picture(DRAFT), {"text": "better:"}, picture()],
        [picture(DRAFT, thought=True), {"text": "x", "thought": True}, picture(thoughtSignature="s"), {"text": "y"}],
    ],
)
def test_the_last_picture_that_is_no_draft_counts(
    http: responses.RequestsMock, provider: Gemini, parts: list[dict[str, Any]]
) -> None:
    """Thinking models put drafts into thought parts; those are not what was bought."""
    assert answered(http, provider, candidate(*parts)).data == PNG


def test_a_picture_with_an_odd_reason_is_used(http: responses.RequestsMock, provider: Gemini) -> None:
    """What was paid for and came is kept, whatever the finish reason says."""
    assert answered(http, provider, candidate(picture(), reason="MAX_TOKENS")).data == PNG


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("IMAGE_SAFETY", ContentRefused),
        ("SAFETY", ContentRefused),
        ("IMAGE_PROHIBITED_CONTENT", ContentRefused),
        ("PROHIBITED_CONTENT", ContentRefused),
        ("BLOCKLIST", ContentRefused),
        ("SPII", ContentRefused),
        ("LANGUAGE", ContentRefused),
        ("ESCALATION", ContentRefused),
        ("IMAGE_RECITATION", ContentRefused),
        ("RECITATION", ContentRefused),
        ("PUP_LIMITED_DISABLED", AuthError),
        ("NO_IMAGE", GenerationFailed),
        ("IMAGE_OTHER", GenerationFailed),
        ("OTHER", GenerationFailed),
        ("MALFORMED_RESPONSE", GenerationFailed),
        ("MAX_TOKENS", GenerationFailed),
        ("STOP", GenerationFailed),
        ("SOMETHING_NEW", GenerationFailed),
    ],
)
@pytest.mark.parametrize(
    ("usage", "billed", "actual"),
    [
        (THOUGHT_USAGE, "yes", Decimal("0.000764")),
        ({"promptTokenCount": 9}, "unknown", None),
        (None, "unknown", None),
    ],
    ids=["thought", "prompt only", "no usage"],
)
def test_a_finish_reason_without_a_picture_is_told_with_its_cost(
    http: responses.RequestsMock,
    provider: Gemini,
    reason: str,
    kind: type[ImagegenError],
    usage: Any,
    billed: str,
    actual: Decimal | None,
) -> None:
    """Policy, account and mere bad luck are told apart; what was thought before is charged."""
    answer = answered(http, provider, candidate({"text": "no"}, reason=reason, usage=usage))
    assert isinstance(answer, Rejected)
    assert type(answer.error) is kind
    assert (answer.error.billed, answer.actual, answer.usage) == (billed, actual, usage or {})


@pytest.mark.parametrize("reason", ["SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY"])
@pytest.mark.parametrize(("usage", "billed"), [({}, "no"), ({"usageMetadata": {"promptTokenCount": 9}}, "unknown")])
def test_a_blocked_prompt_has_no_candidates(
    http: responses.RequestsMock, provider: Gemini, reason: str, usage: dict[str, Any], billed: str
) -> None:
    """`promptFeedback` alone is a refusal; without any count it cost nothing."""
    answer = answered(http, provider, {"promptFeedback": {"blockReason": reason}, **usage})
    assert isinstance(answer, Rejected)
    assert isinstance(answer.error, ContentRefused)
    assert answer.error.billed == billed


@pytest.mark.parametrize(
    "content", [{}, {"content": {}}, {"content": {"parts": None}}, {"content": {"parts": []}}, {"content": None}]
)
def test_missing_parts_are_no_crash(http: responses.RequestsMock, provider: Gemini, content: dict[str, Any]) -> None:
    """A blocked output has no parts, in any of the ways in which something may be missing."""
    answer = answered(http, provider, {"candidates": [{**content, "finishReason": "IMAGE_SAFETY"}]})
    assert isinstance(answer, Rejected)
    assert isinstance(answer.error, ContentRefused)


@pytest.mark.parametrize(
    "body", ["", "<html>", "[]", "{}", '{"candidates":[]}', '{"candidates":[7]}', '{"candidates":[{"con', '"text"']
)
def test_a_200_that_says_nothing_is_unknown(http: responses.RequestsMock, provider: Gemini, body: str) -> None:
    """Neither a picture nor a reason: it may have been drawn and billed."""
    answer = answered(http, provider, body)
    assert isinstance(answer, Unknown)
    assert isinstance(answer.error, SubmissionUnknown)


def test_broken_base64_is_a_bad_artifact(http: responses.RequestsMock, provider: Gemini) -> None:
    """The picture came, was charged, and cannot be read."""
    part = {"inlineData": {"mimeType": "image/png", "data": "not*base64"}}
    answer = answered(http, provider, candidate(part))
    assert isinstance(answer, Rejected)
    assert isinstance(answer.error, BadArtifact)
    assert (answer.error.billed, answer.actual) == ("yes", Decimal("0.035114"))


def refusal(code: int, status: str, message: str = "no", *details: dict[str, Any]) -> dict[str, Any]:
    """Google's error envelope."""
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}


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


def test_a_lost_answer_is_unknown_and_an_unsent_order_is_not(http: responses.RequestsMock, provider: Gemini) -> None:
    """The transport's proof decides."""
    assert isinstance(answered(http, provider, "", **{}), Unknown)
    http.reset()
    http.post(path(), body=requests.exceptions.ReadTimeout())
    assert isinstance(provider.submit(order(), callback_url=None), Unknown)
    http.reset()
    http.post(path(), body=requests.exceptions.ConnectTimeout())
    assert isinstance(provider.submit(order(), callback_url=None), NotSent)


def test_a_refusal_never_tells_the_key(http: responses.RequestsMock, provider: Gemini) -> None:
    """A message that repeats our key does not bring it into our errors."""
    answer = answered(http, provider, refusal(400, "INVALID_ARGUMENT", f"bad key {KEY}"), status=400)
    assert KEY not in repr(answer)


@pytest.mark.parametrize(
    "wanted",
    [{"model": "nothing"}, {"references": (InputImage(content_type="image/png", url="https://x/y"),)}],
    ids=["a model not sold here", "a URL where bytes are needed"],
)
def test_an_impossible_order_is_not_sent(provider: Gemini, wanted: dict[str, Any]) -> None:
    """What cannot be ordered is refused without a call."""
    answer = provider.submit(order(**wanted), callback_url=None)
    assert isinstance(answer, Rejected)
    assert isinstance(answer.error, InvalidRequest)


def test_there_is_nothing_to_poll(provider: Gemini) -> None:
    """A synchronous answer that was lost cannot be asked for, and no balance is told."""
    failed = provider.poll("anything")
    assert isinstance(failed, Failed)
    assert failed.error.code == "SUBMISSION_UNKNOWN"
    assert provider.credit() is None
    assert (provider.synchronous, provider.takes_bytes, provider.reconcile_window) == (True, True, 0.0)
