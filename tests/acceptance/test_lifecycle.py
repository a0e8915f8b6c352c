"""`imagegen up` as a user runs it: what it prints, what it survives, what it refuses, and that it leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from uuid import uuid4

import psycopg2
import pytest

from imagegen.cli.up import WORKERS
from imagegen.client import CeleryClient, Client, Job, PartUnavailable
from imagegen.embedded.addresses import free_port
from imagegen.embedded.environment import Plan
from imagegen.embedded.home import is_locked
from imagegen.embedded.instance import Instance, find_instance
from imagegen.embedded.process import started_at
from imagegen.emulator import Emulator
from imagegen.settings import Settings
from tests.acceptance.system import IMAGEGEN, ROOT, cli, until, words
from tests.acceptance.together import all_of
from tests.processes import leftovers

AT_THE_PROVIDER = 1.5
"""Seconds that a picture takes, so that parts are lost while jobs wait for theirs."""


class Up:
    """An `imagegen up` of this module's own, whose home has a space in its path."""

    def __init__(self, home: Path, emulator: Emulator) -> None:
        self.home, self.emulator = home, emulator
        self.errors = home / "errors.txt"
        self._process: subprocess.Popen[str] | None = None
        self.lines: list[str] = []

    def start(self) -> None:
        told = {"NANO_BANANA_API_URL": self.emulator.url, "GEMINI_API_URL": self.emulator.url}
        ports = {name: str(free_port()) for name in ("IMAGEGEN_API_PORT", "IMAGEGEN_FLOWER_PORT")}
        environ = Plan.isolated(self.home, **told, **ports).environ
        with self.errors.open("a") as errors:
            self._process = subprocess.Popen(
                [str(IMAGEGEN), "up"], env=environ, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True,
                start_new_session=True,
            )  # fmt: skip
        assert self._process.stdout is not None
        self.lines = []
        while not self.lines or not self.lines[-1].startswith("ready"):
            line = self._process.stdout.readline()
            assert line, self.errors.read_text()
            self.lines.append(line.rstrip())

    def stop(self, how: int) -> int:
        """The exit code after this signal."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.communicate(timeout=60)
        return self._process.returncode

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def end(self) -> None:
        """Ends it in any case."""
        if self._process is not None and self._process.poll() is None:
            self.stop(signal.SIGTERM)

    @property
    def instance(self) -> Instance:
        found = find_instance(self.home)
        assert found is not None
        return found

    @property
    def settings(self) -> Settings:
        return Settings.load(self.instance.env, self.home)

    def client(self) -> CeleryClient:
        """A client as another service would have it."""
        return Client.celery(self.settings.broker, self.settings.result_backend)

    def states(self, prompt: str) -> list[tuple[str, bool]]:
        """Status, and whether the provider took the order, of these jobs; none while PostgreSQL is away."""
        asked = "SELECT status, provider_job_id IS NOT NULL FROM image_generation_jobs WHERE prompt LIKE %s"
        try:
            connection = psycopg2.connect(self.settings.database.replace("+psycopg2", ""))
            with closing(connection), connection.cursor() as cursor:
                cursor.execute(asked, (f"{prompt}%",))
                return list(cursor.fetchall())
        except psycopg2.OperationalError:
            return []

    def ordered(self, prompt: str, count: int) -> None:
        """Returns when the provider has taken the orders of all these jobs."""
        until(lambda: sum(taken for _, taken in self.states(prompt)) == count)

    def completed(self, prompt: str, count: int, seconds: float = 60) -> None:
        """Returns when all of these jobs have their pictures; each was charged once."""
        until(lambda: self.states(prompt) == [("completed", True)] * count, seconds)
        assert len([one for one in self.emulator.ledger()["charges"] if prompt in one["prompt"]]) == count


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running `up`."""
    home = tmp_path_factory.mktemp("life") / "my pictures"
    with Emulator(plain=True, latency=AT_THE_PROVIDER) as emulator:
        up = Up(home, emulator)
        up.start()
        try:
            yield up
        finally:
            up.end()


def generate(client: CeleryClient, prompt: str) -> Job:
    """Sends until the broker takes it: with a key, sending again is harmless."""
    key = uuid4().hex

    def sent() -> Job | None:
        try:
            return client.generate(prompt, provider="nanobanana", width=512, height=512, idempotency_key=key)
        except PartUnavailable:
            return None

    job = until(sent)
    assert job is not None
    return job


def waited(client: CeleryClient, job: Job) -> Job:
    """Waits on, although the result backend may be away."""

    def ended() -> Job | None:
        try:
            return client.wait(job, timeout=60)
        except PartUnavailable:
            return None

    found = until(ended, 60)
    assert found is not None
    return found


