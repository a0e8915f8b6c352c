"""Ids that client and server derive alike: sending the same thing again names the same job."""

from __future__ import annotations

import json
from uuid import UUID, uuid5

NAMESPACE = UUID("6f1d3a52-5c0e-5d57-9a4e-0f6f6b0c2b1d")
"""Root of every derived id; another value would make a resend a second job."""


def job_id_for(owner: str, key: str) -> UUID:
    """The id of the job with this owner's idempotency key."""
    return _derived("job", owner, key)


def batch_id_for(owner: str, key: str) -> UUID:
    """The id of the batch with this owner's idempotency key."""
    return _derived("batch", owner, key)


def member_id_for(batch_id: UUID, index: int) -> UUID:
    """The job id of a batch's member, counted from 0 in input order."""
    return uuid5(batch_id, str(index))


def retry_key_for(subject: UUID, key: str) -> str:
    """What the history of a job, or of a batch's members, keeps of a retry's idempotency key."""
    return str(uuid5(subject, json.dumps(["retry", key])))


def _derived(kind: str, owner: str, key: str) -> UUID:
    # A JSON list, because owner and key may hold any separator.
    return uuid5(NAMESPACE, json.dumps([kind, owner, key]))
