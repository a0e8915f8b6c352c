"""The Gemini API as the emulator speaks it, without a socket: refusals, parts, usage and its price, faults."""

from __future__ import annotations

import base64
import io
import json
from decimal import Decimal
from typing import Any

import pytest
from PIL import Image

from imagegen.emulator.callbacks import CallbackSender
from imagegen.emulator.ledger import Ledger
from imagegen.emulator.outbound import Outbound
from imagegen.emulator.wire import Reply, Request
from imagegen.emulator.world import World, furnish

MODEL = "gemini-nano-banana-2.1"


def world(**settings: Any) -> World:
    """A world that never posts: no Gemini call has a webhook."""
    ledger, outbound = Ledger(), Outbound()
    return furnish(ledger, outbound, CallbackSender(outbound, ledger), plain=True, **settings)


def body(prompt: str = "a red fox", *parts: dict[str, Any], **config: Any) -> dict[str, Any]:
    """A request with one user turn."""
    return {"contents": [{"role": "user", "parts": [{"text": prompt}, *parts]}], "generationConfig": config}


def call(place: World, sent: Any, model: str = MODEL, key: str = "k") -> Reply:
    """`generateContent`."""
    raw = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    headers = {"x-goog-api-key": key} if key else {}
    return place.handle(Request.of("POST", f"/v1beta/models/{model}:generateContent", headers, raw, "127.0.0.1:1"))


def told(reply: Reply) -> dict[str, Any]:
    """The answer's JSON."""
    return dict(json.loads(reply.content()))


def inline(data: bytes, mime: str = "image/png") -> dict[str, Any]:
    """An inline picture part."""
    return {"inlineData": {"mimeType": mime, "data": base64.b64encode(data).decode()}}


def picture_bytes(size: tuple[int, int] = (64, 48), format: str = "PNG") -> bytes:
    """A small real picture."""
    out = io.BytesIO()
    Image.new("RGB", size, "teal").save(out, format)
    return out.getvalue()


def pictures(document: dict[str, Any], *, thoughts: bool = False) -> list[Image.Image]:
    """The pictures of the first candidate, drafts or not."""
    parts = document["candidates"][0]["content"]["parts"]
    chosen = [part for part in parts if "inlineData" in part and bool(part.get("thought")) == thoughts]
    return [Image.open(io.BytesIO(base64.b64decode(part["inlineData"]["data"]))) for part in chosen]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"imageConfig": {"imageSize": "1k"}}, "image_size"),
        ({"imageConfig": {"imageSize": "512"}}, "image_size"),
        ({"imageConfig": {"aspectRatio": "16/9"}}, "aspect_ratio"),
        ({"imageConfig": {"outputMimeType": "image/jpeg"}}, 'Unknown name "outputMimeType"'),
        ({"image_config": {"person_generation": "x"}}, "at 'generation_config.image_config'"),
        ({"imageOptions": {}}, 'Unknown name "imageOptions"'),
        ({"responseModalities": ["TEXT"]}, "modalities"),
        ({"responseMimeType": "application/json"}, "JSON mode"),
        ({"candidateCount": 2}, "candidates"),
        ({"seed": 2**31}, "seed"),
        ({"thinkingConfig": {"thinkingLevel": "huge"}}, "thinking_level"),
    ],
)
def test_a_wrong_setting_is_an_invalid_argument(config: dict[str, Any], words: str) -> None:
    """The Developer API's own refusal, 400 INVALID_ARGUMENT, and no charge."""
    place = world()
    reply = call(place, body(**config))
    error = told(reply)["error"]
    assert (reply.status, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert words in error["message"]
    assert place.bench.ledger.document()["count"] == 0


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (inline(b"no picture"), "Unable to process input image"),
        (inline(picture_bytes()[:60]), "Unable to process input image"),
        (inline(picture_bytes(), "image/tiff"), "Unsupported MIME type"),
        ({"inlineData": {"mimeType": "image/png", "data": "!!"}}, "Base64 decoding failed"),
        ({"picture": {}}, 'Unknown name "picture"'),
    ],
)
def test_a_part_that_cannot_be_read_is_refused(part: dict[str, Any], words: str) -> None:
    """Inline data must be base64 of a whole picture of an accepted type."""
    reply = call(world(), body("edit", part))
    assert reply.status == 400
    assert words in told(reply)["error"]["message"]


@pytest.mark.parametrize("sent", [b"{", b"[]", b"{}", {"contents": []}, {"contents": [{"role": "x", "parts": []}]}])
def test_a_body_that_is_no_request_is_refused(sent: Any) -> None:
    """Broken JSON, no contents, and unknown roles answer 400."""
    assert call(world(), sent).status == 400


def test_too_many_pictures_are_refused() -> None:
    """Fifteen references are one more than the model takes."""
    reply = call(world(), body("x", *[inline(picture_bytes())] * 15))
    assert "14" in told(reply)["error"]["message"]


