"""Outbound webhooks by the Standard Webhooks specification (standardwebhooks.com): signed, and verified. Pure.

webhook-id         the event's own, the same however often it is sent
webhook-timestamp  seconds since 1970 of this sending; a receiver refuses what is five minutes off
webhook-signature  `v1,BASE64` of HMAC-SHA256 over `id.timestamp.body`, one for each secret while they rotate
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from imagegen.contracts import rfc3339
from imagegen.errors import InvalidRequest, NotServed
from imagegen.results import Batch, Job, result_of

PREFIX = "whsec_"
LIBRARY = "standardwebhooks"
SETTING = "IMAGEGEN_WEBHOOK_SECRET"


@dataclass(frozen=True)
class WebhookEvent:
    """A verified webhook. `id` is the same for every repetition: whoever keeps it handles each event once."""

    id: str
    type: str
    timestamp: str
    document: Job | Batch


class Signer:
    """Signs bodies with every secret (two while they rotate, so that receivers with either one are content)."""

    def __init__(self, secrets: Sequence[str]) -> None:
        """Raises `InvalidRequest` naming the setting where a secret is none, `NotServed` without the library."""
        self._keys = keys(secrets, SETTING)

    def headers(self, event_id: str, body: bytes, at: datetime) -> dict[str, str]:
        """What goes with this body when it is sent at this moment."""
        moment, text = at.astimezone(UTC), body.decode()
        return {
            "Content-Type": "application/json",
            "webhook-id": event_id,
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": " ".join(key.sign(event_id, moment, text) for key in self._keys),
        }


def event_body(kind: str, at: datetime, document: Mapping[str, Any]) -> bytes:
    """`{type, timestamp, data}` as it is signed and sent; the timestamp is the event's, not the sending's."""
    told = {"type": kind, "timestamp": rfc3339(at), "data": document}
    return json.dumps(told, separators=(",", ":"), ensure_ascii=True).encode()


def verify(body: bytes, headers: Mapping[str, str], secrets: Sequence[str]) -> WebhookEvent:
    """The event of a received webhook; `headers` in any case of letters.

    Raises `InvalidRequest` where it is not signed with one of the secrets, or was sent more than five minutes ago.
    """
    found = {name.lower(): value for name, value in headers.items()}
    refused: Exception | None = None
    for key in keys(secrets, "webhook_secret"):
        try:
            told = key.verify(body, found)
            return WebhookEvent(found["webhook-id"], told["type"], told["timestamp"], result_of(told["data"]))
        except (_library().WebhookVerificationError, ValueError, TypeError, KeyError) as error:
            # Malformed signatures and bodies raise the plain kinds; another secret may still fit.
            refused = error
    raise InvalidRequest.of(
        "webhook-signature", f"does not prove this body ({refused})", "Answer 400, and do nothing else."
    ) from refused


def keys(secrets: Sequence[str], field: str) -> list[Any]:
    """The library's signers, one per secret; raises `InvalidRequest` naming `field`."""
    if not secrets:
        raise InvalidRequest.of(field, "is not set", f"Give the {PREFIX}… secret of the service that sends.")
    return [_key(secret, field) for secret in secrets]


def _key(secret: str, field: str) -> Any:
    if secret.startswith(PREFIX):
        try:
            return _library().Webhook(secret)
        except (ValueError, RuntimeError, _library().webhooks.EmptyWebhookSecretError):
            # Its message, and this one's cause, would carry the secret.
            pass
    raise InvalidRequest.of(
        field, f"holds a word that is no {PREFIX}… secret", f"Write {PREFIX} and 24 to 64 random bytes in base64."
    )


def _library() -> Any:
    try:
        return importlib.import_module(LIBRARY)
    except ModuleNotFoundError as error:
        raise NotServed(f"webhooks need the package {LIBRARY}: pip install 'imagegen-celery[api]'") from error
