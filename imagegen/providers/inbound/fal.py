"""fal.ai: ED25519 over request id, user id, time and the body's SHA-256; https://fal.ai/docs (queue webhooks).

The public keys are the `x` (base64url) of every entry of `https://rest.fal.ai/.well-known/jwks.json`; no header says
which one signed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from imagegen.providers.inbound.base import Checked, Proof, Refusal, found, in_time

HEADERS = tuple(f"x-fal-webhook-{part}" for part in ("request-id", "user-id", "timestamp", "signature"))


def verify(body: bytes, headers: Mapping[str, str], keys: Sequence[Mapping[str, Any]], now: datetime) -> Checked:
    """`keys`: the entries of the key set."""
    told = found(headers, *HEADERS)
    if told is None:
        return Refusal.UNSIGNED
    request, user, seconds, written = told
    if not in_time(seconds, now):
        return Refusal.STALE
    message = "\n".join((request, user, seconds, hashlib.sha256(body).hexdigest())).encode("utf-8", "replace")
    try:
        signature = bytes.fromhex(written)
    except ValueError:
        return Refusal.FORGED
    proven = any(_signed(key, signature, message) for key in keys)
    return Proof(body=True, delivery=request) if proven else Refusal.FORGED


def _signed(key: Mapping[str, Any], signature: bytes, message: bytes) -> bool:
    x = key.get("x")
    try:
        raw = base64.urlsafe_b64decode(x + "=" * (-len(x) % 4)) if isinstance(x, str) else b""
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, message)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True
