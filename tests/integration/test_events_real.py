"""Events over HTTP on real parts: PostgreSQL whose transactions overlap, and a server process that is told to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg2
import pytest
import requests

from imagegen.api.draining import hearing
from imagegen.api.tail import Tail
from imagegen.embedded.addresses import free_port
from imagegen.embedded.environment import is_setting
from imagegen.policies import STREAM_GAP
from imagegen.ports_events import Place, Scope
from imagegen.records import JobFilter
from imagegen.states import MoveName
from storage import migrate
from storage.engine import Database
from storage.event_log import PostgresEventLog
from storage.jobs import PostgresJobs
from tests.door import SECRET, bearer
from tests.jobs_kit import PostgresStore, admit, claimed, step
from tests.streams import followed

pytest_plugins = ["tests.stores"]
ROOT, SCHEMA = Path(__file__).parents[2], "pictures"


@contextmanager
def transaction(store: PostgresStore) -> Iterator[Any]:
    """A transaction of another client, undone unless it commits."""
    url = store.database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg2.connect(url)) as connection:
        yield connection


def written(connection: Any, job_id: UUID) -> int:
    """The number of a new line of this job, in the connection's open transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {SCHEMA}.imagegen_events (job_id, run, at, move, status, stage, cause, worker, detail)"
            " VALUES (%s, 1, now(), 'claim', 'processing', 'generate', 'test', 'w', '{}') RETURNING id",
            [str(job_id)],
        )
        return int(cursor.fetchone()[0])


def look(log: PostgresEventLog, tail: Tail, now: float = 0.0) -> list[int]:
    return [one.line.id for one in tail.take(log.after(tail.last, tail.missing, limit=100), now)]


def test_lines_that_are_committed_out_of_order_are_all_told(postgres: PostgresStore) -> None:
    """The later number is committed first: held back, then both in order. Undone: the later one goes on at once."""
    log, job = postgres.event_log, admit(postgres)
    tail = Tail(log.newest(), 0)
    with transaction(postgres) as one, transaction(postgres) as other:
        early, late = written(one, job.id), written(other, job.id)
        other.commit()
        assert look(log, tail) == []
        one.commit()
        assert look(log, tail) == [early, late]
        early, late = written(one, job.id), written(other, job.id)
        other.commit()
        assert look(log, tail) == []
        one.rollback()
        assert look(log, tail) == [late]
        assert tail.missing == []


def test_what_comes_after_patience_is_still_told(postgres: PostgresStore) -> None:
    """A transaction longer than that: later lines go on without it, its own line is told when it is committed."""
    log, job = postgres.event_log, admit(postgres)
    tail = Tail(log.newest(), 0)
    with transaction(postgres) as one, transaction(postgres) as other:
        slow, quick = written(one, job.id), written(other, job.id)
        other.commit()
        assert look(log, tail, 1) == []
        assert look(log, tail, 1 + STREAM_GAP) == [quick]
        place = tail.place
        assert place == Place(quick, frozenset({slow}))
        # Whoever begins now does not lose it either.
        beginner = Tail(log.newest(), 0)
        assert slow in beginner.missing
        one.commit()
        assert look(log, tail, 30) == look(log, beginner) == [slow]
        (missed,) = log.between(Scope(job_id=job.id), place, tail.place, limit=10)
        assert missed.id == slow


def test_transactions_that_overlap_at_random_lose_nothing(postgres: PostgresStore) -> None:
    """Eight clients write, commit and undo in their own time while the tail looks: each committed line, once."""
    log, job = postgres.event_log, admit(postgres)
    tail = Tail(log.newest(), time.monotonic())
    handed: list[int] = []

    def client(number: int) -> list[int]:
        kept = []
        with transaction(postgres) as connection:
            for turn in range(25):
                line = written(connection, job.id)
                time.sleep((number * 7 + turn) % 5 / 1000)
                if (number + turn) % 6 == 0:
                    connection.rollback()
                else:
                    connection.commit()
                    kept.append(line)
        return kept

    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(client, number) for number in range(8)]
        while not all(one.done() for one in clients):
            handed += look(log, tail, time.monotonic())
        handed += look(log, tail, time.monotonic())
    assert sorted(handed) == sorted(line for one in clients for line in one.result())


def test_the_lines_of_one_job_are_numbered_as_they_are_committed(postgres: PostgresStore) -> None:
    """Two moves of one job at once: the second waits for the first, and is numbered after it."""
    job = claimed(postgres, admit(postgres))
    moves = [step(job, MoveName.CANCEL), step(job, MoveName.FAIL, changes={"error_code": "TEMPORARY"})]
    with ThreadPoolExecutor(2) as pool:
        won = [one for one in pool.map(postgres.jobs.apply, moves) if one is not None]
    assert len(won) == 1
    lines = postgres.event_log.between(Scope(job_id=job.id), Place(0), Place(10**9), limit=10)
    assert [line.status for line in lines] == ["queued", "processing", won[0].status.value]


