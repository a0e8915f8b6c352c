"""What the tests of admission share: services in memory and a web without sockets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

from imagegen import catalog
from imagegen.errors import ImagegenError
from imagegen.jobs import Batch, Job
from imagegen.ports import Services
from imagegen.states import Stage
from imagegen.testing.alerts import MemoryAlerts
from imagegen.testing.blobs import MemoryBlobs
from imagegen.testing.callbacks import MemoryCallbacks
from imagegen.testing.costs import MemoryCosts
from imagegen.testing.erasing import MemoryErasures
from imagegen.testing.memory import (
    ManualClock,
    MemoryBudgets,
    MemoryDeliveries,
    MemoryEventLog,
    MemoryJobs,
    MemoryPauses,
    MemoryStyles,
)  # fmt: skip
from imagegen.testing.metrics import MemoryMetrics
from imagegen.transport import Reply

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
CATALOG = catalog.load()


class Web:
    """Answers by URL. `slow` seconds pass on the clock for each call."""

    def __init__(self, clock: ManualClock) -> None:
        self.pages: dict[str, Reply | ImagegenError] = {}
        self.asked: list[str] = []
        self.pinned: list[tuple[str, ...]] = []
        self.slow = 0.0
        self._clock = clock

    def serve(self, url: str, body: bytes, status: int = 200, **headers: str) -> str:
        self.pages[url] = Reply(status, headers, body)
        return url

    def call(self, method: str, url: str, *, total: float, max_bytes: int, addresses: Sequence[str]) -> Reply:
        assert method == "GET"
        self.pinned.append(tuple(addresses))
        assert total > 0
        self.asked.append(url)
        self._clock.sleep(self.slow)
        answer = self.pages.get(url, Reply(404, {}, b"gone"))
        if isinstance(answer, ImagegenError):
            raise answer
        assert len(answer.body) <= max_bytes
        return answer


class HeardHints:
    """Remembers what was hinted at; `outage` is raised instead."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, list[UUID]]] = []
        self.outage: ImagegenError | None = None

    def jobs(self, jobs: Iterable[Job]) -> None:
        self._hear("jobs", list(jobs))

    def batch(self, batch: Batch, jobs: Sequence[Job]) -> None:
        self._hear("batch", list(jobs))

    def collect(self, attempt_id: UUID) -> None:
        raise AssertionError("admission collected a picture")

    def crowded(self) -> frozenset[Stage]:
        return frozenset()

    def _hear(self, kind: str, jobs: list[Job]) -> None:
        if self.outage is not None:
            raise self.outage
        self.heard.append((kind, [job.id for job in jobs]))


@dataclass
class Shop:
    """A provider that nobody buys from: admission never calls one, a dry run asks for its balance (`left`)."""

    name: str
    takes_bytes: bool
    synchronous: bool = False
    reconcile_window: float = 0.0
    left: Decimal | ImagegenError | None = None

    def submit(self, order: Any, *, callback_url: str | None) -> Any:
        raise AssertionError("admission bought something")

    def poll(self, provider_job_id: str) -> Any:
        raise AssertionError("admission asked a provider")

    def credit(self) -> Decimal | None:
        if isinstance(self.left, ImagegenError):
            raise self.left
        return self.left


@dataclass
class World:
    """Services and the parts behind them; `settings` replaces any of them."""

    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW))
    styles: MemoryStyles = field(default_factory=MemoryStyles)
    blobs: MemoryBlobs = field(default_factory=MemoryBlobs)
    hints: HeardHints = field(default_factory=HeardHints)
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows = MemoryJobs()
        self.alerts = MemoryAlerts(self.rows)
        self.web = Web(self.clock)

    @property
    def written(self) -> int:
        """How many jobs there are."""
        return len(self.rows.jobs)

    @property
    def services(self) -> Services:
        parts: dict[str, Any] = {
            "jobs": self.rows, "styles": self.styles, "blobs": self.blobs, "hints": self.hints, "clock": self.clock,
            "costs": MemoryCosts(self.rows), "books": None, "alerts": self.alerts,
            "pauses": MemoryPauses(self.rows), "budgets": MemoryBudgets(self.rows, emulated=True),
            "deliveries": MemoryDeliveries(self.rows), "event_log": MemoryEventLog(self.rows),
            "callbacks": MemoryCallbacks(self.rows), "metrics": MemoryMetrics(self.rows, self.alerts),
            "erasures": MemoryErasures(self.rows),
            "transport": self.web, "catalog": CATALOG, "breaker": None,
            "results": None, "emulated": True, "worker": "test",
            "providers": {"nanobanana": Shop("nanobanana", False), "gemini": Shop("gemini", True)},
        }  # fmt: skip
        return Services(**cast(Any, parts | self.settings))

    def with_(self, **settings: Any) -> Services:
        """The same world under other settings."""
        return replace(self.services, **settings)
