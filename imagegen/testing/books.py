"""What the in-memory double of the port `Jobs` holds, and its books: attempts, ledger and result cache."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from imagegen import budgets, money, policies
from imagegen.jobs import Batch, Job
from imagegen.moves import names_picture, over
from imagegen.outbox import Delivery
from imagegen.records import Attempt, Budget, Cached, Entry, Event, Facts, NewAttempt, Settled

_LEARNT = ("provider_job_id", "result_url", "blob_sha256", "usage", "actual", "error")
_FINAL = ("succeeded", "failed")
_NEW = ("id", "job_id", "number", "provider", "model", "token", "estimate", "emulated")


@dataclass(frozen=True)
class Line:
    """One line of the double's ledger."""

    job_id: UUID
    entry: Entry
    emulated: bool
    at: datetime


def _reserved_on(job: Job) -> date:
    return job.reserved_on or money.utc_day(job.created_at)


@dataclass
class Books:
    """The double's rows, kept consistent by one lock, and all that concerns money."""

    jobs: dict[UUID, Job] = field(default_factory=dict)
    batches: dict[UUID, Batch] = field(default_factory=dict)
    attempts: dict[UUID, Attempt] = field(default_factory=dict)
    ready: dict[UUID, datetime] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    ledger: list[Line] = field(default_factory=list)
    pictures: dict[tuple[str, bool], Cached] = field(default_factory=dict)
    outbox: dict[UUID, Delivery] = field(default_factory=dict)
    budgets: dict[tuple[str, str, bool], tuple[Decimal, bool]] = field(default_factory=dict)
    bought: dict[tuple[str, bool], datetime] = field(default_factory=dict)
    called: dict[UUID, str] = field(default_factory=dict)
    callbacks: Counter[tuple[str, str, datetime]] = field(default_factory=Counter)
    past_callbacks: Counter[tuple[str, str, datetime]] = field(default_factory=Counter)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def standing(self, key: tuple[str, str, bool], day: date, extra: Sequence[Job] = ()) -> Budget:
        """The budget of this scope, period and kind of money on a day; `extra` jobs count in place of their rows."""
        scope, period, emulated = key
        amount, hard = self.budgets[key]
        first = budgets.starts(period, day)
        committed = sum(
            (
                job.committed
                for job in (self.jobs | {one.id: one for one in extra}).values()
                if job.emulated == emulated
                and scope in budgets.scopes(job)
                and budgets.starts(period, _reserved_on(job)) == first
            ),
            money.NOTHING,
        )
        return Budget(scope=scope, period=period, amount=amount, hard=hard, starts=first, committed=committed)

    def _make_room(self, before: Sequence[Job], after: Sequence[Job]) -> None:
        """Raises `BudgetExceeded` where this change of jobs would exceed a hard budget."""
        grown = budgets.growth(before, after)
        days = {day for _, day in grown}
        emulated = {job.emulated for job in after}
        mine = [key for key in self.budgets if key[2] in emulated]
        standing = {(key, one.starts): one for key in mine for day in days if (one := self.standing(key, day, after))}
        budgets.check(grown, list(standing.values()))

    def attempt(self, attempt_id: UUID) -> Attempt | None:
        return self.attempts.get(attempt_id)

    def ordered(self, provider: str, provider_job_id: str) -> Attempt | None:
        with self._lock:
            same = [
                one
                for one in self.attempts.values()
                if (one.provider, one.provider_job_id) == (provider, provider_job_id)
            ]
        return max(same, key=lambda one: (one.submitted_at, one.id), default=None)

    def latencies(self, provider: str, model: str, *, limit: int = 50) -> Sequence[float]:
        with self._lock:
            ready = [
                (one.submitted_at, (self.ready[one.id] - one.submitted_at).total_seconds())
                for one in self.attempts.values()
                if one.id in self.ready and one.state != "failed" and (one.provider, one.model) == (provider, model)
            ]
        return [seconds for _, seconds in sorted(ready, reverse=True)[:limit]]

    def collectable(self, *, at: datetime, limit: int) -> Sequence[Attempt]:
        with self._lock:
            due = sorted(
                (one.collect_at, one.id)
                for one in self.attempts.values()
                if one.collect_at is not None and one.collect_at <= at and self.jobs[one.job_id].terminal
            )
            return [self._put_off(self.attempts[attempt_id], at) for _, attempt_id in due[:limit]]

    def _put_off(self, attempt: Attempt, at: datetime) -> Attempt:
        last = attempt.collects + 1 >= policies.COLLECT_TRIES
        again = None if last else at + policies.COLLECT_EVERY * 2**attempt.collects
        self.attempts[attempt.id] = replace(attempt, collect_at=again, collects=attempt.collects + 1)
        return self.attempts[attempt.id]

    def collected(self, settled: Settled, *, at: datetime) -> None:
        with self._lock:
            attempt = self.attempts.get(settled.facts.attempt_id)
            if attempt is None:
                return
            self._learn(settled.facts, at)
            self.attempts[attempt.id] = replace(self.attempts[attempt.id], collect_at=None)
            job, picture, blob = self.jobs[attempt.job_id], settled.picture, settled.facts.blob_sha256
            for entry in settled.entries:
                self._enter(Line(job.id, entry, job.emulated, at))
            if picture is not None and blob is not None:
                self._remember(job, blob, picture["content_type"], picture, at)

    def _intend(self, new: NewAttempt, at: datetime) -> None:
        given = {name: getattr(new, name) for name in _NEW}
        self.attempts[new.id] = Attempt(**given, state="submitting", submitted_at=at)
        if new.callback is not None:
            self.called[new.id] = new.callback

    def _learn(self, facts: Facts, at: datetime, *, late: bool = False) -> None:
        """`late`: the job had ended, and the facts moved it no more."""
        attempt = self.attempts.get(facts.attempt_id)
        if attempt is None:
            return
        new = {name: getattr(facts, name) for name in _LEARNT if getattr(facts, name) is not None}
        silent = facts.state in {"submitting", "unknown"} and attempt.state != "submitting"
        early = facts.state not in _FINAL and attempt.state in _FINAL
        if not silent and not early:
            new["state"] = facts.state
        if facts.collect or (late and names_picture(facts)):
            new["collect_at"] = at
        self.attempts[attempt.id] = replace(attempt, **new)
        if over(facts):
            self.ready.setdefault(attempt.id, at)

    def _enter(self, line: Line) -> None:
        kind, run = line.entry.kind, line.entry.run
        own = [one.entry for one in self.ledger if one.entry.attempt_id == line.entry.attempt_id]
        final = [one.kind for one in own if one.kind != "reserve"]
        said = [one.kind for one in own if kind == "reserve" or one.run == run]
        stands = kind in said or final[-1:] == [kind] or any(one.run > run for one in own)
        if line.entry.attempt_id is None or not stands:
            self.ledger.append(line)

    def _remember(self, job: Job, blob: str, content_type: str, sizes: Mapping[str, Any], at: datetime) -> None:
        if job.fingerprint:
            self.bought[job.fingerprint, job.emulated] = at
            self.pictures[job.fingerprint, job.emulated] = Cached(
                fingerprint=job.fingerprint,
                blob_sha256=blob,
                content_type=content_type,
                **{name: sizes[name] for name in ("width", "height", "bytes")},
            )
