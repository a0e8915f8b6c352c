"""A thousand races each, on real PostgreSQL: a callback against a poll, and against the answer of our own POST."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text

from imagegen import pipeline
from imagegen.callbacks import Callback, take
from imagegen.jobs import Job
from imagegen.providers.base import Accepted, Progress, Ready, Running
from imagegen.purchase import answered
from imagegen.records import Attempt
from storage import rows
from storage.tables import ATTEMPTS, JOBS
from tests.jobs_kit import PostgresStore, submitted
from tests.pipeline_doubles import PAID, Shop
from tests.pipeline_parts import World

pytest_plugins = ["tests.stores"]
SCHEMA = "pictures"
RACES, LANES = 1000, 3
ANSWER, JITTER = 0.001, 0.002
"""Seconds of a provider's answer on its way; and by which either side may start later: as long as either takes."""


class Orders(Shop):
    """A provider whose orders are ready from the moment that it calls back."""

    done: frozenset[str] | set[str] = frozenset()

    def poll(self, provider_job_id: str) -> Progress:
        if provider_job_id not in self.done:
            # Its answer is on the way, and the order may end meanwhile.
            time.sleep(ANSWER)
            return Running()
        return Ready(url=f"https://p.test/{provider_job_id}", actual=PAID)


class Field:
    """Jobs that are alike, made by copying one that came about in the ordinary way."""

    def __init__(self, postgres: PostgresStore) -> None:
        self.world, self.database = World(postgres), postgres.database
        self.shop = Orders("nanobanana")
        self.shop.done = set()
        providers: Any = {"nanobanana": self.shop}
        self.world.services = replace(self.world.services, callback_base_url="https://me.example", providers=providers)

    def copies(self, template: Job, order: str) -> list[tuple[Job, Attempt]]:
        """`RACES` of this job as it stands, due now, each with an attempt; `order` begins the ids of their orders."""
        told = {"job": template.id, "attempt": template.attempt_id, "races": RACES, "order": order}
        self.database.run(text(_COPY_JOBS).bindparams(now=self.world.clock.now(), **told))
        self.database.run(text(_COPY_ATTEMPTS).bindparams(attempt=template.attempt_id, job=template.id))
        self.database.run(text(f"DELETE FROM {SCHEMA}.imagegen_events"))
        found = self.database.run(select(JOBS).where(JOBS.c.id != template.id).order_by(JOBS.c.id))
        jobs = [rows.job(row) for row in found]
        attempts = {row["id"]: rows.attempt(row) for row in self.database.run(select(ATTEMPTS))}
        return [(job, attempts[job.attempt_id]) for job in jobs if job.attempt_id]

    def callback(self, attempt: Attempt, order: str) -> None:
        """The provider has finished the order, and says so."""
        self.shop.done.add(order)  # type: ignore[union-attr]
        body = json.dumps({"task": order}).encode()
        told = Callback(provider="nanobanana", attempt_id=attempt.id, token=attempt.token, body=body)
        take(told, self.world.services)

    def race(self, one: Callable[[int], Any], other: Callable[[int], Any]) -> None:
        """Both sides of every race at the same moment, a few races at once."""
        with ThreadPoolExecutor(2 * LANES) as pool:
            running = []
            for lane in range(LANES):
                gate = threading.Barrier(2, timeout=30)
                for side, act in enumerate((one, other)):
                    running.append(pool.submit(_side, act, range(lane, RACES, LANES), gate, Random(2 * lane + side)))
            for future in running:
                future.result()

    def end(self, jobs: Sequence[Job]) -> None:
        """Nobody rests although its picture is ready; one poll more and each has delivered, once."""
        resting = self.database.run(text(_RESTING).bindparams(now=self.world.clock.now()))
        assert [row["id"] for row in resting if row["id"] in {job.id for job in jobs}] == []
        for first in range(0, len(jobs), 200):
            pipeline.poll([job.id for job in jobs[first : first + 200]], self.world.services)
        assert self.moves("deliver") == {job.id: 1 for job in jobs}

    def moves(self, name: str) -> Counter[UUID]:
        """How often each job made this move."""
        found = self.database.run(text(_MOVES).bindparams(move=name))
        return Counter({row["job_id"]: row["made"] for row in found})

    def tell(self, name: str, began: float, capsys: pytest.CaptureFixture[str]) -> None:
        """Prints what the callbacks found, and makes sure that each was counted."""
        tallies = self.world.store.callbacks.tallies(at=self.world.clock.now())
        told = {one.outcome: one.week for one in tallies}
        assert sum(told.values()) == RACES
        with capsys.disabled():
            print(f"\n{RACES} races of a callback against {name} in {time.monotonic() - began:.1f} s: {told}")


