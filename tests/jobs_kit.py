"""Short ways to build jobs and moves, and the port `Jobs` in memory and on PostgreSQL behind one harness."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any, Protocol
from uuid import UUID, uuid4

from sqlalchemy import select, update

from imagegen import money
from imagegen.job_store import Jobs
from imagegen.jobs import Batch, Job
from imagegen.moves import UNTIMED
from imagegen.ports import Budgets, Deliveries, Pauses
from imagegen.ports_callbacks import Callbacks
from imagegen.ports_erasures import Erasures
from imagegen.ports_events import EventLog
from imagegen.ports_metrics import Metrics
from imagegen.records import Attempt, Claimed, Entry, Facts, Move, NewAttempt
from imagegen.reporting import Alerts, Costs
from imagegen.states import MOVES, TERMINAL, BatchStatus, MoveName, Stage, Status
from imagegen.testing.alerts import MemoryAlerts
from imagegen.testing.callbacks import MemoryCallbacks
from imagegen.testing.costs import MemoryCosts
from imagegen.testing.erasing import MemoryErasures
from imagegen.testing.memory import MemoryBudgets, MemoryDeliveries, MemoryEventLog, MemoryJobs, MemoryPauses
from imagegen.testing.metrics import MemoryMetrics
from storage.alerts import PostgresAlerts
from storage.budgets import PostgresBudgets
from storage.callbacks import PostgresCallbacks
from storage.costs import PostgresCosts
from storage.deliveries import PostgresDeliveries
from storage.engine import Database
from storage.erasing import PostgresErasures
from storage.event_log import PostgresEventLog
from storage.jobs import PostgresJobs
from storage.metrics import PostgresMetrics
from storage.pauses import PostgresPauses
from storage.tables import JOBS, LEDGER

# Whole microseconds, a little in the past, so that the server's own clock has passed it.
NOW = datetime.now(UTC) - timedelta(minutes=1)
CENTS = Decimal("0.039")
GRACE = timedelta(seconds=5)
Line = tuple[str, Decimal, UUID | None]


def at(seconds: float) -> datetime:
    """`seconds` after the moment that the tests begin with."""
    return NOW + timedelta(seconds=seconds)


def new_job(**given: Any) -> Job:
    """A queued job of one owner, due now."""
    usual: dict[str, Any] = {
        "id": uuid4(),
        "owner": "ada",
        "status": Status.QUEUED,
        "stage": Stage.GENERATE,
        "job_type": "master_asset",
        "project_id": "demo",
        "branch_id": "main",
        "provider": "fal",
        "model": "nano-banana",
        "width": 1024,
        "height": 1024,
        "format": "png",
        "created_at": NOW,
        "updated_at": NOW,
        "next_run_at": NOW,
        "deadline_at": at(600),
        "cost_estimated": CENTS,
        "fingerprint": uuid4().hex,
        "request": {"prompt": "a fox", "referenceImages": []},
    }
    return money.admitted(Job(**{**usual, **given}))


def new_batch(size: int, **given: Any) -> tuple[Batch, list[Job]]:
    """A batch and its queued jobs."""
    usual: dict[str, Any] = {"id": uuid4(), "owner": "ada", "status": BatchStatus.QUEUED, "created_at": NOW}
    batch = Batch(**{**usual, **given}, size=size)
    return batch, [new_job(batch_id=batch.id, batch_index=index) for index in range(size)]


def step(job: Job, name: MoveName, seconds: float = 0, **given: Any) -> Move:
    """A move of the job `seconds` after the beginning; live jobs run again half a minute later."""
    untimed = name in UNTIMED or MOVES[name].target in TERMINAL
    usual: dict[str, Any] = {"cause": "test", "worker": "w1", "until": None if untimed else at(seconds + 30)}
    return Move(job_id=job.id, name=name, at=at(seconds), **{**usual, **given})


class Store(Protocol):
    """A store of jobs, and what tests look up behind the port."""

    jobs: Jobs

    @property
    def pauses(self) -> Pauses:
        """The pauses that these jobs keep."""
        ...

    @property
    def event_log(self) -> EventLog:
        """The histories of these jobs as one log."""
        ...

    @property
    def deliveries(self) -> Deliveries:
        """The outbox of these jobs."""
        ...

    @property
    def callbacks(self) -> Callbacks:
        """The books about callbacks to these jobs."""
        ...

    @property
    def erasures(self) -> Erasures:
        """What forgets these jobs."""
        ...

    def budgets(self, *, emulated: bool = False) -> Budgets:
        """The budgets of real money, or of emulated."""
        ...

    @property
    def alerts(self) -> Alerts:
        """The alerts about these jobs."""
        ...

    @property
    def metrics(self) -> Metrics:
        """The figures of these jobs and alerts."""
        ...

    @property
    def costs(self) -> Costs:
        """The reports over these jobs."""
        ...

    def entries(self, job_id: UUID) -> list[Entry]:
        """The job's lines in the books, as they were written."""
        ...

    def ledger(self, job_id: UUID) -> list[Line]:
        """Of these kind, amount, attempt."""
        ...

    def wake(self, job_id: UUID, moment: datetime) -> None:
        """What a provider's callback does: due at once, and remembered until the job rests again."""
        ...


