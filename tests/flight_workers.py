"""What tests of single flight let several processes do at once: the stages' moves, without providers or pictures."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from uuid import UUID, uuid4

from sqlalchemy import select

from imagegen import policies
from imagegen.jobs import Job
from imagegen.records import Claimed, Facts, Move, NewAttempt
from imagegen.states import LIVE, MoveName, Stage
from storage.engine import Database
from storage.jobs import PostgresJobs
from storage.tables import JOBS
from tests.jobs_kit import CENTS

PATIENCE = 60.0
"""Seconds after which a process gives up."""
PICTURE = {"picture": {"width": 1344, "height": 768, "bytes": 4711}}
BLOB = {"blob_sha256": "b" * 64, "blob_content_type": "image/png"}


@dataclass(frozen=True)
class Task:
    """Where the jobs are, which, and this process's seed; `fates`: what may become of a purchase beside `well`."""

    url: str
    schema: str
    ids: tuple[UUID, ...]
    seed: int
    fates: tuple[str, ...] = ()


@cache
def _database(url: str, schema: str) -> Database:
    return Database(url, schema)


def ready(task: Task) -> bool:
    """Connects, so that all begin together afterwards."""
    _database(task.url, task.schema).check()
    return True


def work(task: Task) -> int:
    """Sweeps and works until every job has ended, or patience has; how many are left."""
    database, dice = _database(task.url, task.schema), random.Random(task.seed)
    worker = _Worker(PostgresJobs(database), dice, task.fates)
    alive = select(JOBS.c.id).where(JOBS.c.status.in_(sorted(LIVE)))
    left = list(task.ids)
    deadline = time.monotonic() + PATIENCE
    dice.shuffle(left)
    for job_id in left:
        worker.take(job_id)
    while time.monotonic() < deadline:
        found = worker.jobs.due(at=datetime.now(UTC), limit=7, grace=timedelta(seconds=1), worker="sweep")
        for job in found:
            worker.take(job.id)
        left = [row["id"] for row in database.run(alive)]
        if not left:
            break
        if not found:
            time.sleep(0.02)
    return len(left)


@dataclass(frozen=True)
class _Worker:
    jobs: PostgresJobs
    dice: random.Random
    fates: tuple[str, ...]

    def move(self, job_id: UUID, name: MoveName, **given: object) -> Move:
        at = datetime.now(UTC)
        usual: dict[str, object] = {"cause": "test", "worker": "w", "until": at + timedelta(seconds=2)}
        return Move(job_id=job_id, name=name, at=at, **{**usual, **given})  # type: ignore[arg-type]

    def take(self, job_id: UUID) -> None:
        """One message about the job, wherever it stands."""
        found = self.jobs.claim(self.move(job_id, MoveName.CLAIM, claim=uuid4()), None)
        if not isinstance(found, Claimed):
            self.publish(job_id)
        elif found.refused is not None:
            self.fail(found.job, found.refused.code)
        elif found.cached is not None:
            hit = {**BLOB, "cache_hit": True}
            self.jobs.apply(self.move(job_id, MoveName.REUSE, stage=Stage.UPLOAD, held=found.job.claim, changes=hit))
            self.publish(job_id)
        else:
            self.buy(found.job)

    def buy(self, job: Job) -> None:
        fate = self.dice.choice([*self.fates, "well"])
        if fate == "killed":
            return
        new = NewAttempt(
            id=uuid4(), job_id=job.id, number=job.attempts + 1, provider=job.provider, model=job.model, token="t",
            estimate=CENTS, emulated=False,
        )  # fmt: skip
        intent = {"stage": Stage.GENERATE, "held": job.claim, "claim": job.claim, "new_attempt": new}
        sent = self.jobs.apply(self.move(job.id, MoveName.SUBMIT, **intent))
        if sent is None:
            anew = {"stage": Stage.GENERATE, "held": job.claim, "parked": True, "waiting_for": "flight"}
            self.jobs.apply(self.move(job.id, MoveName.HOLD, **{**anew, "until": datetime.now(UTC)}))
            return
        time.sleep(self.dice.uniform(0, 0.02))
        facts = Facts(attempt_id=new.id, state="rejected")
        if fate == "later":
            rest = {"stage": Stage.GENERATE, "parked": True, "waiting_for": "backoff", "facts": facts}
            soon = datetime.now(UTC) + timedelta(seconds=0.1)
            self.jobs.apply(self.move(job.id, MoveName.REPEAT, **rest, until=soon))
        elif fate == "refused":
            self.fail(sent, "CONTENT_REFUSED", facts)
        else:
            told = Facts(attempt_id=new.id, state="succeeded", blob_sha256=BLOB["blob_sha256"])
            self.jobs.apply(self.move(job.id, MoveName.DELIVER, stage=Stage.UPLOAD, changes=BLOB, facts=told))
            self.publish(job.id)

    def publish(self, job_id: UUID) -> None:
        found = self.jobs.claim(self.move(job_id, MoveName.PUBLISH, claim=uuid4()), None)
        if isinstance(found, Claimed):
            held = {"held": found.job.claim, "detail": PICTURE, "until": None}
            self.jobs.apply(self.move(job_id, MoveName.COMPLETE, **held))

    def fail(self, job: Job, code: str, facts: Facts | None = None) -> None:
        changes = {"error_code": code, "error_message": "no", "error_retryable": False}
        held = None if facts else job.claim
        self.jobs.apply(self.move(job.id, MoveName.FAIL, held=held, changes=changes, facts=facts, until=None))


SOON = policies.FLIGHT_LOOK.total_seconds() / 2
"""Less than after which a follower would look again by itself."""