def _side(act: Callable[[int], Any], races: Sequence[int], gate: threading.Barrier, random: Random) -> None:
    for index in races:
        gate.wait()
        time.sleep(random.random() * JITTER)
        act(index)


_COPY_JOBS = f"""
INSERT INTO {SCHEMA}.image_generation_jobs
SELECT copied.* FROM {SCHEMA}.image_generation_jobs job, generate_series(1, :races) number
CROSS JOIN LATERAL (SELECT
    CAST(md5('job ' || number || job.id) AS uuid) AS id, CAST(md5('attempt ' || number || job.id) AS uuid) AS attempt_id
) AS new
CROSS JOIN LATERAL jsonb_populate_record(job, jsonb_build_object(
    'id', new.id, 'attempt_id', new.attempt_id, 'fingerprint', new.id,
    'provider_job_id', CASE WHEN job.provider_job_id IS NOT NULL THEN CAST(:order AS text) || new.id END,
    'next_run_at', CASE WHEN job.claim IS NULL THEN CAST(:now AS timestamptz) ELSE job.next_run_at END
)) AS copied
WHERE job.id = :job AND job.attempt_id = :attempt"""
_COPY_ATTEMPTS = f"""
INSERT INTO {SCHEMA}.imagegen_attempts
SELECT copied.* FROM {SCHEMA}.image_generation_jobs job, {SCHEMA}.imagegen_attempts attempt
CROSS JOIN LATERAL jsonb_populate_record(attempt, jsonb_build_object(
    'id', job.attempt_id, 'job_id', job.id, 'token', md5(CAST(job.id AS text)),
    'provider_job_id', job.provider_job_id
)) AS copied
WHERE attempt.id = :attempt AND job.id <> :job"""
_RESTING = f"""
SELECT id FROM {SCHEMA}.image_generation_jobs
WHERE stage IN ('generate', 'reconcile') OR (stage = 'poll' AND next_run_at > :now)"""
_MOVES = f"SELECT job_id, count(*) AS made FROM {SCHEMA}.imagegen_events WHERE move = :move GROUP BY job_id"


@pytest.fixture
def field(postgres: PostgresStore) -> Field:
    """An empty field."""
    return Field(postgres)


def test_a_callback_against_a_poll(field: Field, capsys: pytest.CaptureFixture[str]) -> None:
    """While a poll is told that the order runs, it ends and the provider calls: no job rests on, each delivers once."""
    template = field.world.job()
    field.world.chain(template)
    raced = field.copies(field.world.now(template), "o")
    began = time.monotonic()
    field.race(
        lambda index: field.callback(raced[index][1], raced[index][0].provider_job_id or ""),
        lambda index: pipeline.poll([raced[index][0].id], field.world.services),
    )
    field.end([job for job, _ in raced])
    field.tell("a poll", began, capsys)


def test_a_callback_against_the_answer_of_our_post(field: Field, capsys: pytest.CaptureFixture[str]) -> None:
    """While the answer to our POST is being written the provider calls: one acceptance, no wake-up lost, one end."""
    template = submitted(field.world.store, field.world.job())
    raced = field.copies(template, "")
    began = time.monotonic()

    def answer(index: int) -> None:
        job = raced[index][0]
        answered(job, Accepted(provider_job_id=f"o{job.id}", actual=PAID), field.world.services)

    field.race(lambda index: field.callback(raced[index][1], f"o{raced[index][0].id}"), answer)
    jobs = [job for job, _ in raced]
    assert field.moves("accept") == {job.id: 1 for job in jobs}
    field.end(jobs)
    field.tell("our POST's own commit", began, capsys)
