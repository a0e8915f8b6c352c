"""The port `Alerts` in memory, over the jobs of a double."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from imagegen import policies
from imagegen.alerts import CHOSEN_WAITS
from imagegen.jobs import Job
from imagegen.records import Alert, Spent, Variance, Watched
from imagegen.states import MoveName, Status
from imagegen.testing.jobs import MemoryJobs

_ENDS = {MoveName.COMPLETE, MoveName.STAND_IN, MoveName.FAIL}
_SPENT = {"settle", "waste", "uncertain"}


class MemoryAlerts:
    """See `imagegen.reporting.Alerts`."""

    def __init__(self, jobs: MemoryJobs) -> None:
        self._jobs = jobs
        self.raised: dict[str, Alert] = {}
        self.telling: dict[str, datetime] = {}
        self.crossings: Counter[str] = Counter()

    def watched(self, *, at: datetime, emulated: bool) -> Watched:
        with self._jobs.lock:
            jobs = {key: job for key, job in self._jobs.jobs.items() if job.emulated == emulated}
            since = [_since(job) for job in jobs.values() if _waits(job)]
            ends = [one.status for one in self._jobs.events if one.move in _ENDS and one.job_id in jobs]
        newest = ends[-policies.FAILURES_OF :]
        return Watched(
            oldest=min(since, default=None), ended=len(newest), failed=sum(end == Status.FAILED for end in newest)
        )

    def spent(self, *, at: datetime, emulated: bool) -> Spent:
        hour = at - timedelta(hours=1)
        with self._jobs.lock:
            told = [one for one in self._jobs.ledger if one.entry.kind != "reserve" and one.at <= at]
            final = {one.entry.attempt_id: one for one in told}.values()
            lines = [
                one
                for one in final
                if one.emulated == emulated and one.entry.kind in _SPENT and hour - timedelta(days=7) < one.at
            ]
        first = min((one.at for one in lines), default=hour)
        return Spent(
            last_hour=sum((one.entry.amount for one in lines if one.at > hour), Decimal(0)),
            before=sum((one.entry.amount for one in lines if one.at <= hour), Decimal(0)),
            days=max(Decimal(0), Decimal((hour - first).total_seconds()) / 86400),
            variances=self._variances(emulated),
        )

    def list(self) -> Sequence[Alert]:
        return sorted(self.raised.values(), key=lambda one: (one.raised_at, one.key))

    def raise_alert(self, alert: Alert) -> bool:
        if alert.key in self.raised:
            return False
        self.raised[alert.key] = alert
        self.crossings[alert.kind] += 1
        return True

    def clear(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.raised.pop(key, None)
            self.telling.pop(key, None)

    def untold(self, *, at: datetime, patience: timedelta) -> Sequence[Alert]:
        with self._jobs.lock:
            found = [one for one in self.list() if one.told_at is None and self.telling.get(one.key, at) <= at]
            self.telling |= {one.key: at + patience for one in found}
        return found

    def told(self, keys: Sequence[str], *, at: datetime | None) -> None:
        for key in keys:
            self.telling.pop(key, None)
            if key in self.raised:
                self.raised[key] = replace(self.raised[key], told_at=at)

    def _variances(self, emulated: bool) -> Sequence[Variance]:
        settled: dict[tuple[str, str], list[tuple[datetime, Decimal, Decimal]]] = defaultdict(list)
        for line in self._jobs.ledger:
            attempt = self._jobs.attempts.get(line.entry.attempt_id) if line.entry.attempt_id else None
            if line.entry.kind == "settle" and attempt is not None and attempt.emulated == emulated:
                told = (attempt.submitted_at, attempt.estimate, line.entry.amount)
                settled[attempt.provider, attempt.model].append(told)
        newest = {model: sorted(lines)[-policies.VARIANCE_OF :] for model, lines in sorted(settled.items())}
        return tuple(_variance(*model, lines) for model, lines in newest.items())


def _variance(provider: str, model: str, lines: Sequence[tuple[datetime, Decimal, Decimal]]) -> Variance:
    return Variance(
        provider=provider, model=model, pictures=len(lines), estimated=sum((line[1] for line in lines), Decimal(0)),
        actual=sum((line[2] for line in lines), Decimal(0)),
    )  # fmt: skip


def _waits(job: Job) -> bool:
    return job.status is Status.QUEUED and job.waiting_for not in CHOSEN_WAITS


def _since(job: Job) -> datetime:
    return job.updated_at if job.run > 1 else job.scheduled_at or job.created_at
