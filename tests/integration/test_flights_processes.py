"""Single flight as eight processes keep it together on PostgreSQL: one purchase per picture, no wake-up lost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from imagegen.jobs import Job
from imagegen.records import Claimed, Held
from imagegen.states import MoveName
from storage.engine import Database
from tests import flight_workers
from tests.flight_workers import SOON, Task
from tests.forks import clean_processes
from tests.jobs_kit import PostgresStore, admit, at, claimed, delivered, step
from tests.jobs_races import counted, transaction, until_blocked

pytest_plugins = ["tests.stores"]
PROCESSES = 8
SCHEMA = "pictures"


@pytest.fixture(scope="module")
def pool(database: Database) -> Iterator[ProcessPoolExecutor]:
    """Eight processes that share nothing with this one, each connected."""
    with ProcessPoolExecutor(PROCESSES, clean_processes()) as pool:
        tasks = [Task(url(database), SCHEMA, (), seed) for seed in range(PROCESSES)]
        assert all(one.result(timeout=60) for one in [pool.submit(flight_workers.ready, task) for task in tasks])
        yield pool


def url(database: Database) -> str:
    """The database's address, for another process."""
    return database.url.render_as_string(hide_password=False)


def played(postgres: PostgresStore, pool: ProcessPoolExecutor, jobs: list[Job], *fates: str) -> float:
    """Seconds until eight processes have ended all jobs."""
    ids, began = tuple(job.id for job in jobs), time.monotonic()
    tasks = [Task(url(postgres.database), SCHEMA, ids, seed, fates) for seed in range(PROCESSES)]
    assert [one.result(timeout=90) for one in [pool.submit(flight_workers.work, task) for task in tasks]] == [0] * 8
    return time.monotonic() - began


def admitted(postgres: PostgresStore, count: int, of: int) -> list[Job]:
    """New jobs, due and with time enough, for this many pictures by turns."""
    now = datetime.now(UTC)
    times = {"created_at": now, "deadline_at": now + timedelta(hours=1)}
    return [admit(postgres, fingerprint=f"picture {number % of}", **times) for number in range(count)]


def ended(postgres: PostgresStore, jobs: list[Job]) -> Counter[tuple[str, str, bool]]:
    """How many ended how, by picture, and whether from the cache."""
    rows = [postgres.jobs.get(job.id) for job in jobs]
    return Counter((row.fingerprint, row.status.value, row.cache_hit) for row in rows)


def bought(postgres: PostgresStore) -> int:
    """How many intents to buy were committed."""
    query = text(f"SELECT count(*) AS n FROM {SCHEMA}.imagegen_events WHERE move = 'submit'")
    return int(postgres.database.run(query)[0]["n"])


def flights(postgres: PostgresStore) -> int:
    return int(postgres.database.run(text(f"SELECT count(*) AS n FROM {SCHEMA}.imagegen_flights"))[0]["n"])


def test_identical_jobs_are_bought_once(postgres: PostgresStore, pool: ProcessPoolExecutor) -> None:
    """Eight processes claim eighty jobs for four pictures at once: four intents, seventy-six hits, none waits long."""
    jobs = admitted(postgres, 80, of=4)
    assert played(postgres, pool, jobs) < SOON
    assert bought(postgres) == 4
    pictures = [f"picture {number}" for number in range(4)]
    assert ended(postgres, jobs) == {
        **{(one, "completed", False): 1 for one in pictures}, **{(one, "completed", True): 19 for one in pictures},
    }  # fmt: skip
    assert flights(postgres) == 0


def test_leaders_that_fail_leave_nobody_behind(postgres: PostgresStore, pool: ProcessPoolExecutor) -> None:
    """Workers die before they buy, and providers fail for a while: in the end each picture was delivered once."""
    jobs = admitted(postgres, 40, of=4)
    played(postgres, pool, jobs, "killed", "later")
    pictures = [f"picture {number}" for number in range(4)]
    assert ended(postgres, jobs) == {
        **{(one, "completed", False): 1 for one in pictures}, **{(one, "completed", True): 9 for one in pictures},
    }  # fmt: skip
    assert flights(postgres) == 0


def test_a_refusal_is_asked_for_once(postgres: PostgresStore, pool: ProcessPoolExecutor) -> None:
    """Whoever is refused first is refused for all."""
    jobs = admitted(postgres, 40, of=1)
    played(postgres, pool, jobs, *["refused"] * 1000)
    ends = Counter(status for _, status, _ in ended(postgres, jobs).elements())
    assert (bought(postgres), ends) == (1, {"failed": 40})
    assert flights(postgres) == 0


