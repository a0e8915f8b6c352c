"""The supervisor keeps its children alive and leaves none behind, however it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imagegen.embedded.home import Home, HomeLock, is_locked
from imagegen.embedded.process import command_line, started_at
from imagegen.embedded.supervisor import Child, Supervisor
from imagegen.errors import PartUnavailable

ROOT = Path(__file__).parents[2]
SLEEPER = (sys.executable, "-S", "-c", "import time; time.sleep(600)")
# Deaf to SIGTERM, with a child of its own in the same group; prints both numbers.
DEAF = (
    sys.executable,
    "-S",
    "-c",
    "import os, signal, subprocess, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "inner = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'])\n"
    "print(os.getpid(), inner.pid, flush=True)\n"
    "time.sleep(600)\n",
)


def until(met: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait for a condition; fail where it does not come."""
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, "the condition did not come in time"
        time.sleep(0.02)


def sleeper(name: str, **changes: object) -> Child:
    """A child that does nothing."""
    return Child(**{"name": name, "command": SLEEPER, "env": {}, **changes})  # type: ignore[arg-type]


@pytest.fixture
def home() -> Iterator[Home]:
    """A home of this test's own."""
    with tempfile.TemporaryDirectory(prefix="imagegen-supervisor-") as folder:
        yield Home(Path(folder, "home"))


def test_restarts_what_exits_and_says_so(home: Home) -> None:
    """A killed child comes back under another number, with one line on the report and in the log."""
    lines: list[str] = []
    with Supervisor(home, lines.append) as supervisor:
        supervisor.start(sleeper("one"))
        first = supervisor.pids()["one"]
        os.kill(first, signal.SIGKILL)
        until(lambda: supervisor.pids().get("one", first) != first)
    assert lines == ["one was killed by SIGKILL; it is started again in 0.2 s"]
    assert lines[0] in home.log("supervisor").read_text()


def test_backoff_doubles(home: Home) -> None:
    """A child that exits again and again is started ever more slowly, and the failed start tells its last words."""
    lines: list[str] = []
    last_words = (sys.executable, "-S", "-c", "print('no such bucket'); raise SystemExit(3)")
    with Supervisor(home, lines.append) as supervisor:
        with pytest.raises(PartUnavailable, match="no such bucket"):
            supervisor.start(sleeper("hasty", command=last_words, ready=lambda: False))
        assert supervisor.pids() == {}
    assert [line.rpartition(" in ")[2] for line in lines[:4]] == ["0.2 s", "0.4 s", "0.8 s", "1.6 s"]


def test_missing_program(home: Home) -> None:
    """A program that does not exist is named in the refusal."""
    with Supervisor(home, lambda _: None) as supervisor, pytest.raises(PartUnavailable, match="cannot start /no/such"):
        supervisor.start(sleeper("absent", command=("/no/such",), ready=lambda: False))


def test_not_ready_in_time(home: Home) -> None:
    """A child that runs but never gets ready is refused at its deadline, and stopped with the rest."""
    with Supervisor(home) as supervisor:
        with pytest.raises(PartUnavailable, match="slow does not start"):
            supervisor.start(sleeper("slow", ready=lambda: False, ready_seconds=0.2))
        until(lambda: "slow" in supervisor.pids())
        pid = supervisor.pids()["slow"]
    assert started_at(pid) is None


def test_stop_ends_a_deaf_group(home: Home) -> None:
    """A child that ignores SIGTERM is killed after its grace, with all of its process group."""
    log = home.log("deaf")
    with Supervisor(home) as supervisor:
        supervisor.start(
            sleeper("deaf", command=DEAF, grace=0.3, ready=lambda: log.exists() and len(log.read_text().split()) == 2)
        )
        pids = [int(word) for word in log.read_text().split()]
        assert all(started_at(pid) for pid in pids)
    until(lambda: not any(started_at(pid) for pid in pids))


