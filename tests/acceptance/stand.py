"""A running system whose parts a test may take away and bring back, and orders that are followed through it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg2
from celery import Celery
from kombu.exceptions import OperationalError
from moto.server import ThreadedMotoServer
from redis.exceptions import ConnectionError

from imagegen.cli.up import WORKERS
from imagegen.embedded.addresses import HOST, free_port
from imagegen.embedded.application import workers_answer
from imagegen.embedded.home import Home
from imagegen.embedded.postgres import Postgres
from imagegen.embedded.process import started_at
from imagegen.embedded.redis import redis_child
from imagegen.embedded.supervisor import Child
from imagegen.emulator import Emulator
from storage.s3 import S3Blobs
from tests.acceptance.system import System, sender, started, until, words
from tests.s3 import CREDENTIALS

LATENCY = 1.0
"""Seconds that a provider draws, so that parts are lost while pictures are being bought."""
BUCKET = "stand-pictures"
PROVIDERS = ("gemini", "nanobanana")
WARM = "exited with code 0"
"""How a child ends that was asked to and is done, in the supervisor's words."""


class ObjectStore:
    """An S3 server of its own; what it holds outlives its stops."""

    def __init__(self) -> None:
        self._port = free_port()
        self._server: ThreadedMotoServer | None = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._port}"

    def start(self) -> None:
        self._server = ThreadedMotoServer(ip_address=HOST, port=self._port, verbose=False)
        self._server.start()

    def stop(self) -> None:
        """Connections are refused from here on."""
        if self._server is not None:
            self._server.stop()
            self._server = None


@dataclass(frozen=True)
class Stand:
    """A system with the parts that stand behind it."""

    system: System
    store: ObjectStore

    @contextmanager
    def without(self, part: str) -> Iterator[None]:
        """Inside, `postgres` (killed), `redis` (stopped, and what it held is gone) or `store` is not there."""
        self._stop(part)
        try:
            yield
        finally:
            self._start(part)

    def _stop(self, part: str) -> None:
        if part == "store":
            self.store.stop()
            return
        supervisor = self.system.run.supervisor
        if part == "postgres":
            os.kill(supervisor.pids()[part], signal.SIGKILL)
        supervisor.stop(part)
        if part == "redis":
            shutil.rmtree(self.system.home / "redis")

    def _start(self, part: str) -> None:
        home = Home(self.system.home)
        if part == "store":
            self.store.start()
        elif part == "postgres":
            self._supervise(Postgres(home).child())
        else:
            self._supervise(redis_child(home)[0])

    def _supervise(self, child: Child) -> None:
        self.system.run.supervisor.start(child)


@contextmanager
def standing(home: Path) -> Iterator[Stand]:
    """A system with slow providers and its pictures on S3."""
    with ExitStack() as stack:
        store = ObjectStore()
        store.start()
        stack.callback(store.stop)
        admin = S3Blobs(BUCKET, "", endpoint_url=store.url, aws=CREDENTIALS)
        stack.callback(admin.close)
        admin.client.create_bucket(Bucket=BUCKET)
        emulator = stack.enter_context(Emulator(plain=True, latency=LATENCY))
        told = {"IMAGEGEN_STORAGE_URL": f"s3://{BUCKET}", "IMAGEGEN_S3_ENDPOINT_URL": store.url, **CREDENTIALS}
        yield Stand(stack.enter_context(started(home, emulator, durable=True, **told)), store)


