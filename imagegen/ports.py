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
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

from imagegen import policies
from imagegen.cadence import Learnt
from imagegen.catalog import Catalog
from imagegen.contracts import Style
from imagegen.doctor.books import Books
from imagegen.errors import Temporary
from imagegen.heartbeat import Heartbeat
from imagegen.job_store import Jobs
from imagegen.jobs import Batch, Job
from imagegen.keeping import Keeping
from imagegen.limits import Limits
from imagegen.links import Links
from imagegen.ports_callbacks import Callbacks
from imagegen.ports_deliveries import Deliveries, DeliveryHints
from imagegen.ports_erasures import Erasures
from imagegen.ports_events import EventLog
from imagegen.ports_metrics import Metrics
from imagegen.providers.base import Provider
from imagegen.records import (
    Budget,
    Pause,
    Watch,
)  # fmt: skip
from imagegen.reporting import Alerts, Costs
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


class Budgets(Protocol):
    """How much may be committed for jobs of this system's own kind (real or emulated); see `imagegen.budgets`."""

    def set(self, scope: str, period: str, amount: Decimal, hard: bool, *, at: datetime) -> Budget:
        """Sets or changes a budget; what is committed in its present period counts from the start."""
        ...

    def remove(self, scope: str, period: str | None = None) -> int:
        """Removes the scope's budget of this period, or of every one; how many there were."""
        ...

    def list(self, *, at: datetime) -> Sequence[Budget]:
        """By scope and period, with what is committed in the period of `at`."""
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
    costs: Costs
    books: Books
    alerts: Alerts
    pauses: Pauses
    budgets: Budgets
    styles: Styles
    deliveries: Deliveries
    erasures: Erasures
    event_log: EventLog
    callbacks: Callbacks
    metrics: Metrics
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
    links: Links = field(default_factory=Links)
    lives: Mapping[str, timedelta] = field(default_factory=dict)
    watch: Watch = field(default_factory=Watch)
    limits: Limits = field(default_factory=Limits)
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    learnt: Learnt = field(default_factory=Learnt)
    keeping: Keeping = field(default_factory=Keeping)
    askers: Executor = field(default_factory=lambda: ThreadPoolExecutor(policies.POLL_THREADS, "poll"))

    def provider(self, name: str) -> Provider:
        """Raises `Temporary` where its key was taken from this worker: its jobs wait until it is back."""
        if name not in self.providers:
            raise Temporary(f"no key for provider {name} is configured here", {"reason": "provider"})
        return self.providers[name]
