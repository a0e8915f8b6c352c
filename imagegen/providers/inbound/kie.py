"""kie.ai: HMAC-SHA256 over `taskId.timestamp`. The body is not covered.

https://docs.kie.ai/common-api/webhook-verification. Whoever sees one valid pair of headers could write another result
below the same task id, so a valid signature proves the task id alone, and the record is read again with our key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import datetime

from imagegen.providers.inbound.base import Checked, Proof, Refusal, found, in_time

HEADERS = ("x-webhook-timestamp", "x-webhook-signature")


def verify(body: bytes, headers: Mapping[str, str], key: str, now: datetime) -> Checked:
    """`key`: the `webhookHmacKey` of kie.ai/settings."""
    told = found(headers, *HEADERS)
    if told is None:
        return Refusal.UNSIGNED
    seconds, signature = told
    if not in_time(seconds, now):
        return Refusal.STALE
    task = task_of(body)
    if task is None:
        return Refusal.FORGED
    digest = hmac.new(key.encode(), f"{task}.{seconds}".encode("utf-8", "replace"), hashlib.sha256).digest()
    proven = hmac.compare_digest(base64.b64encode(digest), signature.encode("utf-8", "replace"))
    return Proof() if proven else Refusal.FORGED


def task_of(body: bytes) -> str | None:
    """The task id of a callback: `data.taskId` as bodies carry it, else `data.task_id` as the page's sample reads it.

    Whoever acts on a callback reads the id here, so that it is the one that was signed.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    data = document.get("data") if isinstance(document, Mapping) else None
    task = (data.get("taskId") or data.get("task_id")) if isinstance(data, Mapping) else None
    return task if isinstance(task, str) and task else None