def ask(postgres: PostgresStore, job: Job, seconds: float) -> Any:
    return postgres.jobs.claim(step(job, MoveName.CLAIM, seconds, claim=uuid4()), None)


def finishing(postgres: PostgresStore, job: Job) -> Any:
    """The move that completes a delivered job."""
    held = claimed(postgres, delivered(postgres, job), MoveName.PUBLISH)
    picture = {"picture": {"width": 1344, "height": 768, "bytes": 4711}}
    return step(job, MoveName.COMPLETE, 1, held=held.claim, detail=picture)


def lock(connection: Any, table: str, where: str) -> None:
    connection.execute(text(f"SELECT 1 FROM {SCHEMA}.{table} WHERE {where} FOR UPDATE"))


def test_a_job_that_parks_while_its_leader_completes_is_woken(postgres: PostgresStore) -> None:
    """The follower is being parked when the leader's end begins: the end waits for it, and wakes it."""
    first, second = (admit(postgres, fingerprint="fox") for _ in range(2))
    ending = finishing(postgres, first)
    with ThreadPoolExecutor(2) as threads:
        with transaction(postgres.database) as held:
            lock(held, "image_generation_jobs", f"id = '{second.id}'")
            parking = threads.submit(ask, postgres, second, 1)
            until_blocked(postgres.database, parking)
            done: Future[Any] = threads.submit(postgres.jobs.apply, ending)
            time.sleep(0.2)
            assert not done.done()
        assert isinstance(parking.result(timeout=10), Held)
        assert done.result(timeout=10) is not None
    row = postgres.jobs.get(second.id)
    assert (row.waiting_for, row.next_run_at) == ("flight", at(1))


def test_a_claim_that_waited_for_the_leaders_end_buys_nothing(postgres: PostgresStore) -> None:
    """Its snapshot is from before the end, so it takes the flight; its intent finds the picture, and moves nothing."""
    first, second = (admit(postgres, fingerprint="fox") for _ in range(2))
    ending = finishing(postgres, first)
    with ThreadPoolExecutor(2) as threads:
        with transaction(postgres.database) as held:
            lock(held, "imagegen_flights", "fingerprint = 'fox'")
            done = threads.submit(postgres.jobs.apply, ending)
            until_blocked(postgres.database, done)
            asking = threads.submit(ask, postgres, second, 1)
            time.sleep(0.2)
            assert not asking.done()
        assert done.result(timeout=10) is not None
        found = asking.result(timeout=10)
    if isinstance(found, Held):
        assert postgres.jobs.get(second.id).next_run_at == at(1)
        return
    assert isinstance(found, Claimed)
    assert found.cached is None
    intent = step(second, MoveName.SUBMIT, 2, held=found.job.claim, claim=found.job.claim)
    assert postgres.jobs.apply(intent) is None
    assert postgres.jobs.apply(step(second, MoveName.HOLD, 2, until=at(2), held=found.job.claim)) is not None
    again = ask(postgres, second, 3)
    assert isinstance(again, Claimed)
    assert again.cached is not None


def test_two_that_claim_at_once_do_not_both_lead(postgres: PostgresStore) -> None:
    """The second waits for the first one's claim to be committed, and is parked behind it."""
    first, second = (admit(postgres, fingerprint="fox") for _ in range(2))
    with ThreadPoolExecutor(2) as threads:
        with transaction(postgres.database) as held:
            lock(held, "image_generation_jobs", f"id = '{first.id}'")
            leading = threads.submit(ask, postgres, first, 1)
            until_blocked(postgres.database, leading)
            following = threads.submit(ask, postgres, second, 1)
            time.sleep(0.2)
            assert not following.done()
        assert isinstance(leading.result(timeout=10), Claimed)
        assert isinstance(following.result(timeout=10), Held)


def test_flights_cost_no_statement(postgres: PostgresStore) -> None:
    """Taking a flight is part of the claim, waiting for one too, and freeing it part of the end."""
    first, second = (admit(postgres, fingerprint="fox") for _ in range(2))
    with counted(postgres.database) as sent:
        assert isinstance(ask(postgres, first, 0), Claimed)
    assert len(sent) == 1
    with counted(postgres.database) as sent:
        assert isinstance(ask(postgres, second, 0), Held)
    assert len(sent) == 1
    with counted(postgres.database) as sent:
        assert postgres.jobs.apply(step(first, MoveName.FAIL, 1)) is not None
    assert len(sent) == 1
    assert flights(postgres) == 0
