"""What is to be told of an end, to whom, and when again: one row per event and target, written by the ending itself.

due ──sent, 2xx──► delivered          due ──410──► disabled         due ──3xx, no such address──► refused
 └──anything else──► due again, later and later; a day after the event ──► failed
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid5

from imagegen import policies
from imagegen.jobs import Batch, Job
from imagegen.states import BatchStatus, MoveName

JOB_KIND, BATCH_KIND = "image.job.", "image.batch."
JOB_ID, BATCH_ID = "job", "batch"
REPLACED = "replaced"
BATCH_ENDS = frozenset({BatchStatus.COMPLETED, BatchStatus.PARTIAL, BatchStatus.FAILED, BatchStatus.CANCELLED})


class Target(StrEnum):
    """Who is told: a URL, or a Celery task of the caller's."""

    WEBHOOK = "webhook"
    TASK = "task"


class State(StrEnum):
    """Where a delivery stands; all but the first are ends, out of which only `redeliver` leads."""

    DUE = "due"
    DELIVERED = "delivered"
    DISABLED = "disabled"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Sending:
    """One attempt: `status` the HTTP status if there was an answer, `ms` how long it took, `error` for people."""

    at: datetime
    ms: int
    status: int | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A row of `imagegen_deliveries`. `event_id` is the webhook's id; `address` the URL, or `{name, queue}`.

    `at`: when it ended; `since`: from when on the day counts that it is tried; `document`: as it was at that end.
    """

    id: UUID
    event_id: str
    kind: str
    target: Target
    address: str | Mapping[str, str]
    owner: str
    at: datetime
    since: datetime
    document: Mapping[str, Any] = field(repr=False)
    job_id: UUID | None = None
    batch_id: UUID | None = None
    state: State = State.DUE
    due_at: datetime | None = None
    held_until: datetime | None = None
    attempts: int = 0
    log: Sequence[Sending] = ()

    @property
    def task_id(self) -> str:
        """The id of the message to a caller's task: the same however often it is sent."""
        return str(uuid5(self.job_id or self.batch_id or self.id, self.event_id))


@dataclass(frozen=True)
class Told:
    """What one attempt came to: the new state, and when to try again where it is still due."""

    state: State
    due_at: datetime | None = None


def job_event(job: Job, move: MoveName) -> tuple[str, str]:
    """The event's id and its type, for a job that ended or was changed after its end by `move`."""
    what = REPLACED if move is MoveName.REPLACE else job.status.value
    return f"{JOB_ID}_{job.id}_{job.run}_{what}", f"{JOB_KIND}{what}"


def batch_event(batch: Batch) -> tuple[str, str]:
    """The event's id and its type, for a batch that was closed."""
    return f"{BATCH_ID}_{batch.id}_{batch.run}_{batch.status.value}", f"{BATCH_KIND}{batch.status.value}"


def targets(callback_url: str | None, notify_task: Mapping[str, str] | None) -> dict[Target, Any]:
    """Whom a job or batch with these fields wants told."""
    found: dict[Target, Any] = {Target.WEBHOOK: callback_url, Target.TASK: notify_task}
    return {target: address for target, address in found.items() if address is not None}


def judged(delivery: Delivery, sending: Sending, *, final: bool = False) -> Told:
    """What follows from an attempt; `final`: its error is one that no repetition mends."""
    status = sending.status
    if sending.error is None and (status is None or 200 <= status < 300):
        return Told(State.DELIVERED)
    if status == 410:
        return Told(State.DISABLED)
    if final or (status is not None and 300 <= status < 400):
        return Told(State.REFUSED)
    before = sum(one.at >= delivery.since for one in delivery.log)
    waits = policies.DELIVERY_BACKOFF
    again = sending.at + waits[min(before, len(waits) - 1)]
    if again > delivery.since + policies.DELIVERY_PATIENCE:
        return Told(State.FAILED)
    return Told(State.DUE, again)
