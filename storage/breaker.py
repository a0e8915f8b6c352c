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
from datetime import timedelta
from typing import Any

import redis
from pybreaker import STATE_CLOSED, STATE_HALF_OPEN, STATE_OPEN, CircuitRedisStorage
from redis.backoff import NoBackoff
from redis.retry import Retry

from imagegen.errors import Temporary
from imagegen.policies import BREAKER_FAILURES, BREAKER_RESET
from imagegen.ports import Clock

PROBE_LEASE = 15.0
"""Seconds a probe's lease lasts; renewed at every third of it while the probing call runs."""
LOOK_EVERY = 0.5
"""Seconds a process believes that a circuit is closed and without failures: a poll must not pay for three commands."""
AWAY_FOR = 5.0
"""Seconds without Redis after it could not be reached."""
COMPLAIN_EVERY = 60.0
SOCKET_TIMEOUT = 0.5

_HOLDER_ONLY = "if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end "
_RENEW = _HOLDER_ONLY + "return redis.call('pexpire', KEYS[1], ARGV[2])"
_DROP = _HOLDER_ONLY + "return redis.call('del', KEYS[1])"
_FINISH = _HOLDER_ONLY + (
    "redis.call('set', KEYS[2], ARGV[2]) "
    "redis.call('set', KEYS[3], 0) "
    "if ARGV[3] ~= '' then redis.call('set', KEYS[4], ARGV[3]) end "
    "return redis.call('del', KEYS[1])"
)

log = logging.getLogger("imagegen.breaker")
Report = Callable[[bool], None]


class _Complaints:
    """pybreaker's logger: tells of a lost Redis once a minute instead of once a command, and remembers the loss."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told = self._lost = float("-inf")

    @property
    def away(self) -> bool:
        return self._clock.monotonic() - self._lost < AWAY_FOR

    def exception(self, *_words: Any) -> None:
        self._lost = self._clock.monotonic()
        if self._lost - self._told >= COMPLAIN_EVERY:
            self._told = self._lost
            log.warning("Redis cannot be reached: circuit breakers count as closed until it is back")


class _Circuit(CircuitRedisStorage):
    """pybreaker's shared state of one circuit, and the lease of its probe."""

    def __init__(self, client: redis.Redis, namespace: str, complaints: _Complaints) -> None:
        logger: Any = complaints
        self.logger = logger
        self.client = client
        self.probe_key = f"{namespace}:probe"
        self.calm_until = float("-inf")
        super().__init__(STATE_CLOSED, client, namespace=namespace)

    def calm(self, now: float) -> bool:
        """Whether it is closed; asked at most every `LOOK_EVERY` seconds while there are no failures either."""
        if now < self.calm_until:
            return True
        closed = self.state == STATE_CLOSED
        if closed and self.counter == 0:
            self.calm_until = now + LOOK_EVERY
        return closed

    def take_probe(self, token: str) -> bool:
        return bool(self.client.set(self.probe_key, token, nx=True, px=int(PROBE_LEASE * 1000)))

    def renew_probe(self, token: str) -> bool:
        return bool(self.client.eval(_RENEW, 1, self.probe_key, token, int(PROBE_LEASE * 1000)))

    def drop_probe(self, token: str) -> None:
        self.client.eval(_DROP, 1, self.probe_key, token)

    def finish_probe(self, token: str, state: str, opened_at: int | None) -> bool:
        """The holder alone moves the circuit, in one step with giving up its lease."""
        names = [self._namespace(name) for name in ("state", "fail_counter", "opened_at")]
        moment = "" if opened_at is None else opened_at
        return bool(self.client.eval(_FINISH, 4, self.probe_key, *names, token, state, moment))


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
        self._complaints = _Complaints(clock)
        self._circuits: dict[str, _Circuit] = {}

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

    def reset(self, provider: str, operation: str) -> None:
        """Closes the circuit and forgets its failures; a probe under way may no longer decide."""
        circuit = self._circuit(provider, operation)
        if circuit is not None:
            self._quietly(lambda: circuit.client.delete(circuit.probe_key))
            circuit.reset_counter()
            circuit.state = STATE_CLOSED

    def close(self) -> None:
        """Closes the connections to Redis."""
        self._client.close()

    def _circuit(self, provider: str, operation: str) -> _Circuit | None:
        """None while Redis is away."""
        if self._complaints.away:
            return None
        name = f"{self._namespace}:breaker:{provider}:{operation}"
        if name not in self._circuits:
            try:
                self._circuits[name] = _Circuit(self._client, name, self._complaints)
            except redis.RedisError:
                self._complaints.exception()
                return None
        return self._circuits[name]

    def _rests(self, circuit: _Circuit) -> float:
        """Seconds until an open circuit may be probed."""
        opened_at = circuit.opened_at
        if opened_at is None:
            return 0.0
        return (opened_at + self._reset_after - self._clock.now()).total_seconds()

    def _admit(self, circuit: _Circuit, provider: str, operation: str) -> str | None:
        """The token of the one probe; None where the circuit closed meanwhile. Raises `Temporary` for all others."""
        token = uuid.uuid4().hex
        if circuit.state == STATE_OPEN and (rests := self._rests(circuit)) > 0:
            raise _open(provider, operation, rests)
        if not self._quietly(lambda: circuit.take_probe(token)):
            if self._complaints.away:
                return None
            raise _open(provider, operation, PROBE_LEASE)
        # Between the look and the lease an earlier probe may have ended, either way.
        state = circuit.state
        rests = self._rests(circuit) if state == STATE_OPEN else 0.0
        if state == STATE_CLOSED or rests > 0:
            self._quietly(lambda: circuit.drop_probe(token))
            if rests > 0:
                raise _open(provider, operation, rests)
            return None
        circuit.state = STATE_HALF_OPEN
        return token

    def _closed_report(self, circuit: _Circuit | None, ok: bool) -> None:
        # A call that began before the circuit opened says nothing about how the provider is by then.
        if circuit is None or self._complaints.away or (ok and self._clock.monotonic() < circuit.calm_until):
            return
        if circuit.state != STATE_CLOSED:
            return
        if ok:
            circuit.reset_counter()
            return
        circuit.calm_until = float("-inf")
        circuit.increment_counter()
        if circuit.counter >= self._failures:
            circuit.opened_at = self._clock.now()
            circuit.state = STATE_OPEN
            log.warning("circuit %s opened after %d failures in a row", circuit.probe_key, self._failures)

    def _probe_report(self, circuit: _Circuit, token: str, ok: bool) -> None:
        state = STATE_CLOSED if ok else STATE_OPEN
        opened_at = None if ok else int(self._clock.now().timestamp())
        if self._quietly(lambda: circuit.finish_probe(token, state, opened_at)):
            log.warning("circuit %s: the probe %s", circuit.probe_key, "closed it" if ok else "failed, it stays open")

    def _keep(self, circuit: _Circuit, token: str, stop: threading.Event) -> None:
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
