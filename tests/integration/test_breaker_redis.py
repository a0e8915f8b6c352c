"""The circuit breaker over several real processes, and with Redis away."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import redis

from imagegen.clock import SystemClock
from imagegen.embedded.home import Home
from imagegen.embedded.redis import redis_child
from imagegen.embedded.supervisor import Child
from imagegen.errors import PartUnavailable, Temporary
from imagegen.testing.memory import ManualClock
from storage.breaker import RedisBreaker
from storage.circuit import AWAY_FOR, COMPLAIN_EVERY, LOOK_EVERY, PROBE_LEASE

ROOT = Path(__file__).parents[2]
START = """
import os
import sys
from imagegen.clock import SystemClock
from imagegen.errors import Temporary
from storage.breaker import RedisBreaker
breaker = RedisBreaker(sys.argv[1], sys.argv[2], SystemClock(), failures=3, reset_after=float(sys.argv[3]))
def say(word):
    # One write: lines of processes that share this pipe must not mix.
    os.write(1, f"{word}\\n".encode())
"""
PROBE = """
say("ready")
sys.stdin.readline()
try:
    with breaker.call("gemini", "submit") as report:
        say("inside")
        if sys.stdin.readline().strip() == "report":
            report(True)
except Temporary:
    say("refused")
"""
EIGHT = """
start, begin = os.pipe()
for _ in range(8):
    if os.fork() == 0:
        os.close(begin)
        os.read(start, 1)
        try:
            with breaker.call("gemini", "submit") as report:
                say("inside")
                sys.stdin.readline()
                report(True)
        except Temporary:
            say("refused")
        os._exit(0)
os.close(begin)
for _ in range(8):
    os.wait()
"""
FAIL = """
for _ in range(3):
    with breaker.call("gemini", "submit") as report:
        report(False)
say("failed")
"""


Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def namespace() -> str:
    """A namespace of the test's own."""
    return f"t-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def run(redis_url: str, namespace: str) -> Iterator[Run]:
    """Starts Python processes that share a circuit; all are ended after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(script: str, reset_after: float = 30) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", START + script, redis_url, namespace, str(reset_after)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def heard(process: subprocess.Popen[str]) -> str:
    """The process's next line."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def told(process: subprocess.Popen[str], line: str = "") -> None:
    """Gives the process a line to read."""
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def test_a_process_opens_it_for_the_others(run: Run, redis_url: str, namespace: str) -> None:
    """Three failures in one process stop another, which had a connection and a calm circuit in its memory."""
    clock = ManualClock()
    with closing(RedisBreaker(redis_url, namespace, clock, failures=3)) as here:
        with here.call("gemini", "submit") as report:
            report(True)
        assert heard(run(FAIL)) == "failed"
        clock.advance(1)
        with pytest.raises(Temporary), here.call("gemini", "submit"):
            pytest.fail("a call was let through")


def test_eight_processes_make_one_probe(run: Run, redis_url: str, namespace: str) -> None:
    """At the end of the rest eight workers ask at once: one is let through, and its success frees all."""
    assert heard(run(FAIL, reset_after=0)) == "failed"
    workers = run(EIGHT, reset_after=0)
    assert sorted(heard(workers) for _ in range(8)) == ["inside", *["refused"] * 7]
    told(workers)
    assert workers.wait(10) == 0
    with closing(RedisBreaker(redis_url, namespace, SystemClock())) as here:
        assert here.state("gemini", "submit") == "closed"


def test_a_killed_prober_s_lease_runs_out(run: Run, redis_url: str, namespace: str) -> None:
    """kill -9 in the middle of the probe leaves a lease with an end; then the next call may probe."""
    assert heard(run(FAIL, reset_after=0)) == "failed"
    prober = run(PROBE, reset_after=0)
    assert heard(prober) == "ready"
    told(prober)
    assert heard(prober) == "inside"
    prober.kill()
    prober.wait(10)
    with closing(redis.Redis.from_url(redis_url)) as client:
        key = f"{namespace}:breaker:gemini:submit:probe"
        assert 0 < client.pttl(key) <= PROBE_LEASE * 1000
        client.pexpire(key, 1)
        deadline = time.monotonic() + 5
        while client.exists(key) and time.monotonic() < deadline:
            time.sleep(0.005)
    with closing(RedisBreaker(redis_url, namespace, SystemClock(), reset_after=0)) as here:
        with here.call("gemini", "submit") as report:
            report(True)
        assert here.state("gemini", "submit") == "closed"


