"""The circuit breaker in front of a real HTTP provider that eight real processes call as fast as they may."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import redis

from imagegen.clock import SystemClock
from imagegen.errors import Temporary
from storage.breaker import RedisBreaker
from storage.circuit import LOOK_EVERY

ROOT = Path(__file__).parents[2]
RESET = 2.2
"""Seconds that an open circuit rests. pybreaker keeps the moment of opening in whole seconds: it may be one less."""
SHORTEST = RESET - 1
SETTLED = LOOK_EVERY + 0.2
"""Seconds after which no process believes any more that the circuit is closed."""
HAMMER = """
import os, sys, time
from urllib.error import HTTPError
from urllib.request import urlopen
from imagegen.clock import SystemClock
from imagegen.errors import Temporary
from storage.breaker import RedisBreaker
for _ in range(7):
    if os.fork() == 0:
        break
breaker = RedisBreaker(sys.argv[1], sys.argv[2], SystemClock(), failures=3, reset_after=float(sys.argv[3]))
while True:
    try:
        with breaker.call("gemini", "submit") as report:
            try:
                urlopen(f"{sys.argv[4]}/{os.getpid()}", timeout=30).close()
                report(True)
            except HTTPError as error:
                if error.code >= 500:
                    report(False)
    except Temporary:
        pass
    time.sleep(0.01)
"""


class FakeProvider:
    """Answers with `status` after `seconds`; notes who called when, and how many calls were inside at once."""

    def __init__(self) -> None:
        self.status, self.seconds = 200, 0.0
        self.calls: list[tuple[float, int]] = []
        self.inside = self.most = 0
        self._lock = threading.Lock()
        told = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                told.answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing on standard error."""

        class Server(ThreadingHTTPServer):
            # A connection that finds the queue full is made a whole second later: a call from before the opening.
            request_queue_size = 128
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """One call; its caller's process number is its path."""
        with self._lock:
            self.calls.append((time.monotonic(), int(request.path[1:])))
            self.inside += 1
            self.most = max(self.most, self.inside)
            status, seconds = self.status, self.seconds
        time.sleep(seconds)
        with self._lock:
            self.inside -= 1
        try:
            request.send_response(status)
            request.end_headers()
        except OSError:
            return

    def forget(self) -> None:
        """As if nobody had called."""
        with self._lock:
            self.calls, self.most = [], self.inside

    def called(self, times: int, seconds: float = 20) -> list[tuple[float, int]]:
        """Returns when it was called this often."""
        end = time.monotonic() + seconds
        while len(self.calls) < times:
            assert time.monotonic() < end, f"{len(self.calls)} calls, not {times}, after {seconds} s"
            time.sleep(0.005)
        return list(self.calls)

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with closing(FakeProvider()) as provider:
        yield provider


@pytest.fixture
def namespace() -> str:
    """A namespace of the test's own."""
    return f"t-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def breaker(redis_url: str, namespace: str) -> Iterator[RedisBreaker]:
    """This process's view of the circuit."""
    with closing(RedisBreaker(redis_url, namespace, SystemClock(), failures=3, reset_after=RESET)) as breaker:
        yield breaker


@pytest.fixture
def hammer(redis_url: str, namespace: str, provider: FakeProvider) -> Iterator[Callable[..., None]]:
    """Starts eight processes that call the provider without a rest; all are killed after the test."""
    with ExitStack() as started:

        def start(reset_after: float = RESET) -> None:
            process = subprocess.Popen(
                [sys.executable, "-c", HAMMER, redis_url, namespace, str(reset_after), provider.url],
                cwd=ROOT,
                start_new_session=True,
            )
            started.callback(process.wait)
            started.callback(os.killpg, process.pid, signal.SIGKILL)

        yield start


def hammered(provider: FakeProvider) -> None:
    """Returns when all eight processes call."""
    until(lambda: len({caller for _, caller in provider.calls}) == 8)


def opened(breaker: RedisBreaker, provider: FakeProvider, seconds: float) -> None:
    """The provider dies. Returns when the circuit is open and all know; from then on a call takes `seconds`."""
    provider.status = 503
    until(lambda: breaker.state("gemini", "submit") != "closed")
    time.sleep(SETTLED)
    provider.seconds = seconds
    provider.forget()