def test_tiers_stop_in_order(home: Home) -> None:
    """Children of a higher tier have ended before one of a lower tier is told to stop."""
    on_term = (
        sys.executable,
        "-S",
        "-c",
        "import signal, sys, time\n"
        "def stop(*_):\n"
        "    print('stop', time.monotonic(), flush=True); time.sleep(0.3)\n"
        "    print('end', time.monotonic(), flush=True); sys.exit()\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "print('up', 0, flush=True)\n"
        "time.sleep(600)\n",
    )
    times: dict[str, dict[str, float]] = {}
    with Supervisor(home) as supervisor:
        for name, tier in (("part", 0), ("worker-a", 1), ("worker-b", 1)):
            log = home.log(name)
            supervisor.start(
                sleeper(
                    name, command=on_term, tier=tier, ready=lambda log=log: log.exists() and "up" in log.read_text()
                )
            )
    for name in ("part", "worker-a", "worker-b"):
        words = home.log(name).read_text().split()
        times[name] = {word: float(value) for word, value in zip(words[::2], words[1::2], strict=True)}
    assert times["part"]["stop"] > max(times["worker-a"]["end"], times["worker-b"]["end"])


SUPERVISING = """
import sys, threading
from pathlib import Path
from imagegen.embedded.home import Home, HomeLock
from imagegen.embedded.postgres import Postgres
from imagegen.embedded.redis import redis_child
from imagegen.embedded.supervisor import Child, Supervisor
home = Home(Path(sys.argv[1]))
lock = HomeLock(home)
lock.acquire()
supervisor = Supervisor(home)
supervisor.start(Postgres(home, durable=False).child())
supervisor.start(redis_child(home)[0])
supervisor.start(Child("worker", (sys.executable, "-S", "-c", "import time; time.sleep(600)"), {}))
print(*supervisor.pids().values(), flush=True)
threading.Event().wait()
"""


def supervising(home: Home) -> tuple[subprocess.Popen[str], list[int]]:
    """A process that supervises Redis, PostgreSQL and a worker; it and its children's numbers."""
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISING, str(home.path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, [int(word) for word in process.stdout.readline().split()]


def test_sigkill_of_the_supervisor_ends_the_children(home: Home) -> None:
    """SIGKILL of the supervisor leaves no child, and the next one starts on the same home."""
    process, pids = supervising(home)
    assert len(pids) == 3
    assert is_locked(home.path)
    process.kill()
    process.communicate()
    until(lambda: not any(started_at(pid) for pid in pids))
    assert not is_locked(home.path)
    again, others = supervising(home)
    try:
        assert len(others) == 3
    finally:
        again.kill()
        again.communicate()
        until(lambda: not any(started_at(pid) for pid in others))


def test_leftovers_are_stopped(home: Home) -> None:
    """Children that outlived their supervisor are ended by the next; a process that got an old number is not."""
    home.prepare()
    leftover, innocent = (subprocess.Popen(SLEEPER, start_new_session=True) for _ in range(2))
    # A zombie would hide the end of the process: its parent must collect it.
    collector = threading.Thread(target=leftover.wait)
    collector.start()
    try:
        record = {
            "redis": {"pid": leftover.pid, "started": started_at(leftover.pid), "signal": signal.SIGTERM},
            "postgres": {"pid": innocent.pid, "started": "1", "signal": signal.SIGINT},
        }
        (home.run / "children.json").write_text(json.dumps(record))
        lines: list[str] = []
        with Supervisor(home, lines.append):
            assert started_at(leftover.pid) is None
            assert started_at(innocent.pid) is not None
        assert lines == [f"redis (pid {leftover.pid}) is left over from an earlier run; it is stopped"]
    finally:
        innocent.kill()
        innocent.wait()
        collector.join()


def test_one_lock_per_home(home: Home) -> None:
    """A second holder is refused with the first one's number, until the first is gone."""
    first = HomeLock(home)
    first.acquire()
    with pytest.raises(PartUnavailable, match=f"already runs in .* \\(pid {os.getpid()}\\)"):
        HomeLock(home).acquire()
    first.release()
    second = HomeLock(home)
    second.acquire()
    second.release()
    assert not is_locked(home.path)


@pytest.mark.skipif(sys.platform != "linux", reason="open files are listed in /proc")
def test_children_inherit_no_descriptor(home: Home) -> None:
    """A child holds neither the lock nor any other open file of its supervisor."""
    lock = HomeLock(home)
    lock.acquire()
    with socket.socket(), Supervisor(home) as supervisor:
        supervisor.start(sleeper("one"))
        pid = supervisor.pids()["one"]
        until(lambda: command_line(pid).endswith("time.sleep(600) "))
        held = {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
        assert held == {os.devnull, str(home.log("one"))}
    lock.release()