def test_a_lost_lease_is_fenced(redis_url: str, namespace: str) -> None:
    """A prober whose lease went to another decides nothing, and leaves the other's lease alone."""
    clock = ManualClock()
    with closing(RedisBreaker(redis_url, namespace, clock, failures=1)) as here:
        with here.call("gemini", "submit") as report:
            report(False)
        clock.advance(31)
        with closing(redis.Redis.from_url(redis_url)) as client:
            key = f"{namespace}:breaker:gemini:submit:probe"
            with here.call("gemini", "submit") as report:
                client.set(key, "another")
                report(True)
                assert here.state("gemini", "submit") == "half-open"
            assert client.get(key) == b"another"


def test_a_flushed_redis_means_closed(redis_url: str, namespace: str) -> None:
    """Losing all of Redis forgets the failures and breaks nothing."""
    with closing(RedisBreaker(redis_url, namespace, ManualClock(), failures=1)) as here:
        with here.call("gemini", "submit") as report:
            report(False)
        with closing(redis.Redis.from_url(redis_url)) as client:
            client.flushdb()
        assert here.state("gemini", "submit") == "closed"
        with here.call("gemini", "submit") as report:
            report(True)


def test_without_redis_calls_go_through(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Redis away: fail open, told once a minute, and left alone for a while instead of asked at every call."""
    caplog.set_level(logging.WARNING)
    clock = ManualClock()
    with closing(RedisBreaker(f"unix://{tmp_path}/none.sock", "ns", clock, failures=1)) as here:
        for _ in range(20):
            with here.call("gemini", "submit") as report:
                report(False)
            assert here.state("gemini", "submit") == "closed"
            clock.advance(2)
        assert len(caplog.records) == 1
        assert "Redis cannot be reached" in caplog.text
        clock.advance(60)
        with here.call("gemini", "submit") as report:
            report(False)
        assert len(caplog.records) == 2


def test_redis_lost_during_a_call_is_no_error(redis_url: str, namespace: str, tmp_path: Path) -> None:
    """The report of a call made while Redis went away is dropped, not raised; so is a probe's."""
    clock = ManualClock()
    here = RedisBreaker(redis_url, namespace, clock, failures=1)
    away = redis.ConnectionPool.from_url(f"unix://{tmp_path}/none.sock")
    there = here._client.connection_pool
    with closing(here):
        with here.call("gemini", "submit") as report:
            report(False)
        clock.advance(31)
        with here.call("gemini", "submit") as report:
            here._client.connection_pool = away
            report(True)
        here._client.connection_pool = there
        clock.advance(31)
        assert here.state("gemini", "submit") == "half-open"


def test_redis_dies_and_comes_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A real Redis killed and started again: meanwhile every call goes through at one line of log, then it counts."""
    caplog.set_level(logging.WARNING)
    home, clock = Home(tmp_path / "home"), ManualClock()
    home.path.mkdir(mode=0o700)
    child, url = redis_child(home, durable=False)
    try:
        with closing(RedisBreaker(url, "ns", clock, failures=1)) as here:
            with served(child), here.call("gemini", "submit") as report:
                report(True)
            clock.advance(LOOK_EVERY)
            for _ in range(10):
                with here.call("gemini", "submit") as report:
                    report(False)
                clock.advance(AWAY_FOR + 1)
                if clock.monotonic() < COMPLAIN_EVERY:
                    assert len(caplog.records) == 1
            for act in (here.open, here.reset):
                with pytest.raises(PartUnavailable, match="Redis"):
                    act("gemini", "submit")
            clock.advance(AWAY_FOR + 1)
            with served(child):
                with here.call("gemini", "submit") as report:
                    report(False)
                assert here.state("gemini", "submit") == "open"
                with pytest.raises(Temporary), here.call("gemini", "submit"):
                    pytest.fail("a call was let through")
    finally:
        home.remove_short_folders()


@contextmanager
def served(child: Child) -> Iterator[None]:
    """The child's Redis answers inside and is killed at the end, its data with it."""
    process = subprocess.Popen(child.command, cwd=child.cwd, env=dict(child.env), stdout=subprocess.DEVNULL)
    assert child.ready is not None
    try:
        deadline = time.monotonic() + 20
        while not child.ready():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield
    finally:
        process.kill()
        process.wait()


def test_a_calm_circuit_costs_no_command(redis_url: str, namespace: str) -> None:
    """A hundred good calls in a moment ask Redis next to nothing: a poll must stay cheap."""
    clock = ManualClock()
    with closing(RedisBreaker(redis_url, namespace, clock)) as here, closing(redis.Redis.from_url(redis_url)) as client:
        before = client.info("stats")["total_commands_processed"]
        for _ in range(100):
            with here.call("gemini", "poll") as report:
                report(True)
        assert client.info("stats")["total_commands_processed"] - before < 20