def test_signals_are_heard_in_the_main_thread_alone() -> None:
    """Elsewhere, as under a test client, the handlers stay as they are."""

    def inside() -> bool:
        before = signal.getsignal(signal.SIGTERM)
        with hearing(lambda: None):
            return signal.getsignal(signal.SIGTERM) is before

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(inside).result()


@dataclass
class Server:
    """A server process of its own on a database, and its callers."""

    process: subprocess.Popen[bytes]
    url: str
    store: PostgresStore
    log: Path

    def headers(self, owner: str = "ada") -> dict[str, str]:
        return bearer(owner, datetime.now(UTC))

    def generate(self, **headers: str) -> requests.Response:
        asked = {"prompt": "a fox", "provider": "gemini", "width": 512, "height": 512}
        told = {**self.headers(), **{name.replace("_", "-"): value for name, value in headers.items()}}
        return requests.post(f"{self.url}/api/images/generate", json=asked, headers=told, timeout=30)


@pytest.fixture
def server(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Server]:
    """`uvicorn tasks.asgi:app` as an operator starts it."""
    migrate.upgrade(database_url)
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not is_setting(name)}
    settings = {
        "IMAGEGEN_DATABASE_URL": database_url, "IMAGEGEN_REDIS_URL": redis_url.replace("unix://", "redis+socket://"),
        "IMAGEGEN_ENV": "development", "IMAGEGEN_JWT_SECRET": SECRET, "IMAGEGEN_HOME": str(tmp_path / "home"),
        "USE_REAL_IMAGE": "false", "GEMINI_API_KEY": "key", "GEMINI_API_URL": "http://127.0.0.1:1",
        "NANO_BANANA_API_URL": "http://127.0.0.1:1",
        "IMAGEGEN_STORAGE_URL": (tmp_path / "files").as_uri(), "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    command = [sys.executable, "-m", "uvicorn", "tasks.asgi:app", "--port", str(port), "--no-access-log"]
    log = tmp_path / "server.log"
    with log.open("wb") as told:
        process = subprocess.Popen(command, env={**kept, **settings}, cwd=tmp_path, stdout=told, stderr=told)
    url = f"http://127.0.0.1:{port}"
    database = Database(database_url)
    try:
        until(lambda: process.poll() is not None or alive(url), 60)
        assert process.poll() is None, log.read_text()
        yield Server(process, url, PostgresStore(PostgresJobs(database), database), log)
    finally:
        database.close()
        if process.poll() is None:
            process.kill()
        process.wait(20)


def until(seen: Callable[[], Any], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end
        time.sleep(0.02)


def alive(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=2).status_code == 200
    except requests.RequestException:
        return False


def readiness(url: str) -> str:
    """What a load balancer sees."""
    try:
        return str(requests.get(f"{url}/ready", timeout=5).json()["status"])
    except requests.ConnectionError:
        return "refused"


def locked(store: PostgresStore) -> bool:
    """Whether somebody waits for a lock."""
    with transaction(store) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


def test_a_server_that_is_told_to_end_cuts_nobody(server: Server) -> None:
    """SIGTERM with an open stream, a waiting caller and a POST that hangs in the database: each is answered, exit 0."""
    job = admit(server.store)
    url = f"{server.url}/api/images/jobs/{job.id}/events"
    with ThreadPoolExecutor(2) as pool, followed(url, server.headers()) as stream:
        stream.until(1)
        waiting = pool.submit(server.generate, Prefer="wait=60")
        until(lambda: len(server.store.jobs.list(JobFilter())[0]) == 2)
        with transaction(server.store) as lock, lock.cursor() as cursor:
            cursor.execute("LOCK TABLE image_generation_jobs IN SHARE MODE")
            running = pool.submit(server.generate)
            until(lambda: locked(server.store))
            begun = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            until(lambda: readiness(server.url) in {"draining", "refused"})
            assert [one.event for one in stream.rest(5)] == ["snapshot"]
            assert stream.reader.comments == ["draining: connect again"]
            reply = waiting.result(5)
            assert (reply.status_code, reply.json()["status"]) == (202, "queued")
            assert not running.done()
            assert server.process.poll() is None
            lock.commit()
        reply = running.result(5)
        assert reply.status_code == 202
        assert server.store.jobs.get(UUID(reply.json()["jobId"])).owner == "ada"
    assert server.process.wait(10) == 0
    assert time.monotonic() - begun < 10
    said = server.log.read_text()
    assert "Traceback" not in said, said
    assert "ERROR" not in said, said
