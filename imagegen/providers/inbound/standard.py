"""Standard Webhooks (standardwebhooks.com): HMAC-SHA256 over `id.timestamp.body`, the body included."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from imagegen.providers.inbound.base import Checked, Proof, Refusal, found, in_time

HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
MAX_SIGNATURES = 10
"""Signatures of one callback that are looked at; two are sent while a secret is rotated."""


def verify(body: bytes, headers: Mapping[str, str], keys: Sequence[Any], now: datetime) -> Checked:
    """`keys`: signers of the library, from `imagegen.webhooks.keys`. The library's own check reads the system's clock,
    so the signature is made again and compared here."""
    told = found(headers, *HEADERS)
    if told is None:
        return Refusal.UNSIGNED
    delivery, seconds, signatures = told
    if not in_time(seconds, now):
        return Refusal.STALE
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return Refusal.FORGED
    moment = datetime.fromtimestamp(int(seconds), UTC)
    expected = [key.sign(delivery, moment, text).encode() for key in keys]
    given = [one.encode("utf-8", "replace") for one in signatures.split(" ")[:MAX_SIGNATURES]]
    matches = [hmac.compare_digest(one, other) for one in given for other in expected]
    return Proof(body=True, delivery=delivery) if any(matches) else Refusal.FORGED
