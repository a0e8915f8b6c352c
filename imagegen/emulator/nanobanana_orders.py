"""The bodies nanobananaapi.ai takes, checked as it checks them (docs.nanobananaapi.ai/nanobanana-api).

Unknown fields are ignored; wrong values are refused with code 422 (kie's code for it, UNCONFIRMED here).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from imagegen.emulator import sizes
from imagegen.emulator.wire import Request

GENERATE, PRO, SECOND = "/generate", "/generate-pro", "/generate-2"
ROOT = "/api/v1/nanobanana"
MAX_PROMPT = 20_000

PRICES: Mapping[str, Mapping[str, Decimal]] = {
    "nano-banana": {"1K": Decimal("0.02")},
    "nano-banana-2": {"1K": Decimal("0.04"), "2K": Decimal("0.06"), "4K": Decimal("0.09")},
    "nano-banana-pro": {"1K": Decimal("0.09"), "2K": Decimal("0.09"), "4K": Decimal("0.18")},
}
"""US dollars per picture. UNCONFIRMED for this host: the figures of imagegen's own price table."""


class Invalid(Exception):
    """A body the service would not take; the message is the service's own."""


@dataclass(frozen=True)
class Brief:
    """A checked order."""

    model: str
    prompt: str
    ratio: str
    tier: str
    format: str
    count: int
    image_urls: tuple[str, ...]
    callback: str | None

    @property
    def price(self) -> Decimal:
        """US dollars for all of its pictures."""
        return PRICES[self.model][self.tier] * self.count

    @property
    def operation(self) -> str:
        """`operationType` as the service spells it."""
        return self.model if self.model == "nano-banana" else f"{self.model}_{self.tier.lower()}"


def read(request: Request) -> tuple[Brief, str]:
    """Checks a submit body as the service does; Invalid tells what it would say."""
    try:
        body = request.json()
    except ValueError as error:
        raise Invalid("The request body is not valid JSON") from error
    if not isinstance(body, dict):
        raise Invalid("The request body must be a JSON object")
    endpoint = request.path.removeprefix(ROOT)
    brief = {GENERATE: _first, PRO: _pro, SECOND: _second}[endpoint](body)
    return brief, json.dumps(body, ensure_ascii=False)


def _first(body: Mapping[str, Any]) -> Brief:
    kind = body.get("type")
    if kind not in ("TEXTTOIAMGE", "IMAGETOIAMGE"):
        raise Invalid("type must be TEXTTOIAMGE or IMAGETOIAMGE")
    urls = _urls(body, 14)
    if kind == "IMAGETOIAMGE" and not urls:
        raise Invalid("imageUrls cannot be empty when type is IMAGETOIAMGE")
    count = body.get("numImages", 1)
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= 4:
        raise Invalid("numImages must be between 1 and 4")
    ratio = _choice(body, "image_size", sizes.TEN, "1:1")
    return Brief("nano-banana", _prompt(body), ratio, "1K", "jpeg", count, urls, _callback_url(body, required=True))


def _pro(body: Mapping[str, Any]) -> Brief:
    ratio = _choice(body, "aspectRatio", sizes.TEN | {"auto"}, "auto")
    tier = _choice(body, "resolution", frozenset(sizes.TIERS), "1K")
    callback = _callback_url(body, required=True)
    return Brief("nano-banana-pro", _prompt(body), ratio, tier, "jpeg", 1, _urls(body, 8), callback)


def _second(body: Mapping[str, Any]) -> Brief:
    ratio = _choice(body, "aspectRatio", sizes.FOURTEEN | {"auto"}, "auto")
    tier = _choice(body, "resolution", frozenset(sizes.TIERS), "1K")
    format = {"jpg": "jpeg", "png": "png"}[_choice(body, "outputFormat", frozenset({"jpg", "png"}), "jpg")]
    if not isinstance(body.get("googleSearch", False), bool):
        raise Invalid("googleSearch must be a boolean")
    callback = _callback_url(body, required=False)
    return Brief("nano-banana-2", _prompt(body), ratio, tier, format, 1, _urls(body, 14), callback)


def _prompt(body: Mapping[str, Any]) -> str:
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise Invalid("prompt cannot be empty")
    if len(prompt) > MAX_PROMPT:
        raise Invalid(f"prompt cannot exceed {MAX_PROMPT} characters")
    return prompt


def _choice(body: Mapping[str, Any], name: str, allowed: frozenset[str], default: str) -> str:
    value = body.get(name, default)
    if value not in allowed:
        raise Invalid(f"{name} is not within the range of allowed options: {', '.join(sorted(allowed))}")
    return str(value)


def _urls(body: Mapping[str, Any], limit: int) -> tuple[str, ...]:
    urls = body.get("imageUrls") or []
    if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
        raise Invalid("imageUrls must be a list of addresses")
    if len(urls) > limit:
        raise Invalid(f"imageUrls cannot hold more than {limit} images")
    return tuple(urls)


def _callback_url(body: Mapping[str, Any], *, required: bool) -> str | None:
    url = body.get("callBackUrl") or None
    if url is None and required:
        raise Invalid("callBackUrl cannot be empty")
    if url is not None and not (isinstance(url, str) and url.startswith(("http://", "https://"))):
        raise Invalid("callBackUrl must be an http or https address")
    return url