@dataclass
class MemoryStore:
    """The double."""

    jobs: MemoryJobs

    @property
    def pauses(self) -> MemoryPauses:
        return MemoryPauses(self.jobs)

    @property
    def event_log(self) -> MemoryEventLog:
        return MemoryEventLog(self.jobs)

    @property
    def deliveries(self) -> MemoryDeliveries:
        return MemoryDeliveries(self.jobs)

    @property
    def callbacks(self) -> MemoryCallbacks:
        return MemoryCallbacks(self.jobs)

    @cached_property
    def erasures(self) -> MemoryErasures:
        return MemoryErasures(self.jobs)

    def budgets(self, *, emulated: bool = False) -> MemoryBudgets:
        return MemoryBudgets(self.jobs, emulated=emulated)

    @cached_property
    def alerts(self) -> MemoryAlerts:
        return MemoryAlerts(self.jobs)

    @cached_property
    def metrics(self) -> MemoryMetrics:
        return MemoryMetrics(self.jobs, self.alerts)

    @property
    def costs(self) -> MemoryCosts:
        return MemoryCosts(self.jobs)

    def entries(self, job_id: UUID) -> list[Entry]:
        return [line.entry for line in self.jobs.ledger if line.job_id == job_id]

    def ledger(self, job_id: UUID) -> list[Line]:
        return [(entry.kind, entry.amount, entry.attempt_id) for entry in self.entries(job_id)]

    def wake(self, job_id: UUID, moment: datetime) -> None:
        self.jobs.jobs[job_id] = replace(self.jobs.jobs[job_id], woken=True, next_run_at=moment)


@dataclass
class PostgresStore:
    """The real part."""

    jobs: PostgresJobs
    database: Database

    @property
    def pauses(self) -> PostgresPauses:
        return PostgresPauses(self.database)

    @property
    def event_log(self) -> PostgresEventLog:
        return PostgresEventLog(self.database)

    @property
    def deliveries(self) -> PostgresDeliveries:
        return PostgresDeliveries(self.database)

    @property
    def callbacks(self) -> PostgresCallbacks:
        return PostgresCallbacks(self.database)

    @property
    def erasures(self) -> PostgresErasures:
        return PostgresErasures(self.database)

    def budgets(self, *, emulated: bool = False) -> PostgresBudgets:
        return PostgresBudgets(self.database, emulated=emulated)

    @property
    def alerts(self) -> PostgresAlerts:
        return PostgresAlerts(self.database)

    @property
    def metrics(self) -> PostgresMetrics:
        return PostgresMetrics(self.database)

    @property
    def costs(self) -> PostgresCosts:
        return PostgresCosts(self.database)

    def entries(self, job_id: UUID) -> list[Entry]:
        rows = self.database.run(select(LEDGER).where(LEDGER.c.job_id == job_id).order_by(LEDGER.c.id))
        names = ("kind", "amount", "attempt_id", "price", "run")
        return [Entry(**{name: row[name] for name in names}) for row in rows]

    def ledger(self, job_id: UUID) -> list[Line]:
        return [(entry.kind, entry.amount, entry.attempt_id) for entry in self.entries(job_id)]

    def wake(self, job_id: UUID, moment: datetime) -> None:
        self.database.run(update(JOBS).where(JOBS.c.id == job_id).values(woken=True, next_run_at=moment))


