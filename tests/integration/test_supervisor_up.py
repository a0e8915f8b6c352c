"""`imagegen up`: what it starts on request, and what it refuses; `tests/acceptance/test_lifecycle.py` has its life."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from imagegen.cli.up import WORKERS, Options, running
from imagegen.embedded.application import workers_answer
from imagegen.embedded.environment import Plan
from imagegen.embedded.home import is_locked
from imagegen.embedded.instance import find_instance
from imagegen.embedded.process import started_at
from imagegen.settings import EMULATED_KEY

ROOT = Path(__file__).parents[2]
UP = (sys.executable, "-c", "from imagegen.cli.up import up; up()")


def until(met: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for a condition; fail where it does not come."""
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, "the condition did not come in time"
        time.sleep(0.02)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of this test's own, removed with all in it."""
    with tempfile.TemporaryDirectory(prefix="imagegen-up-") as made:
        yield Path(made)


def environment(folder: Path, **told: str) -> dict[str, str]:
    """The environment of an `up` of this test's own."""
    plan = Plan.isolated(folder / "home", **told)
    return {**plan.environ, "PYTHONPATH": str(ROOT)}


def run_up(env: Mapping[str, str], cwd: Path, command: Sequence[str] = UP) -> subprocess.CompletedProcess[str]:
    """An `up` that is expected to refuse."""
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def test_programmatic_start_is_isolated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`running` starts chosen workers beside the emulator whatever keys are around, and a killed worker comes back.

    Meanwhile a second `up` on the same home is refused; at the end no process is left.
    """
    monkeypatch.setenv("GEMINI_API_KEY", "key-real")
    workers = WORKERS[3:]
    options = Options(workers=workers, beat=False, api=False, flower=False, durable=False, report=lambda _: None)
    with running(Plan.isolated(folder / "home"), options) as started:
        assert started.instance.env["GEMINI_API_KEY"] == EMULATED_KEY
        assert find_instance(folder / "home") == started.instance
        assert started.supervisor.pids().keys() == {"postgres", "redis", "emulator", "housekeeping"}
        second = run_up(environment(folder), folder)
        assert (second.returncode, f"pid {os.getpid()}" in second.stderr) == (3, True)
        first = started.supervisor.pids()["housekeeping"]
        os.kill(first, signal.SIGKILL)
        until(lambda: started.supervisor.pids().get("housekeeping", first) != first)
        until(lambda: workers_answer(started.settings.broker, workers))
        pids = started.supervisor.pids()
    assert not any(started_at(pid) for pid in pids.values())
    assert not is_locked(folder / "home")
    assert find_instance(folder / "home") is None


def test_bare_package_says_so(folder: Path) -> None:
    """Without the worker application `up` exits 2 and says what is missing, before it starts anything."""
    (folder / "site").mkdir()
    (folder / "site" / "imagegen").symlink_to(ROOT / "imagegen")
    # Without the site's own paths, for a checkout may be installed there.
    path = os.pathsep.join([str(folder / "site"), sysconfig.get_path("purelib")])
    done = run_up({**environment(folder), "PYTHONPATH": path}, folder, (UP[0], "-S", *UP[1:]))
    assert (done.returncode, "bare package" in done.stderr) == (2, True)
    assert not (folder / "home" / "run").exists()


def test_pending_migrations_are_the_users(folder: Path, database_url: str, redis_url: str) -> None:
    """A database of the user's own is never migrated: `up` exits 3 with the command to run."""
    env = environment(
        folder,
        IMAGEGEN_DATABASE_URL=database_url,
        IMAGEGEN_REDIS_URL=redis_url,
        IMAGEGEN_ENV="development",
        USE_REAL_IMAGE="false",
    )
    done = run_up(env, folder)
    assert (done.returncode, "imagegen migrate" in done.stderr) == (3, True)


def test_busy_port_is_refused(folder: Path) -> None:
    """A port that was set and is busy makes `up` exit 3, naming the setting."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        done = run_up(environment(folder, IMAGEGEN_FLOWER_PORT=str(busy.getsockname()[1])), folder)
    assert (done.returncode, "IMAGEGEN_FLOWER_PORT" in done.stderr) == (3, True)


def test_paying_by_accident_is_refused(folder: Path) -> None:
    """A configured database with a key, and nothing said about real pictures, makes `up` exit 2."""
    env = environment(folder, IMAGEGEN_DATABASE_URL="postgresql://u@127.0.0.1:1/x", GEMINI_API_KEY="key-real")
    done = run_up(env, folder)
    assert (done.returncode, "USE_REAL_IMAGE" in done.stderr) == (2, True)
