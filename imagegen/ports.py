"""What the pipeline needs of the outside, as protocols; `imagegen.records` has the value objects that cross them.

`storage/` implements them on PostgreSQL, Redis and S3; `imagegen.testing` in memory. One contract suite per port
runs on both. Every method may raise `PartUnavailable` when its part cannot be reached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from imagegen import policies
from imagegen.cadence import Learnt
from imagegen.catalog import Catalog
from imagegen.contracts import Style
from imagegen.errors import Temporary
from imagegen.heartbeat import Heartbeat
from imagegen.jobs import Batch, Job
from imagegen.limits import Limits
from imagegen.ports_deliveries import Deliveries, DeliveryHints
from imagegen.providers.base import Provider
from imagegen.records import (
    Admitted,
    Attempt,
    BatchFilter,
    Cached,
    Claimed,
    Event,
    Held,
    Holding,
    JobFilter,
    Limit,
    Move,
    Pause,
    Polled,
    Settled,
)  # fmt: skip
from imagegen.states import Stage
from imagegen.transport import Transport
from imagegen.webhooks import Signer


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


class Jobs(Protocol):
    """The jobs, their attempts, history and ledger: each write is one transaction, and but for limits one statement."""

    def admit(self, jobs: Sequence[Job], batch: Batch | None, *, worker: str) -> Admitted:
        """Writes new jobs (and their batch) all or nothing, with an `admit` event each.

        The same id, or the same owner and idempotency key, with the same `body_sha256`: the first rows come back,
        nothing is written. Another body: `IdempotencyConflict`.
        """
        ...

    def get(self, job_id: UUID, *, owner: str | None = None) -> Job:
        """Raises `NotFound`; with `owner` for another owner's job too, at the same cost."""
        ...

    def get_batch(self, batch_id: UUID, *, owner: str | None = None) -> tuple[Batch, Sequence[Job]]:
        """The batch and its jobs in input order; raises `NotFound` like `get`."""
        ...

    def list_batches(
        self, where: BatchFilter, *, limit: int = 50, cursor: str | None = None
    ) -> tuple[Sequence[tuple[Batch, Sequence[Job]]], str | None]:
        """Batches with their jobs, newest first, and the next page's cursor; see `list`."""
        ...

    def ended(self, job_ids: Sequence[UUID]) -> Sequence[UUID]:
        """Those of the jobs that have ended, in one statement."""
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

    def claim(
        self, move: Move, continuation: Mapping[str, Any] | None, limit: Limit | None = None
    ) -> Claimed | Held | None:
        """Takes a job for CLAIM, FETCH or PUBLISH, storing the Celery continuation of the message that asks.

        None: not there to be taken (done, moved on, held by a live worker). A stored continuation is kept when
        `continuation` is None. For FETCH and PUBLISH a job is free when it has no claim or its lease has run out
        (`next_run_at <= move.at`). A parked job (`waiting_for`) is not there before its time, whoever hints at it.

        A CLAIM whose picture is not in the cache is refused with `Held`, and the row parked (no event, no failure,
        the continuation stored), while its provider, its owner or everything is paused (`paused`), or `limit` has no
        slot for it (`pace`) or no room for another generation (`in_flight`). A slot that `paced` gave it admits it
        from `policies.SLOT_LEAD` before its time; who takes a free slot at once never overtakes one that waits.
        """
        ...

    def apply(self, move: Move) -> Job | None:
        """The guarded move with its event, attempt, facts and ledger lines in one statement; None: Lost.

        `facts` and `always` entries are written in either case. Facts that name a picture or an order of a job that
        did not move make their attempt due for `collectable`. What answers a paid call (`moves.ANSWERS` with facts)
        finds nothing to move once its owner stopped the job.
        """
        ...

    def attempt(self, attempt_id: UUID) -> Attempt | None:
        """The attempt with what is known of it, or None."""
        ...

    def ordered(self, provider: str, provider_job_id: str) -> Attempt | None:
        """The attempt that has this order at the provider (the newest, should there be several), or None."""
        ...

    def renew(self, held: Sequence[Holding], *, until: datetime) -> None:
        """Lengthens the leases of jobs that a worker is busy with, in one statement.

        A job is still its worker's while it has its claim; a paid call's also at stage `reconcile`, whose time is put
        off: who is alive to renew has not lost the answer yet.
        """
        ...

    def wake(self, job_id: UUID, *, at: datetime) -> Job | None:
        """A callback came: a job that waits for its provider (`poll`, `reconcile`) is due now, and remembers to be
        woken should it park in this moment. None: it waits for nothing."""
        ...

    def collectable(self, *, at: datetime, limit: int) -> Sequence[Attempt]:
        """Attempts of ended jobs whose paid picture may still be had, and whose `collect_at` has come.

        Each is put off (`policies.COLLECT_EVERY`, doubling with every try), so that two sweeps never take the same.
        """
        ...

    def collected(self, settled: Settled, *, at: datetime) -> None:
        """Nothing more is to be had from an attempt: its facts, ledger lines and, where it brought a picture, the
        result cache, in one statement. A cached picture of an emulated provider never stands for a real one."""
        ...

    def alias(self, alias: UUID, identity: UUID, *, batch: bool) -> Job | Batch:
        """Lets another id stand for a job (or batch): whoever waits for it is told the same end. The row as it is."""
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

    def due(
        self, *, at: datetime, limit: int, grace: timedelta, worker: str, crowded: frozenset[Stage] = frozenset()
    ) -> Sequence[Job]:
        """The sweep: takes what is due in priority order with ageing, SKIP LOCKED, and returns it.

        A job whose lease ran out is freed: processing goes back to queued (HOLD), generating at stage `generate`
        goes to stage `reconcile` (DOUBT). Each gets `next_run_at = at + grace * 2**hints` and `hints + 1`, so that
        a lost hint is sent again, ever more slowly. While the queue of a stage is `crowded`, a job that was hinted
        at before is left alone for `policies.CROWDED_PATIENCE`: its hint most likely waits there.
        """
        ...

    def paced(self, limit: Limit, *, at: datetime) -> int:
        """Gives the most urgent jobs that wait for this limit its next slots, as far as `policies.SLOTS_AHEAD` and the
        room for generations allow; each is due `policies.SLOT_LEAD` before its slot. How many got one."""
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


