"""Digests of meaning: what shapes a picture, and what a caller sent."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from imagegen.contracts import ImageRequest

POSTPROCESSING = 1
"""Version of how an original becomes the published picture; a higher one makes older pictures no cache hit."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Everything that shapes the picture, and nothing else: neither provider, owner nor project.

    `model` is the catalog's canonical name; pictures are told by their SHA-256, references in the order sent.
    """

    sent_prompt: str
    model: str
    ratio: str
    tier: str
    width: int
    height: int
    format: str
    emulated: bool
    references: tuple[str, ...] = ()
    source: str | None = None
    mask: str | None = None
    seed: int | None = None


def canonical_json(value: Any) -> bytes:
    """One spelling per JSON value: sorted keys, no spaces, UTF-8. Raises `ValueError` for NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, in hex."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def fingerprint(shape: Shape) -> str:
    """The key of the result cache and of single flight: equal for jobs that ask for the same picture."""
    return digest({**asdict(shape), "postprocessing": POSTPROCESSING})


def body_sha256(request: ImageRequest) -> str:
    """Digest of what was asked, without the idempotency key itself: the same key with another digest is a conflict.

    Defaults count as left out, so that a release with more fields still knows an older release's requests.
    """
    return digest(request.model_dump(mode="json", by_alias=True, exclude={"idempotency_key"}, exclude_defaults=True))
