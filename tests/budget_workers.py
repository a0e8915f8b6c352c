"""What tests of budgets let several processes do at once; each process keeps one connection to the database."""

from __future__ import annotations

import os
import random
import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import storage.admission
from imagegen.errors import BudgetExceeded
from imagegen.jobs import Job
from imagegen.records import Move
from imagegen.states import MoveName
from storage.engine import Database
from storage.jobs import PostgresJobs
from tests.jobs_kit import new_batch, new_job

DIME = Decimal("0.10")


@dataclass(frozen=True)
class Till:
    """Where jobs are admitted, and the seed of what this process does."""

    url: str
    schema: str
    seed: int = 0


@cache
def database(url: str, schema: str) -> Database:
    """This process's database."""
    return Database(url, schema)


def ready(till: Till) -> bool:
    """Connects, so that all begin together afterwards."""
    database(till.url, till.schema).check()
    return True


def dime(**given: Any) -> Job:
    """A job of ten cents with time enough."""
    now = datetime.now(UTC)
    times = {"created_at": now, "updated_at": now, "next_run_at": now, "deadline_at": now + timedelta(hours=1)}
    return new_job(**{**times, "cost_estimated": DIME, **given})


def submit(till: Till, count: int, size: int) -> tuple[int, list[dict[str, Any]]]:
    """Admits `count` times a job (or a batch of `size`) of ten cents each; how many jobs, and what the refused were
    told."""
    jobs = PostgresJobs(database(till.url, till.schema))
    admitted, told = 0, []
    for _ in range(count):
        try:
            admitted += len(_admit(jobs, size))
        except BudgetExceeded as refusal:
            told.append(dict(refusal.details))
    return admitted, told


def _admit(jobs: PostgresJobs, size: int) -> list[Job]:
    if size == 1:
        return list(jobs.admit([dime()], None, worker="w").jobs)
    batch, members = new_batch(size)
    priced = [replace(dime(), batch_id=batch.id, batch_index=index) for index, _ in enumerate(members)]
    return list(jobs.admit(priced, batch, worker="w").jobs)


def die_admitting(till: Till, told: Any) -> None:
    """Writes a job, says so, and waits before its transaction ends for whoever kills this process."""

    def never(*_: Any) -> None:
        told.send(os.getpid())
        time.sleep(60)

    storage.admission.budgets.make_room = never
    PostgresJobs(database(till.url, till.schema)).admit([dime()], None, worker="w")


def bustle(store: PostgresJobs, seed: int, rounds: int) -> list[str]:
    """Admits, cancels and fails jobs of all kinds of scopes so often; the errors that are no refusals."""
    dice, wrong, mine = random.Random(seed), [], []
    for _ in range(rounds):
        try:
            if mine and dice.random() < 0.5:
                name = dice.choice([MoveName.CANCEL, MoveName.FAIL])
                job = mine.pop(dice.randrange(len(mine)))
                now = datetime.now(UTC)
                store.apply(Move(job_id=job.id, name=name, at=now, cause="test", worker="w", changes=_charge(dice)))
            else:
                mine += _mixed(store, dice)
        except BudgetExceeded:
            continue
        except Exception as error:
            wrong.append(f"{threading.current_thread().name}: {error!r}")
    return wrong


def _charge(dice: random.Random) -> dict[str, Any]:
    return {"cost_wasted": Decimal("0.03")} if dice.random() < 0.5 else {}


def _mixed(store: PostgresJobs, dice: random.Random) -> list[Job]:
    size = dice.randint(1, 4)
    batch, members = new_batch(size, owner=dice.choice("abc"))
    jobs = [
        dime(
            id=one.id, owner=batch.owner, batch_id=batch.id, batch_index=index, project_id=dice.choice("zyx"),
            provider=dice.choice(["kie", "fal", "gemini"]),
        )
        for index, one in enumerate(members)
    ]  # fmt: skip
    return list(store.admit(jobs, batch, worker="w").jobs)