class Orders:
    """Jobs that belong together, known by words that all their prompts share."""

    def __init__(self, system: System, about: str) -> None:
        self.system, self.about, self.count = system, words(about), 0

    def send(self, count: int, **fields: Any) -> None:
        """So many more jobs, the providers by turns unless one is named."""
        for _ in range(count):
            told = {"provider": PROVIDERS[self.count % 2], "width": 512, "height": 512, **fields}
            self.count += 1
            self.system.client.generate(f"{self.about} {self.count}", **told)

    def at(self) -> Counter[str]:
        """How many stand where: a live job's stage, an ended one's status; nothing while PostgreSQL is away."""
        asked = (
            "SELECT CASE WHEN status IN ('completed', 'failed', 'cancelled') THEN status ELSE stage END, count(*)"
            " FROM image_generation_jobs WHERE prompt LIKE %s GROUP BY 1"
        )
        with suppress(psycopg2.OperationalError):
            return Counter(dict(self.system.sql(asked, f"{self.about}%")))
        return Counter()

    @property
    def charges(self) -> list[dict[str, Any]]:
        return self.system.charges(self.about)

    def bought(self, count: int) -> None:
        """Returns when the providers have charged for so many."""
        until(lambda: len(self.charges) >= count)

    def accepted(self) -> None:
        """Returns when every request is a row."""
        until(lambda: self.at().total() == self.count)

    def moves(self) -> Counter[str]:
        """How often each move was made."""
        asked = (
            "SELECT e.move, count(*) FROM imagegen_events e JOIN image_generation_jobs j ON j.id = e.job_id"
            " WHERE j.prompt LIKE %s GROUP BY 1"
        )
        return Counter(dict(self.system.sql(asked, f"{self.about}%")))

    def lines(self) -> Mapping[str, Decimal]:
        """The books: kind of line to sum."""
        asked = (
            "SELECT l.kind, sum(l.amount) FROM imagegen_ledger l JOIN image_generation_jobs j ON j.id = l.job_id"
            " WHERE j.prompt LIKE %s GROUP BY 1"
        )
        return {kind: Decimal(amount) for kind, amount in self.system.sql(asked, f"{self.about}%")}

    def completed(self, seconds: float = 60) -> None:
        """Returns when every job has its picture: each charged once, and the books say the same to the cent."""
        until(lambda: self.ended() == self.count, seconds)
        assert self.at() == {"completed": self.count}
        charged = Counter(charge["prompt"] for charge in self.charges)
        assert (len(charged), set(charged.values())) == (self.count, {1})
        books = self.lines()
        assert books["settle"] == sum(Decimal(charge["amount"]) for charge in self.charges)
        assert not books.keys() & {"uncertain", "waste"}

    def ended(self) -> int:
        found = self.at()
        return found["completed"] + found["failed"] + found["cancelled"]


def ask_to_stop(system: System, *names: str) -> float:
    """SIGTERM to these children at once; seconds until the last of them is gone."""
    began, pids = time.monotonic(), system.run.supervisor.pids()
    before = {pids[name]: started_at(pids[name]) for name in names}
    for pid in before:
        os.kill(pid, signal.SIGTERM)
    until(lambda: all(started_at(pid) != started for pid, started in before.items()), seconds=120, every=0.02)
    return time.monotonic() - began


def ends_from_here(system: System) -> Callable[[str], str]:
    """How a child ends for the first time from here on, by its name, in the supervisor's words."""
    log = system.home / "logs" / "supervisor.log"
    seen = len(log.read_text()) if log.exists() else 0

    def lines(name: str) -> list[str]:
        told = log.read_text()[seen:] if log.exists() else ""
        return [line.partition(f" {name} ")[2].partition(";")[0] for line in told.splitlines() if f" {name} " in line]

    return lambda name: until(lambda: lines(name))[0]


def crashes(system: System) -> list[str]:
    """Ends of children that were no orderly ones, in the supervisor's words: a program that cannot be loaded, say."""
    log = system.home / "logs" / "supervisor.log"
    return [line for line in log.read_text().splitlines() if " exited with code " in line and WARM not in line]


def workers_back(system: System, *names: str) -> None:
    """Returns when these workers answer, all where none is named."""
    wanted = [worker for worker in WORKERS if not names or worker.name in names]
    until(lambda: workers_answer(system.settings.broker, wanted), seconds=60)


def consume(system: System, order: str, *kinds: str) -> None:
    """Returns when the workers of these kinds were told to take messages from their queues (`add_consumer`) or not."""
    with sender(system) as app:
        for kind in kinds:
            queue, node = f"{system.settings.namespace}.{kind}", f"{kind}@{socket.gethostname()}"
            until(lambda queue=queue, node=node: _heard(app, order, queue, node))  # type: ignore[misc]


def _heard(app: Celery, order: str, queue: str, node: str) -> bool:
    try:
        return bool(app.control.broadcast(order, {"queue": queue}, destination=[node], reply=True, timeout=1))
    except (OperationalError, ConnectionError):
        return False
