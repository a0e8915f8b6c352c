"""The ports `Jobs`, `EventLog`, `Deliveries`, `Pauses`, `Budgets`, `Styles`, `Clock` in memory, for tests.

What they promise is what the real parts promise. What a process holds here is gone with it; the contract suite runs the
same tests on this and on PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from imagegen.contracts import Style
from imagegen.errors import NotFound
from imagegen.testing.budgets import MemoryBudgets
from imagegen.testing.deliveries import MemoryDeliveries
from imagegen.testing.event_log import MemoryEventLog
from imagegen.testing.jobs import MemoryJobs
from imagegen.testing.pauses import MemoryPauses

__all__ = [
    "ManualClock", "MemoryBudgets", "MemoryDeliveries", "MemoryEventLog", "MemoryJobs", "MemoryPauses", "MemoryStyles",
]  # fmt: skip


class ManualClock:
    """A clock that moves only when told to; `sleep` moves it at once."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now, self._start = start, start

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return (self._now - self._start).total_seconds()

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Moves the hands forward."""
        self._now += timedelta(seconds=seconds)


class MemoryStyles:
    """Stored style capsules in memory."""

    def __init__(self) -> None:
        self._styles: dict[tuple[str | None, str], Style] = {}

    def put(self, style_id: str, style: Style, *, at: datetime, owner: str | None = None) -> None:
        self._styles[owner, style_id] = style

    def get(self, style_id: str, *, owner: str | None = None) -> Style:
        found = dict(self.list(owner=owner))
        if style_id not in found:
            raise NotFound(f"no style {style_id!r}")
        return found[style_id]

    def list(self, *, owner: str | None = None) -> Sequence[tuple[str, Style]]:
        shared = {style_id: style for (whose, style_id), style in self._styles.items() if whose is None}
        own = {style_id: style for (whose, style_id), style in self._styles.items() if whose == owner}
        return sorted((shared | own).items(), key=lambda entry: entry[0])
