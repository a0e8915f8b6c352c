"""The port `Callbacks` in memory, over the attempts that it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from imagegen.ports_callbacks import Tally
from imagegen.testing.jobs import MemoryJobs


class MemoryCallbacks:
    """See `imagegen.ports.Callbacks`."""

    def __init__(self, jobs: MemoryJobs) -> None:
        self._jobs = jobs

    def count(
        self, provider: str, outcome: str, *, at: datetime, attempt_id: UUID | None = None, delivery: str | None = None
    ) -> str:
        with self._jobs.lock:
            attempt = self._jobs.attempts.get(attempt_id) if attempt_id else None
            if attempt is not None:
                outcome = "repeated" if delivery is not None and attempt.delivery == delivery else outcome
                self._jobs.attempts[attempt.id] = replace(attempt, delivery=delivery)
                if self._jobs.called.get(attempt.id) != "missed":
                    self._jobs.called[attempt.id] = "arrived"
            self._jobs.callbacks[provider, outcome, _hour(at)] += 1
            return outcome

    def missed(self, *, at: datetime, patience: timedelta, limit: int) -> int:
        with self._jobs.lock:
            expected = [one for one, told in self._jobs.called.items() if told == "expected"]
            ready = {one: self._jobs.ready[one] for one in expected if one in self._jobs.ready}
            late = sorted((since, one) for one, since in ready.items() if since <= at - patience)[:limit]
            for _, one in late:
                self._jobs.called[one] = "missed"
                self._jobs.callbacks[self._jobs.attempts[one].provider, "missed", _hour(at)] += 1
            return len(late)

    def forget(self, *, before: datetime) -> None:
        with self._jobs.lock:
            for key in [key for key in self._jobs.callbacks if key[2] < before]:
                self._jobs.past_callbacks[key] += self._jobs.callbacks.pop(key)

    def tallies(self, *, at: datetime) -> Sequence[Tally]:
        day: Counter[tuple[str, str]] = Counter()
        week: Counter[tuple[str, str]] = Counter()
        with self._jobs.lock:
            for (provider, outcome, hour), count in self._jobs.callbacks.items():
                day[provider, outcome] += count if hour > at - timedelta(days=1) else 0
                week[provider, outcome] += count if hour > at - timedelta(days=7) else 0
        counted = sorted(key for key, count in week.items() if count)
        return [Tally(provider=key[0], outcome=key[1], day=day[key], week=week[key]) for key in counted]


def _hour(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