def admit(store: Store, **given: Any) -> Job:
    """One admitted job."""
    return store.jobs.admit([new_job(**given)], None, worker="w1").jobs[0]


def moved(store: Store, move: Move) -> Job:
    """The job after a move that must happen."""
    job = store.jobs.apply(move)
    assert job is not None
    return job


def claimed(store: Store, job: Job, name: MoveName = MoveName.CLAIM, seconds: float = 0) -> Job:
    """The job in a worker's hands."""
    taken = store.jobs.claim(step(job, name, seconds, claim=uuid4()), None)
    assert isinstance(taken, Claimed)
    return taken.job


def submitted(store: Store, job: Job, seconds: float = 0) -> Job:
    """The job claimed, with the intent of a new attempt committed and its price reserved."""
    held = claimed(store, job, seconds=seconds)
    attempt = NewAttempt(
        id=uuid4(),
        job_id=job.id,
        number=held.attempts + 1,
        provider=held.provider,
        model=held.model,
        token=uuid4().hex,
        estimate=CENTS,
        emulated=False,
    )
    entry = Entry(kind="reserve", amount=CENTS, attempt_id=attempt.id, price={"perImage": CENTS})
    intent = {"held": held.claim, "claim": held.claim, "new_attempt": attempt, "entries": (entry,)}
    return moved(store, step(job, MoveName.SUBMIT, seconds, stage=Stage.GENERATE, **intent))


def facts(job: Job, state: Any, **known: Any) -> Facts:
    """What became known of the job's attempt."""
    assert job.attempt_id is not None
    return Facts(attempt_id=job.attempt_id, state=state, **known)


def attempt(store: Store, job: Job) -> Attempt:
    """The job's newest attempt."""
    assert job.attempt_id is not None
    found = store.jobs.attempt(job.attempt_id)
    assert found is not None
    return found


def known(store: Store, job: Job) -> Facts:
    """What answers taught of the job's newest attempt."""
    found = attempt(store, job)
    names = [field.name for field in fields(Facts) if field.name not in {"attempt_id", "collect"}]
    return Facts(attempt_id=found.id, **{name: getattr(found, name) for name in names})


def accepted(store: Store, job: Job, seconds: float = 0) -> Job:
    """The job bought, resting until its first poll thirty seconds later."""
    job = submitted(store, job, seconds)
    answer = {"changes": {"provider_job_id": "p1"}, "facts": facts(job, "accepted", provider_job_id="p1")}
    rest = {"stage": Stage.POLL, "parked": True, "waiting_for": "provider"}
    return moved(store, step(job, MoveName.ACCEPT, seconds, **answer, **rest))


def delivered(store: Store, job: Job, seconds: float = 0) -> Job:
    """The job with its picture's bytes in the store, on its way to the upload."""
    job = submitted(store, job, seconds)
    changes = {"blob_sha256": "b" * 64, "blob_content_type": "image/png", "cost_credits": CENTS}
    told = facts(job, "succeeded", blob_sha256="b" * 64, actual=CENTS)
    return moved(store, step(job, MoveName.DELIVER, seconds, stage=Stage.UPLOAD, changes=changes, facts=told))


def completed(store: Store, job: Job, seconds: float = 0, **changes: Any) -> Job:
    """The job at its good end, its original in the cache."""
    job = delivered(store, job, seconds)
    held = claimed(store, job, MoveName.PUBLISH, seconds)
    settle = Entry(kind="settle", amount=CENTS, attempt_id=job.attempt_id)
    picture = {"picture": {"width": 1344, "height": 768, "bytes": 4711}}
    end = step(job, MoveName.COMPLETE, seconds, held=held.claim, changes=changes, entries=(settle,), detail=picture)
    return moved(store, end)