def test_it_says_where_everything_is(up: Up) -> None:
    """A line NAME ADDRESS for every part and then one that begins with `ready`; another command finds it; no charge.

    A second `up` on its home is refused and changes nothing.
    """
    *addresses, ready = up.lines
    names = ["postgres", "redis", "storage", "provider", "api", "flower", "token"]
    assert [line.split(" ")[0] for line in addresses] == names
    assert all(address for _, _, address in (line.partition(" ") for line in addresses))
    assert ready.startswith("ready")
    assert cli("list", "--json", home=up.home).json == {"items": [], "nextCursor": None}
    names = {"postgres", "redis", "beat", "api", "flower", *(worker.name for worker in WORKERS)}
    assert up.instance.pids.keys() == names
    assert up.instance.pid == up.pid
    pids = up.instance.pids
    second = cli("up", home=up.home)
    assert (second.code, f"pid {up.pid}" in second.err) == (3, True)
    assert up.instance.pids == pids
    assert up.emulator.ledger()["count"] == 0


@pytest.mark.parametrize(
    "killed", [tuple(worker.name for worker in WORKERS), ("redis",), ("postgres",), ("beat",)], ids=lambda each: each[0]
)
def test_a_killed_part_comes_back_and_no_job_is_lost(up: Up, killed: tuple[str, ...]) -> None:
    """kill -9 while three jobs wait for their pictures and two arrive: all five complete, with five charges."""
    prompt = words(f"without {killed[0]}")
    before = up.instance.pids
    with up.client() as client:
        for number in range(3):
            generate(client, f"{prompt} {number}")
        up.ordered(prompt, 3)
        for name in killed:
            os.kill(before[name], signal.SIGKILL)
        late = [generate(client, f"{prompt} late {number}") for number in range(2)]
        # A message that died with the worker which had just taken it is sent again by whoever waits.
        assert all(waited(client, job).ok for job in late)
    up.completed(prompt, 5)
    after = up.instance.pids
    assert all(after[name] != before[name] for name in killed)
    assert all(after[name] == before[name] for name in before if name not in killed)


def test_a_stop_loses_nothing(up: Up) -> None:
    """SIGTERM with jobs on their way stops all of it with exit 0; the next `up` completes them; SIGINT stops that."""
    prompt = words("over a restart")
    with up.client() as client:
        for number in range(3):
            generate(client, f"{prompt} {number}")
        up.ordered(prompt, 3)
    check_stopped(up, signal.SIGTERM)
    assert "no running imagegen in" in cli("list", home=up.home).err
    up.start()
    up.completed(prompt, 3)
    said = up.errors.read_text()
    check_stopped(up, signal.SIGINT)
    assert up.errors.read_text() == said
    assert "Traceback" not in said


def check_stopped(up: Up, how: int) -> None:
    pids = up.instance.pids
    assert up.stop(how) == 0
    assert [name for name, pid in pids.items() if started_at(pid)] == []
    assert leftovers(up.home) == []
    assert find_instance(up.home) is None
    assert not is_locked(up.home)


def test_nobody_pays_by_accident(tmp_path: Path) -> None:
    """What may cost money without having been asked for exits 2 before anything starts, naming the setting."""
    database = {"IMAGEGEN_DATABASE_URL": "postgresql://me@127.0.0.1:1/x", "IMAGEGEN_REDIS_URL": "redis://127.0.0.1:1/0"}
    cases: dict[str, tuple[Mapping[str, str], str]] = {
        "a key beside a database": ({**database, "GEMINI_API_KEY": "key-real"}, "USE_REAL_IMAGE: is not set"),
        "real without a key": ({"USE_REAL_IMAGE": "true"}, "USE_REAL_IMAGE: is true, but no provider has a key"),
        "real, one key missing": (
            {"USE_REAL_IMAGE": "true", "GEMINI_API_KEY": "k", "IMAGEGEN_PROVIDERS": "gemini,kie"},
            "KIE_API_KEY: is not set",
        ),
        "production emulated": ({**database, "USE_REAL_IMAGE": "false"}, "USE_REAL_IMAGE: production refuses"),
        "production embedded": ({"IMAGEGEN_ENV": "production"}, "IMAGEGEN_DATABASE_URL: production refuses"),
        "no answer at all": ({"USE_REAL_IMAGE": "perhaps"}, "USE_REAL_IMAGE: "),
    }
    told = all_of({name: partial(cli, "up", home=tmp_path / "refused", env=env) for name, (env, _) in cases.items()})
    for name, (_, sentence) in cases.items():
        assert (told[name].code, told[name].out) == (2, ""), f"{name}: {told[name]}"
        assert sentence in told[name].err, f"{name}: {told[name]}"
        assert "key-real" not in told[name].err
    assert not (tmp_path / "refused").exists()
