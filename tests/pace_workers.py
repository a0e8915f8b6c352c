"""What tests of limits let several processes do at once; each process keeps one connection to the database."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from uuid import UUID, uuid4

from sqlalchemy import func, select

from imagegen.records import Claimed, Limit, Move
from imagegen.states import MoveName, Stage, Status
from storage.engine import Database
from storage.jobs import PostgresJobs
from storage.tables import JOBS

PATIENCE = 40.0
"""Seconds after which a process gives up."""
BUYING = (Status.PROCESSING.value, Status.GENERATING.value)
_BUSY = select(func.count().label("n")).where(JOBS.c.status.in_(BUYING))


@dataclass(frozen=True)
class Task:
    """Where the jobs are, which, under which limit, and the seed of this process's order."""

    url: str
    schema: str
    ids: tuple[UUID, ...]
    limit: Limit | None
    seed: int = 0


@cache
def _database(url: str, schema: str) -> Database:
    return Database(url, schema)


def _open(task: Task) -> tuple[Database, PostgresJobs, list[UUID]]:
    database = _database(task.url, task.schema)
    ids = list(task.ids)
    random.Random(task.seed).shuffle(ids)
    return database, PostgresJobs(database), ids


def move(job_id: UUID, name: MoveName, at: datetime, **given: object) -> Move:
    """A move as a worker writes it."""
    usual: dict[str, object] = {"cause": "test", "worker": "w", "until": at + timedelta(minutes=5)}
    return Move(job_id=job_id, name=name, at=at, **{**usual, **given})  # type: ignore[arg-type]


def ready(task: Task) -> bool:
    """Connects, so that all begin together afterwards."""
    _database(task.url, task.schema).check()
    return True


def claim_once(task: Task, at: datetime) -> list[UUID]:
    """Asks for each job once, all at the same moment; those it got."""
    _, jobs, ids = _open(task)
    found = [jobs.claim(move(one, MoveName.CLAIM, at, claim=uuid4()), None, task.limit) for one in ids]
    return [one.job.id for one in found if isinstance(one, Claimed)]


def give(task: Task, at: datetime) -> int:
    """Gives away the next slots."""
    _, jobs, _ = _open(task)
    assert task.limit is not None
    return jobs.paced(task.limit, at=at)


def work(task: Task, *, hold: float, paces: bool) -> tuple[list[tuple[UUID, datetime | None]], int]:
    """Claims and ends jobs until none is queued; what it got with which slot, and how many were ever busy at once."""
    database, jobs, ids = _open(task)
    assert task.limit is not None
    got: list[tuple[UUID, datetime | None]] = []
    most, left, deadline = 0, ids, time.monotonic() + PATIENCE
    while left and time.monotonic() < deadline:
        if paces:
            jobs.paced(task.limit, at=datetime.now(UTC))
        for job_id in left:
            now = datetime.now(UTC)
            taken = jobs.claim(move(job_id, MoveName.CLAIM, now, claim=uuid4()), None, task.limit)
            if isinstance(taken, Claimed):
                most = max(most, database.run(_BUSY)[0]["n"])
                got.append((job_id, taken.job.slot_at))
                time.sleep(hold)
                jobs.apply(move(job_id, MoveName.FAIL, now, held=taken.job.claim, until=None))
        queued = database.run(select(JOBS.c.id).where(JOBS.c.status == Status.QUEUED.value))
        alive = {row["id"] for row in queued}
        left = [job_id for job_id in left if job_id in alive]
    return got, most


def submit(task: Task, claims: Sequence[UUID]) -> int:
    """Commits the intents of jobs claimed before, one after the other; how many came through."""
    _, jobs, _ = _open(task)
    sent = 0
    for job_id, claim in zip(task.ids, claims, strict=True):
        intent = move(job_id, MoveName.SUBMIT, datetime.now(UTC), held=claim, claim=claim, stage=Stage.GENERATE)
        sent += jobs.apply(intent) is not None
    return sent
