"""What the pipeline needs of the outside, as protocols, and the value objects that cross them.

`storage/` implements them on PostgreSQL, Redis and S3; `imagegen.testing` in memory. One contract suite per port
runs on both. Every method may raise `PartUnavailable` when its part cannot be reached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, Protocol
from uuid import UUID

from imagegen import policies
from imagegen.cadence import Learnt
from imagegen.catalog import Catalog
from imagegen.contracts import Style
from imagegen.errors import Temporary
from imagegen.jobs import Batch, Job
from imagegen.providers.base import Provider
from imagegen.records import Admitted, Cached, Claimed, Event, JobFilter
from imagegen.states import MoveName, Stage, Status
from imagegen.transport import Transport

__all__ = [
    "Admitted",
    "AttemptState",
    "BlobInfo",
    "Blobs",
    "Breaker",
    "Cached",
    "Claimed",
    "Clock",
    "Entry",
    "EntryKind",
    "Event",
    "Facts",
    "Hints",
    "JobFilter",
    "Jobs",
    "Move",
    "NewAttempt",
    "Polled",
    "Results",
    "Services",
    "Styles",
]

AttemptState = Literal["submitting", "not_sent", "rejected", "accepted", "unknown", "succeeded", "failed"]
EntryKind = Literal["reserve", "settle", "release", "waste", "uncertain"]


class Clock(Protocol):
    """Time as an argument: nothing in the library reads the system's clock."""

    def now(self) -> datetime:
        """The time, with its zone (UTC)."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards, for deadlines inside one process."""
        ...

    def sleep(self, seconds: float) -> None:
        """Waits; a manual clock only moves its hands."""
        ...


@dataclass(frozen=True, kw_only=True)
class NewAttempt:
    """The intent to buy, committed before the paid call (state `submitting`)."""

    id: UUID
    job_id: UUID
    number: int
    provider: str
    model: str
    token: str
    estimate: Decimal
    emulated: bool


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a call taught us of an attempt: written whatever the job's own move comes to (law 3)."""

    attempt_id: UUID
    state: AttemptState
    provider_job_id: str | None = None
    result_url: str | None = None
    blob_sha256: str | None = None
    usage: Mapping[str, Any] | None = None
    actual: Decimal | None = None
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One ledger line in US dollars; `always` writes it even where the job's move finds nothing to move."""

    kind: EntryKind
    amount: Decimal
    attempt_id: UUID | None
    price: Mapping[str, Any] = field(default_factory=dict)
    always: bool = False


