"""Circuit breakers in Redis, one per provider and operation, seen by every worker of the cluster.

pybreaker keeps the state (closed, open, half-open), the count of consecutive failures and the time of opening. Its
`call()` is not used: it holds a lock during the call, counts an excluded error as a success, replaces the error that
trips it, and lets every process probe a half-open circuit at once. Here one worker probes, under a lease with a fencing
token: only the token's holder may close or reopen the circuit, and a killed prober's lease runs out by itself.

Redis away: the circuit counts as closed (the cap on calls in flight is kept in PostgreSQL), and Redis is left alone for
`AWAY_FOR` seconds so that no call pays for its timeouts.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import redis
from pybreaker import STATE_CLOSED, STATE_HALF_OPEN, STATE_OPEN
from redis.backoff import NoBackoff
from redis.retry import Retry

from imagegen.errors import PartUnavailable, Temporary
from imagegen.policies import BREAKER_FAILURES, BREAKER_RESET
from imagegen.ports import Clock
from storage.circuit import PROBE_LEASE, Circuit, Complaints, Entry

PROBE_LOOK = 5.0
"""Seconds after which a call that met another's probe asks again."""
SOCKET_TIMEOUT = 0.5

log = logging.getLogger("imagegen.breaker")
Report = Callable[[bool], None]


class RedisBreaker:
    """`ports.Breaker` on Redis. Thread-safe; connects when first used."""

    def __init__(
        self,
        url: str,
        namespace: str,
        clock: Clock,
        *,
        failures: int = BREAKER_FAILURES,
        reset_after: float = BREAKER_RESET,
    ) -> None:
        """`url` as redis-py reads it; `failures` in a row open a circuit for `reset_after` seconds."""
        # An own client: pybreaker needs bytes back, and its commands must fail fast instead of being repeated.
        self._client = redis.Redis.from_url(
            url,
            socket_timeout=SOCKET_TIMEOUT,
            socket_connect_timeout=SOCKET_TIMEOUT,
            retry=Retry(NoBackoff(), 1),
            decode_responses=False,
        )
        self._namespace, self._clock = namespace, clock
        self._failures, self._reset_after = failures, timedelta(seconds=reset_after)
        self._complaints = Complaints(clock)
        self._circuits: dict[str, Circuit] = {}

    @contextmanager
    def call(self, provider: str, operation: str) -> Iterator[Report]:
        """See `ports.Breaker.call`; the `Temporary` carries `retryAfter` and `reason: breaker`."""
        circuit = self._circuit(provider, operation)
        if circuit is None or circuit.calm(self._clock.monotonic()):
            yield lambda ok: self._closed_report(circuit, ok)
            return
        token = self._admit(circuit, provider, operation)
        if token is None:
            yield lambda ok: self._closed_report(circuit, ok)
            return
        stop = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(circuit, token, stop), name="breaker-probe", daemon=True)
        keeper.start()
        try:
            yield lambda ok: self._probe_report(circuit, token, ok)
        finally:
            stop.set()
            keeper.join()
            self._quietly(lambda: circuit.drop_probe(token))

    def state(self, provider: str, operation: str) -> str:
        """`closed`, `open` or `half-open`; `half-open` too once an open circuit waits for its probe."""
        circuit = self._circuit(provider, operation)
        if circuit is None:
            return STATE_CLOSED
        state = circuit.state
        return STATE_HALF_OPEN if state == STATE_OPEN and self._rests(circuit) <= 0 else state

    def rests(self, provider: str, operation: str) -> float:
        """Seconds until an open circuit is probed; 0 for any other."""
        circuit = self._circuit(provider, operation)
        return max(0.0, self._rests(circuit)) if circuit is not None and circuit.state == STATE_OPEN else 0.0

    def open(self, provider: str, operation: str) -> None:
        """Opens the circuit by hand. Raises `PartUnavailable`: nobody else would tell that nothing came of it."""
        self._put(provider, operation, self._clock.now())

    def reset(self, provider: str, operation: str) -> None:
        """Closes the circuit and forgets its failures; a probe under way may no longer decide.

        Raises `PartUnavailable`.
        """
        self._put(provider, operation, None)

    def close(self) -> None:
        """Closes the connections to Redis."""
        self._client.close()

    def _circuit(self, provider: str, operation: str) -> Circuit | None:
        """None while Redis is away."""
        if self._complaints.away:
            return None
        name = f"{self._namespace}:breaker:{provider}:{operation}"
        if name not in self._circuits:
            try:
                self._circuits[name] = Circuit(self._client, name, self._complaints)
            except redis.RedisError:
                self._complaints.exception()
                return None
        return self._circuits[name]

    def _rests(self, circuit: Circuit) -> float:
        return circuit.rests(self._clock.now(), self._reset_after)

    def _put(self, provider: str, operation: str, opened_at: datetime | None) -> None:
        circuit = self._circuit(provider, operation)
        try:
            if circuit is not None:
                circuit.put(opened_at)
                return
        except redis.RedisError:
            self._complaints.exception()
        raise PartUnavailable("Redis cannot be reached: circuit breakers stay as they are", {"part": "Redis"})

    def _admit(self, circuit: Circuit, provider: str, operation: str) -> str | None:
        """The token of the one probe; None where the circuit is closed after all. Raises `Temporary` for all others."""
        token = uuid.uuid4().hex
        entry = self._quietly(lambda: circuit.admit(token, self._clock.now(), self._reset_after))
        if entry is None or entry is Entry.CLOSED:
            return None
        if entry is Entry.PROBE:
            return token
        raise _open(provider, operation, PROBE_LOOK if entry is Entry.BUSY else entry)

    def _closed_report(self, circuit: Circuit | None, ok: bool) -> None:
        # A call that began before the circuit opened says nothing about how the provider is by then.
        if circuit is None or self._complaints.away or (ok and self._clock.monotonic() < circuit.calm_until):
            return
        if not ok:
            circuit.calm_until = float("-inf")
        if circuit.state != STATE_CLOSED:
            return
        if ok:
            circuit.reset_counter()
            return
        circuit.increment_counter()
        if circuit.counter >= self._failures:
            circuit.opened_at = self._clock.now()
            circuit.state = STATE_OPEN
            log.warning("circuit %s opened after %d failures in a row", circuit.label, self._failures)

    def _probe_report(self, circuit: Circuit, token: str, ok: bool) -> None:
        opened_at = None if ok else self._clock.now()
        if self._quietly(lambda: circuit.finish_probe(token, opened_at)):
            log.warning("circuit %s: the probe %s", circuit.label, "closed it" if ok else "failed, it stays open")

    def _keep(self, circuit: Circuit, token: str, stop: threading.Event) -> None:
        while not stop.wait(PROBE_LEASE / 3):
            if not self._quietly(lambda: circuit.renew_probe(token)):
                return

    def _quietly(self, command: Callable[[], Any]) -> Any:
        """The command's answer, or None where Redis cannot be reached."""
        try:
            return command()
        except redis.RedisError:
            self._complaints.exception()
            return None


def _open(provider: str, operation: str, rests: float) -> Temporary:
    return Temporary(
        f"{provider} has failed repeatedly: no {operation} before it has recovered",
        {"retryAfter": max(0.1, round(rests, 3)), "reason": "breaker"},
    )
