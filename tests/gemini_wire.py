"""Orders for Gemini and answers of its API, for the tests of its wire."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import responses

from imagegen.catalog import load
from imagegen.providers.base import Order
from imagegen.providers.gemini import Gemini
from imagegen.testing.memory import ManualClock
from imagegen.transport import Transport

HOST = "https://generativelanguage.googleapis.com"
KEY = "AIza-secret"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
PNG, DRAFT = b"\x89PNG the picture", b"\x89PNG a draft"
USAGE = {
    "promptTokenCount": 9,
    "candidatesTokenCount": 1120,
    "thoughtsTokenCount": 200,
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
}
THOUGHT_USAGE = {"promptTokenCount": 9, "thoughtsTokenCount": 100}
CATALOG = load()


def gemini() -> Gemini:
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


def refusal(code: int, status: str, message: str = "no", *details: dict[str, Any]) -> dict[str, Any]:
    """Google's error envelope."""
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}
