"""Google's own SDK, unmodified but for the address, against the emulator."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.genai import errors, types
from PIL import Image

from imagegen.emulator import Emulator

MODEL = "gemini-nano-banana-2.1"


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """An emulator that draws real pictures."""
    with Emulator(key="right") as running:
        yield running


@pytest.fixture
def client(emulator: Emulator) -> Iterator[genai.Client]:
    """The SDK with nothing but its address changed."""
    emulator.reset()
    opened = genai.Client(api_key="right", http_options=types.HttpOptions(base_url=emulator.url))
    yield opened
    opened.close()


def config(**image: str) -> types.GenerateContentConfig:
    """Asks for a picture alone."""
    return types.GenerateContentConfig(response_modalities=["IMAGE"], image_config=types.ImageConfig(**image))


def opened(response: types.GenerateContentResponse) -> Image.Image:
    """The picture of an answer, decoded."""
    assert response.parts is not None
    blob = response.parts[-1].inline_data
    assert blob is not None
    assert blob.data is not None
    picture = Image.open(io.BytesIO(blob.data))
    picture.load()
    return picture


def test_the_sdk_generates_and_opens_a_picture(client: genai.Client, emulator: Emulator) -> None:
    """generate_content gives a PNG of the documented pixels, its usage and id, for one charge."""
    answer = client.models.generate_content(
        model=MODEL, contents="Mara: a detective in a rainy city", config=config(aspect_ratio="16:9", image_size="2K")
    )
    assert opened(answer).size == (2752, 1536)
    assert answer.usage_metadata is not None
    assert answer.usage_metadata.candidates_token_count == 1680
    assert [charge["id"] for charge in emulator.ledger()["charges"]] == [answer.response_id]


def test_the_sdk_sends_a_reference_picture(client: genai.Client) -> None:
    """A picture sent along is taken, counted as input and gives its shape."""
    reference = Image.radial_gradient("L").resize((640, 360)).convert("RGB")
    contents: list[Any] = ["the same, at night", reference]
    answer = client.models.generate_content(model=MODEL, contents=contents)
    assert opened(answer).size == (1376, 768)
    assert answer.usage_metadata is not None
    rows = answer.usage_metadata.prompt_tokens_details or []
    assert {row.modality.value for row in rows if row.modality} == {"TEXT", "IMAGE"}


def test_the_sdk_reads_a_refusal(client: genai.Client, emulator: Emulator) -> None:
    """A blocked prompt is an answer without candidates and with its reason."""
    emulator.fault("refusal", blocked=True, reason="PROHIBITED_CONTENT", times=1)
    answer = client.models.generate_content(model=MODEL, contents="x", config=config())
    assert answer.candidates is None
    assert answer.prompt_feedback is not None
    assert answer.prompt_feedback.block_reason == types.BlockedReason.PROHIBITED_CONTENT


def test_the_sdk_raises_what_the_api_refuses(client: genai.Client, emulator: Emulator) -> None:
    """A dead model is 404 NOT_FOUND, another key 400, a limit 429 RESOURCE_EXHAUSTED."""
    with pytest.raises(errors.ClientError) as dead:
        client.models.generate_content(model="gemini-3-pro-image-preview", contents="x")
    assert (dead.value.code, dead.value.status) == (404, "NOT_FOUND")
    stranger = genai.Client(api_key="wrong", http_options=types.HttpOptions(base_url=emulator.url))
    with pytest.raises(errors.ClientError) as wrong:
        stranger.models.generate_content(model=MODEL, contents="x")
    stranger.close()
    assert wrong.value.code == 400
    emulator.fault("rate_limit", times=1)
    with pytest.raises(errors.ClientError) as limited:
        client.models.generate_content(model=MODEL, contents="x")
    assert (limited.value.code, limited.value.status) == (429, "RESOURCE_EXHAUSTED")


def test_the_sdk_lists_the_models(client: genai.Client) -> None:
    """models.list names the living image models."""
    assert f"models/{MODEL}" in [model.name for model in client.models.list()]
