"""What the tests of admission share: services in memory, a clock that stands still, a web without sockets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

from imagegen import catalog
from imagegen.contracts import Style
from imagegen.errors import IdempotencyConflict, ImagegenError, NotFound
from imagegen.jobs import Batch, Job
from imagegen.ports import Admitted, Services
from imagegen.testing.blobs import MemoryBlobs
from imagegen.transport import Reply

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
CATALOG = catalog.load()


class StillClock:
    """A clock whose hands are moved by hand."""

    def __init__(self) -> None:
        self.elapsed = 0.0

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.elapsed)

    def monotonic(self) -> float:
        return self.elapsed

    def sleep(self, seconds: float) -> None:
        self.elapsed += seconds


class Web:
    """Answers by URL. `slow` seconds pass on the clock for each call."""

    def __init__(self, clock: StillClock) -> None:
        self.pages: dict[str, Reply | ImagegenError] = {}
        self.asked: list[str] = []
        self.slow = 0.0
        self._clock = clock

    def serve(self, url: str, body: bytes, status: int = 200, **headers: str) -> str:
        self.pages[url] = Reply(status, headers, body)
        return url

    def call(self, method: str, url: str, *, total: float, max_bytes: int) -> Reply:
        assert method == "GET"
        assert total > 0
        self.asked.append(url)
        self._clock.sleep(self.slow)
        answer = self.pages.get(url, Reply(404, {}, b"gone"))
        if isinstance(answer, ImagegenError):
            raise answer
        assert len(answer.body) <= max_bytes
        return answer


class Rows:
    """The part of `Jobs` that admission uses."""

    def __init__(self) -> None:
        self.jobs: dict[UUID, Job] = {}
        self.batches: dict[UUID, Batch] = {}
        self.writes = 0

    def admit(self, jobs: Sequence[Job], batch: Batch | None, *, worker: str) -> Admitted:
        old = self.batches.get(batch.id) if batch else self.jobs.get(jobs[0].id)
        new = batch or jobs[0]
        if old is None:
            self.writes += 1
            self.jobs |= {job.id: job for job in jobs}
            self.batches |= {batch.id: batch} if batch else {}
            return Admitted(jobs=list(jobs), batch=batch, created=True)
        if old.body_sha256 != new.body_sha256:
            raise IdempotencyConflict("used for another request")
        return Admitted(jobs=[self.jobs[job.id] for job in jobs], batch=batch, created=False)

    def get(self, job_id: UUID) -> Job:
        if job_id not in self.jobs:
            raise NotFound(f"no job {job_id}")
        return self.jobs[job_id]

    def get_batch(self, batch_id: UUID) -> tuple[Batch, list[Job]]:
        if batch_id not in self.batches:
            raise NotFound(f"no batch {batch_id}")
        return self.batches[batch_id], [job for job in self.jobs.values() if job.batch_id == batch_id]


class Capsules:
    """Stored styles."""

    def __init__(self) -> None:
        self.stored: dict[str, Style] = {}

    def put(self, style_id: str, style: Style, *, at: datetime) -> None:
        self.stored[style_id] = style

    def get(self, style_id: str) -> Style:
        if style_id not in self.stored:
            raise NotFound(f"no style {style_id!r}")
        return self.stored[style_id]

    def list(self) -> list[tuple[str, Style]]:
        return sorted(self.stored.items())


class HeardHints:
    """Remembers what was hinted at; `outage` is raised instead."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, list[UUID]]] = []
        self.outage: ImagegenError | None = None

    def jobs(self, jobs: Iterable[Job]) -> None:
        self._hear("jobs", list(jobs))

    def batch(self, batch: Batch, jobs: Sequence[Job]) -> None:
        self._hear("batch", list(jobs))

    def _hear(self, kind: str, jobs: list[Job]) -> None:
        if self.outage is not None:
            raise self.outage
        self.heard.append((kind, [job.id for job in jobs]))


@dataclass
class Shop:
    """A provider that nobody buys from: admission never calls one."""

    name: str
    takes_bytes: bool
    synchronous: bool = False
    reconcile_window: float = 0.0

    def submit(self, order: Any, *, callback_url: str | None) -> Any:
        raise AssertionError("admission bought something")

    def poll(self, provider_job_id: str) -> Any:
        raise AssertionError("admission asked a provider")

    def credit(self) -> Decimal | None:
        raise AssertionError("admission asked a provider")


@dataclass
class World:
    """Services and the parts behind them. `with_` gives the same world under other settings."""

    clock: StillClock = field(default_factory=StillClock)
    rows: Rows = field(default_factory=Rows)
    styles: Capsules = field(default_factory=Capsules)
    blobs: MemoryBlobs = field(default_factory=MemoryBlobs)
    hints: HeardHints = field(default_factory=HeardHints)
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.web = Web(self.clock)

    @property
    def services(self) -> Services:
        parts: dict[str, Any] = {
            "jobs": self.rows, "styles": self.styles, "blobs": self.blobs, "hints": self.hints, "clock": self.clock,
            "transport": self.web, "catalog": CATALOG, "breaker": None, "results": None, "emulated": True,
            "worker": "test",
            "providers": {"nanobanana": Shop("nanobanana", False), "gemini": Shop("gemini", True)},
        }  # fmt: skip
        return Services(**cast(Any, parts | self.settings))

    def with_(self, **settings: Any) -> Services:
        return replace(self.services, **settings)