class Pauses(Protocol):
    """What is paused: no new paid call is begun; what was bought is still collected."""

    def pause(self, scope: str, *, reason: str, at: datetime) -> None:
        """`scope`: `all`, `provider:NAME` or `owner:NAME`. Pausing what is paused keeps the new reason."""
        ...

    def resume(self, scope: str, *, at: datetime) -> int | None:
        """Ends a pause and makes due what waited for it alone: how many jobs. None: it was not paused."""
        ...

    def list(self) -> Sequence[Pause]:
        """Oldest first."""
        ...


class Styles(Protocol):
    """Stored style capsules by id: everybody's (`owner` None), and an owner's own, which hide those of the same id."""

    def put(self, style_id: str, style: Style, *, at: datetime, owner: str | None = None) -> None: ...

    def get(self, style_id: str, *, owner: str | None = None) -> Style:
        """The owner's own, else everybody's. Raises `NotFound`."""
        ...

    def list(self, *, owner: str | None = None) -> Sequence[tuple[str, Style]]:
        """What this owner may name, in the order of ids."""
        ...


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

    def open(self, provider: str, operation: str) -> None:
        """Opens the circuit by hand, as if its provider had just failed too often; it is probed after the usual
        time."""
        ...

    def rests(self, provider: str, operation: str) -> float:
        """Seconds until an open circuit is probed; 0 for any other."""
        ...

    def reset(self, provider: str, operation: str) -> None:
        """Closes the circuit and forgets its failures; a probe under way may no longer decide."""
        ...


class Hints(DeliveryHints, Protocol):
    """Tells the workers to look at something; losing a hint only delays it until the sweep."""

    def jobs(self, jobs: Iterable[Job]) -> None:
        """Each job's next step: its stored continuation where there is one, else a fresh chain from its stage."""
        ...

    def batch(self, batch: Batch, jobs: Sequence[Job]) -> None:
        """A new batch: one chord over a group of chains."""
        ...

    def collect(self, attempt_id: UUID) -> None:
        """The picture of an ended job is to be looked for."""
        ...

    def crowded(self) -> frozenset[Stage]:
        """Stages whose queue is so long that a hint may well wait in it (`policies.CROWDED`)."""
        ...


class Results(Protocol):
    """Where callers look for finished documents by job or batch id."""

    def publish(self, identity: str, document: Mapping[str, Any]) -> None:
        """Replaces what was there; as often as asked."""
        ...

    def withdraw(self, identity: str) -> None:
        """The document no longer holds: the job goes on."""
        ...

    def acknowledge(self, identity: str) -> None:
        """Tells a caller who waits that its message became a row."""
        ...


@dataclass(frozen=True, kw_only=True)
class Services:
    """Everything a stage works with. Built once per process, in `tasks.wiring`."""

    jobs: Jobs
    pauses: Pauses
    styles: Styles
    deliveries: Deliveries
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
    signer: Signer | None = None
    templates: str | None = None
    storage_url: str | None = None
    limits: Limits = field(default_factory=Limits)
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    learnt: Learnt = field(default_factory=Learnt)
    askers: Executor = field(default_factory=lambda: ThreadPoolExecutor(policies.POLL_THREADS, "poll"))

    def provider(self, name: str) -> Provider:
        """Raises `Temporary` where its key was taken from this worker: its jobs wait until it is back."""
        if name not in self.providers:
            raise Temporary(f"no key for provider {name} is configured here", {"reason": "provider"})
        return self.providers[name]
