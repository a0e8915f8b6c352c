"""A whole running imagegen for acceptance tests: real workers, real parts, providers emulated in the test's process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import psycopg2
import redis
from celery import Celery

from imagegen.cli.up import WORKERS, Options, Running, running
from imagegen.client import Client
from imagegen.embedded.addresses import free_port
from imagegen.embedded.application import Worker
from imagegen.embedded.environment import Plan, is_setting
from imagegen.emulator import Emulator
from imagegen.settings import Settings
from storage.engine import Database
from storage.jobs import PostgresJobs
from tests.acceptance import command_line
from tests.acceptance.command_line import ForkingSupervisor

ROOT = Path(__file__).parents[2]
IMAGEGEN = Path(sys.executable).parent / "imagegen"
Seen = TypeVar("Seen")


class System:
    """One running instance and its emulated providers."""

    def __init__(self, run: Running, emulator: Emulator) -> None:
        self.run, self.emulator = run, emulator
        self.settings: Settings = run.settings
        self.home = Path(run.instance.home)
        self.jobs = PostgresJobs(Database(self.settings.database, threads=2))
        self.client = Client.celery(self.settings.broker, self.settings.result_backend, self.settings.namespace)

    def cli(self, *words: str, env: Mapping[str, str] | None = None, timeout: float = 60) -> Told:
        """Runs `imagegen …` as a user in the checkout would."""
        return cli(*words, home=self.home, env=env, timeout=timeout)

    def celery(self, *words: str) -> Told:
        """Runs `celery -A tasks …` in the checkout beside the running system."""
        whole = surroundings(self.home)
        return Told(command_line.run(("-A", "tasks", *words), whole, ROOT, 60, program="celery"))

    def charges(self, containing: str = "") -> list[dict[str, Any]]:
        """What the providers charged since the last reset, for prompts with these words."""
        return [charge for charge in self.emulator.ledger()["charges"] if containing in charge["prompt"]]

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows as a user's own report would read them."""
        with closing(psycopg2.connect(self.settings.database.replace("+psycopg2", ""))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, values)
                return cursor.fetchall() if cursor.description else []

    @contextmanager
    def redis(self) -> Iterator[Any]:
        """The instance's Redis."""
        with closing(redis.Redis.from_url(self.settings.redis)) as client:
            yield client

    def moves(self, job_id: UUID | str) -> list[str]:
        """The names of a job's moves, oldest first."""
        return [event.move for event in self.jobs.history(UUID(str(job_id)))]

    def paid(self, job_ids: Sequence[UUID]) -> Decimal:
        """What the ledger settled for these jobs."""
        rows = self.sql(
            "SELECT coalesce(sum(amount), 0) FROM imagegen_ledger WHERE kind = 'settle' AND job_id = ANY(%s::uuid[])",
            [str(job_id) for job_id in job_ids],
        )
        return Decimal(rows[0][0])


class Told:
    """What a command printed and how it ended."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def json(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)

    def __repr__(self) -> str:
        return f"exit {self.code}\n--- out\n{self.out}\n--- err\n{self.err}"


def cli(*words: str, home: Path, env: Mapping[str, str] | None = None, timeout: float = 60) -> Told:
    """Runs `imagegen …` in the checkout with this home and nothing configured around it."""
    return Told(command_line.run(words, {**surroundings(home), **(env or {})}, ROOT, timeout))


def surroundings(home: Path) -> dict[str, str]:
    """The environment of a user of this home who configured nothing else."""
    kept = {name: value for name, value in os.environ.items() if not is_setting(name)}
    return {**kept, "IMAGEGEN_HOME": str(home), "COLUMNS": "200"}


@contextmanager
def started(
    home: Path, emulator: Emulator, workers: tuple[Worker, ...] = WORKERS, durable: bool = False, **told: str
) -> Iterator[System]:
    """A system in `home` whose providers are `emulator`; `told` are settings by their names.

    `durable` is for tests that kill PostgreSQL: without, it may lose what it committed. Each of our programs is a
    process of its own as always, but forked from one that has the imports done (`command_line.ForkingSupervisor`).
    """
    addresses = {
        "NANO_BANANA_API_URL": emulator.url,
        "GEMINI_API_URL": emulator.url,
        "IMAGEGEN_API_PORT": str(free_port()),
    }
    plan = Plan.isolated(home, **{**addresses, **told})
    options = Options(
        workers=workers, durable=durable, flower=False, report=lambda line: None, supervisor=ForkingSupervisor
    )
    with running(plan, options) as run:
        yield System(run, emulator)


def sender(system: System) -> Celery:
    """A bare Celery app on the system's broker."""
    return Celery("test", broker=system.settings.broker, backend=None, set_as_current=False)


def until(look: Callable[[], Seen], seconds: float = 30, every: float = 0.05) -> Seen:
    """Looks again and again until there is something to see; fails the test where nothing comes."""
    end = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < end, f"nothing after {seconds} s"
        time.sleep(every)
    return seen


def words(text: str) -> str:
    """A prompt that no other test has, so that no cached picture answers it."""
    return f"{text} {uuid4().hex[:8]}"
