"""Gemini's generateContent on the wire: what is sent, and what each answer is taken for."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import requests
import responses

from imagegen.errors import (
    AuthError,
    BadArtifact,
    ContentRefused,
    GenerationFailed,
    ImagegenError,
    InvalidRequest,
    SubmissionUnknown,
)
from imagegen.providers.base import Delivered, Failed, InputImage, NotSent, Rejected, Unknown
from imagegen.providers.gemini import Gemini
from tests.gemini_wire import DRAFT, KEY, PNG, THOUGHT_USAGE, USAGE, answered, candidate, gemini, order, path, picture


@pytest.fixture
def http() -> Iterator[responses.RequestsMock]:
    """Mocked answers; each must be used."""
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def provider() -> Gemini:
    """The provider under test."""
    return gemini()


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
    ("usage", "refused", "failed"),
    [
        (THOUGHT_USAGE, ("yes", Decimal("0.000764")), ("yes", Decimal("0.000764"))),
        ({"promptTokenCount": 9}, ("unknown", None), ("yes", Decimal("0.000014"))),
        (None, ("unknown", None), ("unknown", None)),
    ],
    ids=["thought", "prompt only", "no usage"],
)
def test_a_finish_reason_without_a_picture_is_told_with_its_cost(
    http: responses.RequestsMock,
    provider: Gemini,
    reason: str,
    kind: type[ImagegenError],
    usage: Any,
    refused: tuple[str, Decimal | None],
    failed: tuple[str, Decimal | None],
) -> None:
    """Policy, account and mere bad luck are told apart; a refusal costs what was thought before it."""
    answer = answered(http, provider, candidate({"text": "no"}, reason=reason, usage=usage))
    assert isinstance(answer, Rejected)
    assert type(answer.error) is kind
    assert (answer.error.billed, answer.actual) == (failed if kind is GenerationFailed else refused)
    assert answer.usage == (usage or {})


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


def test_a_lost_answer_is_unknown_and_an_unsent_order_is_not(http: responses.RequestsMock, provider: Gemini) -> None:
    """The transport's proof decides."""
    assert isinstance(answered(http, provider, "", **{}), Unknown)
    http.reset()
    http.post(path(), body=requests.exceptions.ReadTimeout())
    assert isinstance(provider.submit(order(), callback_url=None), Unknown)
    http.reset()
    http.post(path(), body=requests.exceptions.ConnectTimeout())
    assert isinstance(provider.submit(order(), callback_url=None), NotSent)


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