def test_a_file_of_nobody_is_denied() -> None:
    """fileData of a file that was never uploaded answers 403 PERMISSION_DENIED."""
    reply = call(world(), body("x", {"fileData": {"mimeType": "image/png", "fileUri": "https://x/v1beta/files/abc"}}))
    assert (reply.status, told(reply)["error"]["status"]) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("gemini-2.5-flash-image", "no longer available"),
        ("gemini-3.1-flash-image-preview", "no longer"),
        ("x", "not found"),
    ],
)
def test_dead_and_unknown_models_are_not_found(model: str, words: str) -> None:
    """A model id that ended, or never was, answers 404 NOT_FOUND."""
    reply = call(world(), body(), model)
    assert (reply.status, told(reply)["error"]["status"]) == (404, "NOT_FOUND")
    assert words in told(reply)["error"]["message"]


def test_keys_are_checked_as_google_checks_them() -> None:
    """No key is 403 PERMISSION_DENIED, another key 400 API_KEY_INVALID, and the right one is let in."""
    place = world(key="right")
    assert call(place, body(), key="").status == 403
    wrong = call(place, body(), key="wrong")
    assert (wrong.status, told(wrong)["error"]["details"][0]["reason"]) == (400, "API_KEY_INVALID")
    assert call(place, body(), key="right").status == 200


@pytest.mark.parametrize(
    ("model", "config", "usage", "amount", "size"),
    [
        (MODEL, {"imageConfig": {"aspectRatio": "16:9", "imageSize": "2K"}}, (1680, 200), "0.051906", (2752, 1536)),
        (MODEL, {"thinkingConfig": {"thinkingLevel": "minimal"}}, (1120, 0), "0.033606", (1024, 1024)),
        ("gemini-3-pro-image", {"imageConfig": {"imageSize": "4K"}}, (2000, 600), "0.247208", (4096, 4096)),
        ("gemini-3.1-flash-lite-image", {"imageConfig": {"aspectRatio": "8:1"}}, (1120, 0), "0.033601", (3072, 384)),
    ],
)
def test_the_charge_is_what_the_usage_costs(
    model: str, config: dict[str, Any], usage: tuple[int, int], amount: str, size: tuple[int, int]
) -> None:
    """Picture, thinking and prompt tokens times their prices is the charge, exactly; the pixels are the table's."""
    place = world()
    document = told(call(place, body("a red fox", responseModalities=["IMAGE"], **config), model))
    counted = document["usageMetadata"]
    assert counted["promptTokenCount"] == 4
    assert (counted["candidatesTokenCount"], counted.get("thoughtsTokenCount", 0)) == usage
    charge = place.bench.ledger.document()["charges"][0]
    assert (Decimal(charge["amount"]), charge["id"]) == (Decimal(amount), document["responseId"])
    picture = pictures(document)[0]
    assert (picture.size, picture.format) == (size, "PNG")


def test_text_comes_beside_the_picture_unless_suppressed() -> None:
    """The default modalities give text and picture and bill the text; IMAGE alone gives the picture."""
    place = world()
    both = told(call(place, body()))
    parts = both["candidates"][0]["content"]["parts"]
    assert ["text" in part for part in parts] == [True, False]
    spoken = {row["modality"]: row["tokenCount"] for row in both["usageMetadata"]["candidatesTokensDetails"]}
    assert spoken["TEXT"] > 0
    alone = told(call(place, body(responseModalities=["IMAGE"])))
    assert [list(part) for part in alone["candidates"][0]["content"]["parts"]] == [["inlineData", "thoughtSignature"]]


def test_thoughts_are_shown_when_asked_for() -> None:
    """includeThoughts adds a thought in words and a small draft picture before the real one."""
    document = told(call(world(), body(thinkingConfig={"includeThoughts": True})))
    assert pictures(document, thoughts=True)[0].size == (256, 256)
    assert pictures(document)[0].size == (1024, 1024)


def test_a_reference_gives_its_shape_and_is_counted() -> None:
    """Without a ratio the picture takes the reference's; its tokens are part of the prompt's."""
    document = told(call(world(), body("edit", inline(picture_bytes((1600, 900), "JPEG"), "image/jpeg"))))
    assert pictures(document)[0].size == (1376, 768)
    assert document["usageMetadata"]["promptTokenCount"] == 564


def test_snake_case_is_understood_too() -> None:
    """Proto JSON takes generation_config as well as generationConfig."""
    sent = {"contents": [{"parts": [{"text": "x"}]}], "generation_config": {"image_config": {"aspect_ratio": "21:9"}}}
    assert pictures(told(call(world(), sent)))[0].size == (1584, 672)


def test_the_answer_is_held_for_the_latency() -> None:
    """Gemini is synchronous: the latency is how long the answer is kept back."""
    assert call(world(latency=8), body()).hold == 8


