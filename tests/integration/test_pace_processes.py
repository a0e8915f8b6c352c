"""Limits and pauses as eight processes keep them together on PostgreSQL; no Redis is needed for any of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import chain, pairwise
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from imagegen import policies
from imagegen.jobs import Job
from imagegen.records import Claimed, Held, Limit
from imagegen.states import MoveName, Status
from storage import pace
from storage.engine import Database
from tests import pace_workers
from tests.forks import clean_processes
from tests.jobs_kit import PostgresStore, admit, at, completed, new_job, step
from tests.jobs_races import counted
from tests.pace_workers import PATIENCE, Task

pytest_plugins = ["tests.stores"]
PROCESSES = 8
SCHEMA = "pictures"


@pytest.fixture(scope="module")
def pool(database: Database) -> Iterator[ProcessPoolExecutor]:
    """Eight processes that share nothing with this one, each connected."""
    with ProcessPoolExecutor(PROCESSES, clean_processes()) as pool:
        assert all(together(pool, pace_workers.ready, [Task(url(database), SCHEMA, (), None)] * PROCESSES))
        yield pool


def url(database: Database) -> str:
    """The database's address, for another process."""
    return database.url.render_as_string(hide_password=False)


def together(pool: ProcessPoolExecutor, call: Callable[..., Any], tasks: list[Task], *rest: Any, **told: Any) -> Any:
    """The answers of all processes, which work at the same time."""
    return [one.result(timeout=60) for one in [pool.submit(call, task, *rest, **told) for task in tasks]]


def tasks_of(postgres: PostgresStore, jobs: list[Job], limit: Limit | None) -> list[Task]:
    """All jobs for each process, in an order of its own."""
    ids = tuple(job.id for job in jobs)
    return [Task(url(postgres.database), SCHEMA, ids, limit, seed) for seed in range(PROCESSES)]


def admitted(postgres: PostgresStore, count: int) -> list[Job]:
    """New jobs, due and with time enough."""
    hour = datetime.now(UTC) + timedelta(hours=1)
    return [admit(postgres, deadline_at=hour) for _ in range(count)]


def test_the_rate_is_kept(postgres: PostgresStore, pool: ProcessPoolExecutor) -> None:
    """However eight processes claim and give slots at once: each job once, no slots closer than the interval."""
    apart = timedelta(milliseconds=40)
    limit = Limit(provider="fal", interval=apart)
    jobs = admitted(postgres, 25)
    done = together(pool, pace_workers.work, tasks_of(postgres, jobs, limit), hold=0.0, paces=True)
    got = [one for answers, _ in done for one in answers]
    assert Counter(job_id for job_id, _ in got) == {job.id: 1 for job in jobs}
    slots = sorted(slot for _, slot in got)
    assert all(later - earlier >= apart for earlier, later in pairwise(slots))


def test_slots_are_consecutive(postgres: PostgresStore, pool: ProcessPoolExecutor) -> None:
    """Eight processes park forty jobs and give away slots at the same moment: one go, no gap, no slot twice."""
    apart = timedelta(milliseconds=100)
    limit = Limit(provider="fal", interval=apart)
    tasks = tasks_of(postgres, admitted(postgres, 40), limit)
    assert sum(map(len, together(pool, pace_workers.claim_once, tasks, at(0)))) == 1
    ahead = (policies.SLOTS_AHEAD - policies.SLOT_LEAD) // apart + 1
    for moment in (0.0, 1.5):
        given = together(pool, pace_workers.give, tasks, at(moment))
        assert sum(given) == min(ahead, 39) if moment == 0.0 else 39 - ahead
    query = text(f"SELECT slot_at FROM {SCHEMA}.image_generation_jobs WHERE status = 'queued' ORDER BY slot_at")
    slots = [row["slot_at"] for row in postgres.database.run(query)]
    assert slots == [at(0) + policies.SLOT_LEAD + number * apart for number in range(39)]


def test_generations_at_once_are_exact(postgres: PostgresStore, pool: ProcessPoolExecutor) -> None:
    """Exactly as many as allowed are claimed while none ends, and never more while they come and go."""
    limit = Limit(provider="fal", in_flight=5)
    jobs = admitted(postgres, 25)
    tasks = tasks_of(postgres, jobs, limit)
    first = [job_id for got in together(pool, pace_workers.claim_once, tasks, at(0)) for job_id in got]
    assert len(set(first)) == len(first) == 5
    for job_id in first:
        postgres.jobs.apply(step(postgres.jobs.get(job_id), MoveName.FAIL, 1))
    done = together(pool, pace_workers.work, tasks, hold=0.01, paces=True)
    assert len([one for got, _ in done for one in got]) == 20
    assert max(most for _, most in done) <= 5


def test_a_models_limit_counts_with_its_providers(postgres: PostgresStore, pool: ProcessPoolExecutor) -> None:
    """Claims under two limits of one provider never pass its total together."""
    every = Limit(provider="fal", in_flight=4, others=frozenset({"pro"}))
    pro = Limit(provider="fal", model="pro", in_flight=3, total=4)
    plain, better = admitted(postgres, 20), [admit(postgres, model="pro", deadline_at=at(3600)) for _ in range(20)]
    tasks = tasks_of(postgres, plain, every)[:4] + tasks_of(postgres, better, pro)[:4]
    got = [job_id for ids in together(pool, pace_workers.claim_once, tasks, at(0)) for job_id in ids]
    assert len(got) == 4
    assert len([job for job in better if job.id in got]) <= 3


