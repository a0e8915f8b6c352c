"""The port `Metrics` in memory, over the jobs and alerts of the doubles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal

from imagegen.alerts import CHOSEN_WAITS
from imagegen.jobs import Job
from imagegen.outbox import State
from imagegen.pace import IN_FLIGHT, PACE
from imagegen.ports_metrics import CREDITS_LIFE, Sample
from imagegen.records import Event
from imagegen.states import MoveName, Status
from imagegen.testing.alerts import MemoryAlerts
from imagegen.testing.books import Line
from imagegen.testing.jobs import MemoryJobs

_ENDS = {MoveName.COMPLETE, MoveName.STAND_IN, MoveName.FAIL, MoveName.CANCEL}
_MONEY = {"settle", "waste", "uncertain"}
_UNTAKEN = {State.DISABLED, State.FAILED, State.REFUSED}
_Labels = tuple[tuple[str, str], ...]
_Told = tuple[str, _Labels, Decimal | int]


class MemoryMetrics:
    """See `imagegen.ports_metrics.Metrics`."""

    def __init__(self, jobs: MemoryJobs, alerts: MemoryAlerts) -> None:
        self._jobs, self._alerts = jobs, alerts
        self._credits: dict[_Labels, tuple[Decimal, datetime]] = {}

    def figures(self, *, at: datetime) -> Sequence[Sample]:
        sums: dict[tuple[str, _Labels], Decimal] = defaultdict(Decimal)
        with self._jobs.lock:
            for name, labels, value in [*self._counted(), *self._standing()]:
                sums[name, labels] += value
            for name, labels, since in self._waiting(at):
                waited = Decimal(str((at - since).total_seconds()))
                sums[name, labels] = max(sums[name, labels], waited)
        for labels, (left, asked) in self._credits.items():
            if asked > at - CREDITS_LIFE:
                sums["credits", labels] = left
        return [Sample(name=name, labels=dict(labels), value=value) for (name, labels), value in sorted(sums.items())]

    def balance(self, provider: str, left: Decimal, *, emulated: bool, at: datetime) -> None:
        self._credits[_labels(provider=provider, emulated=emulated)] = (left, at)

    def _counted(self) -> Iterator[_Told]:
        for event in self._jobs.events:
            yield from _end(event, self._jobs.jobs[event.job_id])
        yield from self._lines()
        for (provider, outcome, _), count in (self._jobs.callbacks + self._jobs.past_callbacks).items():
            yield "callbacks", _labels(provider=provider, outcome=outcome), count
        for kind, count in self._alerts.crossings.items():
            yield "alerts", _labels(kind=kind), count

    def _lines(self) -> Iterator[_Told]:
        """Each line takes the place of the one before it of the same attempt."""
        newest: dict[object, Line] = {}
        for line in self._jobs.ledger:
            if line.entry.kind == "reserve":
                continue
            yield from self._line("ledger", line, line.entry.amount)
            yield from self._line("spend", line, line.entry.amount)
            if line.entry.attempt_id is not None:
                before, newest[line.entry.attempt_id] = newest.get(line.entry.attempt_id), line
                if before is not None:
                    yield from self._line("spend", before, -before.entry.amount)

    def _line(self, name: str, line: Line, value: Decimal) -> Iterator[_Told]:
        attempt = self._jobs.attempts.get(line.entry.attempt_id) if line.entry.attempt_id else None
        provider, model = ("", "") if attempt is None else (attempt.provider, attempt.model)
        if line.entry.kind in _MONEY:
            yield name, _labels(kind=line.entry.kind, provider=provider, model=model, emulated=line.emulated), value

    def _standing(self) -> Iterator[_Told]:
        for job in self._jobs.jobs.values():
            if not job.terminal:
                yield "jobs", _labels(status=job.status, emulated=job.emulated), 1
        for alert in self._alerts.list():
            yield "active_alerts", _labels(kind=alert.kind), 1
            if alert.told_at is None:
                yield "untold_alerts", _labels(kind=alert.kind), 1
        for delivery in self._jobs.outbox.values():
            if delivery.state is State.DUE or delivery.state in _UNTAKEN:
                yield "deliveries", _labels(state=delivery.state), 1

    def _waiting(self, at: datetime) -> Iterator[tuple[str, _Labels, datetime]]:
        for job in self._jobs.jobs.values():
            whose = _labels(emulated=job.emulated)
            if job.status is Status.QUEUED and job.waiting_for not in CHOSEN_WAITS:
                yield "oldest_queued", whose, job.updated_at if job.run > 1 else job.scheduled_at or job.created_at
            slotless = job.waiting_for in {PACE, IN_FLIGHT} and job.slot_at is None and job.deadline_at > at
            if job.next_run_at is not None and job.next_run_at <= at and not slotless:
                yield "oldest_due", whose, job.next_run_at


def _end(event: Event, job: Job) -> Iterator[_Told]:
    if event.move not in _ENDS:
        return
    code = event.cause if event.move == MoveName.FAIL else ""
    yield "ended", _labels(status=event.status, code=code, emulated=job.emulated), 1
    if event.move == MoveName.COMPLETE and job.cache_hit:
        model = _labels(provider=job.provider, model=job.model, emulated=job.emulated)
        yield "hits", model, 1
        if job.cost_estimated is not None:
            yield "saved", model, job.cost_estimated


def _labels(**told: str | bool) -> _Labels:
    return tuple(sorted((name, str(one).lower() if isinstance(one, bool) else str(one)) for name, one in told.items()))