@dataclass(frozen=True, kw_only=True)
class Move:
    """One guarded step of a job: what `MOVES[name]` allows, and everything that is written with it.

    `held`: the claim this worker must still hold (None: no claim needed). `claim`: the new claim (None frees it).
    `seen`: the status, and the stage unless None, that the job must still have, where the rule allows more.
    `until`: the new `next_run_at`; at an end, when it is announced again (None: not). `parked`: a wake-up that came
    meanwhile wins over `until`.
    `target`: the new status where the rule leaves it open (RETRY). A move with `facts` happens only while their
    attempt is the job's current one: a late answer to an old attempt never touches a newer one's job.
    `detail` goes into the event; its `picture` {width, height, bytes} lets COMPLETE feed the result cache with the
    original, which is known to decode only then; a cache hit or a placeholder never does.
    """

    job_id: UUID
    name: MoveName
    at: datetime
    cause: str
    worker: str
    stage: Stage | None = None
    target: Status | None = None
    until: datetime | None = None
    parked: bool = False
    waiting_for: str | None = None
    held: UUID | None = None
    seen: tuple[Status, Stage | None] | None = None
    claim: UUID | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    new_attempt: NewAttempt | None = None
    facts: Facts | None = None
    entries: tuple[Entry, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Polled:
    """What one poll found: `until` and nothing else (still running), or the picture's URL.

    Failures are rare and go through `Jobs.apply` one by one.
    """

    job_id: UUID
    attempt_id: UUID
    until: datetime
    result_url: str | None = None
    actual: Decimal | None = None
    usage: Mapping[str, Any] | None = None


class Jobs(Protocol):
    """The jobs, their attempts, history and ledger: each write is one statement and one transaction."""

    def admit(self, jobs: Sequence[Job], batch: Batch | None, *, worker: str) -> Admitted:
        """Writes new jobs (and their batch) all or nothing, with an `admit` event each.

        The same id, or the same owner and idempotency key, with the same `body_sha256`: the first rows come back,
        nothing is written. Another body: `IdempotencyConflict`.
        """
        ...

    def get(self, job_id: UUID) -> Job:
        """Raises `NotFound`."""
        ...

    def get_batch(self, batch_id: UUID) -> tuple[Batch, Sequence[Job]]:
        """The batch and its jobs in input order; raises `NotFound`."""
        ...

    def list(self, where: JobFilter, *, limit: int = 50, cursor: str | None = None) -> tuple[Sequence[Job], str | None]:
        """Newest first, and an opaque cursor for the next page (None: no more). A bad cursor: `InvalidRequest`."""
        ...

    def cached(self, fingerprint: str, *, emulated: bool) -> Cached | None:
        """The picture bought before for this fingerprint, or None: what a dry run asks; a claim looks for itself."""
        ...

    def history(self, job_id: UUID) -> Sequence[Event]:
        """Oldest first."""
        ...

    def claim(self, move: Move, continuation: Mapping[str, Any] | None) -> Claimed | None:
        """Takes a job for CLAIM, FETCH or PUBLISH, storing the Celery continuation of the message that asks.

        None: not there to be taken (done, moved on, held by a live worker). A stored continuation is kept when
        `continuation` is None. For FETCH and PUBLISH a job is free when it has no claim or its lease has run out
        (`next_run_at <= move.at`). A parked job (`waiting_for`) is not there before its time, whoever hints at it.
        """
        ...

    def apply(self, move: Move) -> Job | None:
        """The guarded move with its event, attempt, facts and ledger lines in one statement; None: Lost.

        `facts` and `always` entries are written in either case.
        """
        ...

    def attempt(self, attempt_id: UUID) -> Facts | None:
        """What is known of an attempt, or None."""
        ...

    def pollable(self, job_ids: Sequence[UUID], *, at: datetime) -> Sequence[Job]:
        """Those of the jobs that are generating and due for a poll, in one statement."""
        ...

    def polled(self, found: Sequence[Polled], *, at: datetime, worker: str, grace: timedelta) -> Sequence[Job]:
        """Writes what a chunk of polls found in one statement; returns the jobs that moved to their download.

        A job still running rests until its `until` (at once if it was woken meanwhile), one with a picture moves
        by DELIVER to stage `download`, with `next_run_at = at + grace`.
        """
        ...

    def due(self, *, at: datetime, limit: int, grace: timedelta, worker: str) -> Sequence[Job]:
        """The sweep: takes what is due in priority order with ageing, SKIP LOCKED, and returns it.

        A job whose lease ran out is freed: processing goes back to queued (HOLD), generating at stage `generate`
        goes to stage `reconcile` (DOUBT). Each gets `next_run_at = at + grace * 2**hints` and `hints + 1`, so that
        a lost hint is sent again, ever more slowly.
        """
        ...

    def unannounced(self, *, at: datetime, limit: int) -> Sequence[Job]:
        """Ended jobs whose `announce_at` (the `until` of the move that ended them) has come, oldest first."""
        ...

    def announced(self, job_ids: Sequence[UUID]) -> None:
        """The ends of these jobs were told to whoever waits: nothing is due for them any more."""
        ...

    def close_batch(self, batch_id: UUID, *, at: datetime) -> Batch | None:
        """Closes the batch if it is open and no member is live; None: nothing to close. One guarded UPDATE."""
        ...

    def unclosed_batches(self, *, limit: int) -> Sequence[UUID]:
        """Open batches without a live member: their closing was lost."""
        ...

    def latencies(self, provider: str, model: str, *, limit: int = 50) -> Sequence[float]:
        """Seconds from submission to picture of the newest attempts."""
        ...


class Styles(Protocol):
    """Stored style capsules by id."""

    def put(self, style_id: str, style: Style, *, at: datetime) -> None: ...

    def get(self, style_id: str) -> Style:
        """Raises `NotFound`."""
        ...

    def list(self) -> Sequence[tuple[str, Style]]: ...


@dataclass(frozen=True, kw_only=True)
class BlobInfo:
    """An object's key, size in bytes, MIME type and time of change."""

    key: str
    bytes: int
    content_type: str
    modified: datetime


class Blobs(Protocol):
    """The object store. Keys: `project_*` (public), `blobs/{sha256}`, `attempts/{attempt_id}`, `inputs/{sha256}`.

    A missing key raises `NotFound`, a refusal for good `StorageError`.
    """

    def put(self, key: str, data: bytes, content_type: str, *, cache_control: str | None = None) -> None:
        """A reader sees the whole object or none."""
        ...

    def get(self, key: str) -> bytes: ...

    def head(self, key: str) -> BlobInfo | None: ...

    def delete(self, key: str) -> None:
        """Nothing there is fine."""
        ...

    def list(self, prefix: str) -> Iterator[BlobInfo]: ...

    def copy(self, source: str, target: str, content_type: str) -> None: ...

    def public_url(self, key: str) -> str: ...

    def presigned_url(self, key: str, ttl: timedelta) -> str: ...

    def check(self) -> None:
        """Raises `PartUnavailable` or `StorageError` with what to do."""
        ...


class Breaker(Protocol):
    """One circuit per provider and operation, shared by all workers."""

    def call(self, provider: str, operation: str) -> AbstractContextManager[Callable[[bool], None]]:
        """Around one call: yields `report(ok)`. Open: raises `Temporary` with `retryAfter`, and nothing was sent.

        No lock is held inside. Leaving without a report counts as neither success nor failure.
        """
        ...

    def state(self, provider: str, operation: str) -> str:
        """`closed`, `open` or `half-open`."""
        ...

    def reset(self, provider: str, operation: str) -> None: ...


class Hints(Protocol):
    """Tells the workers to look at something; losing a hint only delays it until the sweep."""

    def jobs(self, jobs: Iterable[Job]) -> None:
        """Each job's next step: its stored continuation where there is one, else a fresh chain from its stage."""
        ...

    def batch(self, batch: Batch, jobs: Sequence[Job]) -> None:
        """A new batch: one chord over a group of chains."""
        ...


class Results(Protocol):
    """Where callers look for finished documents by job or batch id."""

    def publish(self, identity: str, document: Mapping[str, Any]) -> None:
        """Replaces what was there; as often as asked."""
        ...

    def acknowledge(self, identity: str) -> None:
        """Tells a caller who waits that its message became a row."""
        ...


@dataclass(frozen=True, kw_only=True)
class Services:
    """Everything a stage works with. Built once per process, in `tasks.wiring`."""

    jobs: Jobs
    styles: Styles
    blobs: Blobs
    breaker: Breaker
    hints: Hints
    results: Results
    providers: Mapping[str, Provider]
    transport: Transport
    catalog: Catalog
    clock: Clock
    emulated: bool
    worker: str
    callback_base_url: str | None = None
    deadline: timedelta = timedelta(minutes=10)
    max_paid_attempts: int = 1
    allow_hosts: tuple[str, ...] = ()
    templates: str | None = None
    storage_url: str | None = None
    learnt: Learnt = field(default_factory=Learnt)
    askers: Executor = field(default_factory=lambda: ThreadPoolExecutor(policies.POLL_THREADS, "poll"))

    def provider(self, name: str) -> Provider:
        """Raises `Temporary` where its key was taken from this worker: its jobs wait until it is back."""
        if name not in self.providers:
            raise Temporary(f"no key for provider {name} is configured here", {"reason": "provider"})
        return self.providers[name]