def until(there: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, f"nothing after {seconds} s"
        time.sleep(0.005)


def test_a_dead_provider_is_asked_once_in_a_while_and_freed_by_one_answer(
    provider: FakeProvider, hammer: Callable[..., None], breaker: RedisBreaker
) -> None:
    """Eight processes, a dead provider: one probe per rest, nobody beside a slow one; alive again, all are let in."""
    hammer()
    hammered(provider)
    opened(breaker, provider, seconds=0.4)
    moments = [moment for moment, _ in provider.called(3)]
    assert provider.most == 1
    assert all(later - before >= provider.seconds + SHORTEST - 0.05 for before, later in pairwise(moments))
    provider.status, provider.seconds = 200, 0.0
    until(lambda: breaker.state("gemini", "submit") == "closed")
    provider.forget()
    hammered(provider)


def test_a_killed_prober_is_replaced_by_exactly_one(
    provider: FakeProvider, hammer: Callable[..., None], breaker: RedisBreaker, redis_url: str, namespace: str
) -> None:
    """kill -9 in the middle of the probe: nobody probes while its lease lasts, and one other once it ran out."""
    hammer()
    hammered(provider)
    opened(breaker, provider, seconds=6.0)
    ((_, prober),) = provider.called(1)
    os.kill(prober, signal.SIGKILL)
    time.sleep(0.3)
    assert len(provider.calls) == 1
    with closing(redis.Redis.from_url(redis_url)) as client:
        # Not fifteen seconds for the test: the dead prober's lease is about to end.
        assert client.pexpire(f"{namespace}:breaker:gemini:submit:probe", 200)
    _, (_, second) = provider.called(2)
    assert second != prober
    time.sleep(0.5)
    assert len(provider.calls) == 2


def test_refusals_of_a_request_neither_trip_nor_heal(provider: FakeProvider, breaker: RedisBreaker) -> None:
    """A provider that answers 400 is there: that opens no circuit and closes none that is half-open."""
    provider.status = 400
    for _ in range(10):
        ask(breaker, provider)
    assert breaker.state("gemini", "submit") == "closed"
    breaker.open("gemini", "submit")
    until(lambda: breaker.state("gemini", "submit") == "half-open")
    ask(breaker, provider)
    assert breaker.state("gemini", "submit") == "half-open"
    provider.status = 200
    ask(breaker, provider)
    assert breaker.state("gemini", "submit") == "closed"


def test_refusals_between_failures_hide_none(provider: FakeProvider, breaker: RedisBreaker) -> None:
    """Failures still count as in a row where a refused request came between them."""
    for status in (503, 400, 503, 422, 503):
        provider.status = status
        ask(breaker, provider)
    assert breaker.state("gemini", "submit") == "open"


def test_the_call_that_trips_keeps_its_own_error(provider: FakeProvider, breaker: RedisBreaker) -> None:
    """Who made the last failing call gets the provider's answer, not the breaker's; only unsent calls get that."""
    provider.status = 503
    for _ in range(3):
        with pytest.raises(HTTPError, match="503"):
            ask(breaker, provider, quietly=False)
    with pytest.raises(Temporary), breaker.call("gemini", "submit"):
        pytest.fail("a call was let through")
    assert len(provider.calls) == 3


def test_slow_calls_take_the_time_of_one(provider: FakeProvider, breaker: RedisBreaker) -> None:
    """No lock is held during a call: eight slow calls through one breaker are all inside at once."""
    provider.seconds = 1.0
    threads = [threading.Thread(target=ask, args=(breaker, provider)) for _ in range(8)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert provider.most == 8
    assert time.monotonic() - began < 8 * provider.seconds / 2


def test_opened_by_hand_every_process_stops(
    provider: FakeProvider, hammer: Callable[..., None], breaker: RedisBreaker
) -> None:
    """An operator's `open` stops a healthy provider's callers within moments; `reset` lets them all in again."""
    hammer(reset_after=30)
    hammered(provider)
    breaker.open("gemini", "submit")
    time.sleep(SETTLED)
    provider.forget()
    time.sleep(0.3)
    assert provider.calls == []
    breaker.reset("gemini", "submit")
    hammered(provider)


def ask(breaker: RedisBreaker, provider: FakeProvider, quietly: bool = True) -> None:
    """One call, reported as the pipeline does: 5xx as a failure, other refusals as nothing. Raises unless `quietly`."""
    with breaker.call("gemini", "submit") as report:
        try:
            urlopen(f"{provider.url}/0", timeout=10).close()
            report(True)
        except HTTPError as error:
            error.close()
            if error.code >= 500:
                report(False)
            if not quietly:
                raise