def test_no_intent_after_a_pause(postgres: PostgresStore, pool: ProcessPoolExecutor) -> None:
    """While eight processes commit intents, `pause` returns: not one more is committed."""
    for _ in range(2):
        groups = [[admit(postgres) for _ in range(15)] for _ in range(PROCESSES)]
        claims = [[uuid4() for _ in group] for group in groups]
        for job, claim in zip(chain(*groups), chain(*claims), strict=True):
            assert isinstance(postgres.jobs.claim(step(job, MoveName.CLAIM, claim=claim), None), Claimed)
        before = generating(postgres)
        tasks = [tasks_of(postgres, group, None)[0] for group in groups]
        busy = [pool.submit(pace_workers.submit, task, mine) for task, mine in zip(tasks, claims, strict=True)]
        deadline = time.monotonic() + PATIENCE
        while generating(postgres) < before + 20:
            assert time.monotonic() < deadline
        postgres.pauses.pause("provider:fal", reason="", at=at(0))
        at_pause = generating(postgres)
        assert before + sum(one.result(timeout=60) for one in busy) == at_pause
        assert generating(postgres) == at_pause
        postgres.pauses.resume("provider:fal", at=at(1))


def generating(postgres: PostgresStore) -> int:
    """How many jobs were submitted."""
    query = text(f"SELECT count(*) AS n FROM {SCHEMA}.image_generation_jobs WHERE status = '{Status.GENERATING}'")
    return int(postgres.database.run(query)[0]["n"])


def test_statements_of_a_claim(postgres: PostgresStore) -> None:
    """The usual claim is one statement; under a limit a few, and a look of the sweep one where nobody waits."""
    completed(postgres, admit(postgres, fingerprint="fox"))
    limit = Limit(provider="fal", interval=timedelta(seconds=1), in_flight=9)

    def cost(job: Job, limit: Limit | None, kind: type) -> int:
        with counted(postgres.database) as sent:
            assert isinstance(postgres.jobs.claim(step(job, MoveName.CLAIM, claim=uuid4()), None, limit), kind)
        return len(sent)

    assert cost(admit(postgres), None, Claimed) == 1
    assert cost(admit(postgres), limit, Claimed) == 5
    assert cost(admit(postgres, fingerprint="fox"), limit, Claimed) == 3
    with counted(postgres.database) as sent:
        assert postgres.jobs.paced(limit, at=at(0)) == 0
    assert len(sent) == 1
    assert cost(admit(postgres), limit, Held) == 3
    postgres.pauses.pause("all", reason="", at=at(0))
    assert cost(admit(postgres), None, Held) == 2


def test_a_transaction_leaves_nothing_behind(postgres: PostgresStore) -> None:
    """Its first statement bounds how long a lost client may hold locks; afterwards statements stand alone again."""
    database, asked = postgres.database, text("SHOW idle_in_transaction_session_timeout")
    postgres.jobs.admit([new_job()], None, worker="w")
    limit = Limit(provider="fal")

    def lost() -> None:
        with database.transaction() as run:
            pace.lock(run, limit, at(0))
            assert run(asked)[0]["idle_in_transaction_session_timeout"] == "5s"
            raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost"):
        lost()
    assert database.run(asked)[0]["idle_in_transaction_session_timeout"] == "0"
    assert not database.run(text(f"SELECT 1 FROM {SCHEMA}.imagegen_pace"))
    one, two = (database.run(text("SELECT txid_current() AS n"))[0]["n"] for _ in range(2))
    assert one != two


def blocked(postgres: PostgresStore, count: int, *calls: Future[Any]) -> None:
    """Returns when so many sessions wait for a lock; fails after ten seconds, or if one of the calls came through."""
    deadline = time.monotonic() + 10
    query = text(
        "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    while postgres.database.run(query)[0]["n"] < count:
        assert not any(call.done() for call in calls), "it did not wait"
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def locked(postgres: PostgresStore, job: Job) -> Iterator[None]:
    """Holds the job's row as a move that is being committed does."""
    with postgres.database.transaction() as run:
        run(text(f"SELECT 1 FROM {SCHEMA}.image_generation_jobs WHERE id = '{job.id}' FOR UPDATE"))
        yield


def test_a_pause_waits_for_an_intent_under_way(postgres: PostgresStore) -> None:
    """An intent whose statement began before the pause is committed before `pause` returns, never after."""
    job = admit(postgres)
    claim = uuid4()
    assert postgres.jobs.claim(step(job, MoveName.CLAIM, claim=claim), None) is not None
    intent = step(job, MoveName.SUBMIT, held=claim, claim=claim)
    with ThreadPoolExecutor(2) as threads:
        with locked(postgres, job):
            sending = threads.submit(postgres.jobs.apply, intent)
            blocked(postgres, 1, sending)
            pausing = threads.submit(postgres.pauses.pause, "all", reason="", at=at(1))
            blocked(postgres, 2, sending, pausing)
        pausing.result(timeout=10)
        assert postgres.jobs.get(job.id).status is Status.GENERATING
        assert sending.result(timeout=10) is not None


def test_resume_forgets_no_job_that_is_being_parked(postgres: PostgresStore) -> None:
    """A job that is parked while its pause ends is woken by that end."""
    job = admit(postgres)
    postgres.pauses.pause("all", reason="", at=at(0))
    with ThreadPoolExecutor(2) as threads:
        with locked(postgres, job):
            asking = threads.submit(postgres.jobs.claim, step(job, MoveName.CLAIM, 1, claim=uuid4()), None)
            blocked(postgres, 1, asking)
            resuming = threads.submit(postgres.pauses.resume, "all", at=at(2))
            blocked(postgres, 2, asking, resuming)
        assert resuming.result(timeout=10) == 1
        assert isinstance(asking.result(timeout=10), Held)
    assert postgres.jobs.get(job.id).next_run_at == at(2)