def test_models_are_listed() -> None:
    """GET models names the living models; one of them can be read alone; a bad key is refused."""
    place = world(key="k")

    def get(target: str, key: str = "k") -> Reply:
        return place.handle(
            Request.of("GET", target, {}, b"", "127.0.0.1:1")
            if not key
            else Request.of("GET", f"{target}?key={key}", {}, b"", "127.0.0.1:1")
        )

    names = [model["name"] for model in told(get("/v1beta/models"))["models"]]
    assert f"models/{MODEL}" in names
    assert told(get(f"/v1/models/{MODEL}"))["name"] == f"models/{MODEL}"
    assert get("/v1beta/models", key="").status == 403
    assert get("/v1beta/models/nobody").status == 404


def struck(fault: str, **params: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The answer to a call that meets a fault, and the charges."""
    place = world(faults=[{"fault": fault, "match": {"provider": "gemini"}, **params}])
    document = told(call(place, body(thinkingConfig={"thinkingLevel": "medium"})))
    return document, place.bench.ledger.document()["charges"]


def test_a_refusal_is_http_200_and_free_unless_scripted() -> None:
    """finishReason without parts, or blockReason without candidates; charged bills prompt and thinking."""
    document, charges = struck("refusal")
    assert document["candidates"][0]["finishReason"] == "IMAGE_SAFETY"
    assert "parts" not in document["candidates"][0]["content"]
    assert charges == []
    document, charges = struck("refusal", blocked=True, reason="PROHIBITED_CONTENT", charged=True)
    assert "candidates" not in document
    assert document["promptFeedback"]["blockReason"] == "PROHIBITED_CONTENT"
    assert [charge["amount"] for charge in charges] == ["0.001506"]


@pytest.mark.parametrize(
    ("fault", "has"),
    [("thought_only", "thoughts"), ("no_image", "text"), ("missing_parts", "none"), ("no_candidates", "nothing")],
)
def test_an_answer_without_a_picture_is_charged_for_its_tokens(fault: str, has: str) -> None:
    """Each kind of answer without a usable picture has its shape, and costs what its usage says."""
    document, charges = struck(fault)
    assert len(charges) == 1
    if has == "nothing":
        assert "candidates" not in document
        return
    content = document["candidates"][0]["content"]
    assert ("parts" in content) == (has != "none")
    if has == "thoughts":
        assert all(part["thought"] for part in content["parts"])
    if has == "text":
        assert document["candidates"][0]["finishReason"] == "NO_IMAGE"


@pytest.mark.parametrize("fault", ["html_file", "truncated_file", "wrong_file"])
def test_inline_data_can_be_no_whole_picture(fault: str) -> None:
    """The inline bytes are spoilt while the answer says image/png and is charged."""
    document, charges = struck(fault)
    part = document["candidates"][0]["content"]["parts"][-1]["inlineData"]
    assert (part["mimeType"], len(charges)) == ("image/png", 1)
    with pytest.raises(OSError), Image.open(io.BytesIO(base64.b64decode(part["data"]))) as picture:  # noqa: PT011
        picture.load()


def test_a_limit_names_its_wait_and_its_quota() -> None:
    """429 carries RetryInfo with the scripted delay, and a PerDay quota where asked for."""
    place = world(faults=[{"fault": "rate_limit", "retry_delay": "600.5s", "per_day": True, "retry_after": 7}])
    reply = call(place, body())
    quota, _, info = told(reply)["error"]["details"]
    assert (reply.status, reply.headers["Retry-After"], info["retryDelay"]) == (429, "7", "600.5s")
    assert "PerDay" in quota["violations"][0]["quotaId"]


@pytest.mark.parametrize(
    ("fault", "params", "status", "word"),
    [
        ("bad_key", {}, 400, "INVALID_ARGUMENT"),
        ("bad_key", {"http_status": 403}, 403, "PERMISSION_DENIED"),
        ("no_credit", {}, 400, "FAILED_PRECONDITION"),
        ("maintenance", {}, 503, "UNAVAILABLE"),
        ("server_error", {}, 500, "INTERNAL"),
        ("server_error", {"status": 504}, 504, "DEADLINE_EXCEEDED"),
    ],
)
def test_errors_come_in_google_s_envelope(fault: str, params: dict[str, Any], status: int, word: str) -> None:
    """Every refusing fault has its HTTP status and google.rpc status, and charges nothing."""
    document, charges = struck(fault, **params)
    assert (document["error"]["code"], document["error"]["status"], charges) == (status, word, [])


@pytest.mark.parametrize(("fault", "charged"), [("lost_answer", 1), ("not_charged_drop", 0)])
def test_a_connection_can_break_after_or_before_the_charge(fault: str, charged: int) -> None:
    """The call is dropped; only the lost answer was paid for."""
    place = world(faults=[{"fault": fault}])
    assert call(place, body()).drop
    assert [charge["outcome"] for charge in place.bench.ledger.document()["charges"]] == ["lost"] * charged
