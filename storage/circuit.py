"""One circuit's state in Redis: what pybreaker keeps (state, failures, time of opening), and the lease of its probe.

Whatever decides between several processes is one Lua script: a look and the step that follows from it are never apart.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

import redis
from pybreaker import STATE_CLOSED, STATE_OPEN, CircuitRedisStorage

from imagegen.ports import Clock

PROBE_LEASE = 15.0
"""Seconds a probe's lease lasts; renewed at every third of it while the probing call runs."""
LOOK_EVERY = 0.5
"""Seconds a process believes that a circuit is closed and without failures: a poll must not pay for three commands."""
AWAY_FOR = 5.0
"""Seconds without Redis after it could not be reached."""
COMPLAIN_EVERY = 60.0

_HOLDER_ONLY = "if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end "
_RENEW = _HOLDER_ONLY + "return redis.call('pexpire', KEYS[1], ARGV[2])"
_DROP = _HOLDER_ONLY + "return redis.call('del', KEYS[1])"
_PUT = (
    "redis.call('set', KEYS[2], ARGV[2]) "
    "redis.call('set', KEYS[3], 0) "
    "if ARGV[3] ~= '' then redis.call('set', KEYS[4], ARGV[3]) end "
    "redis.call('del', KEYS[1]) return 1"
)
_FINISH = _HOLDER_ONLY + _PUT
_ADMIT = (
    "local state = redis.call('get', KEYS[2]) "
    "if not state or state == 'closed' then return 0 end "
    "if state == 'open' then "
    "  local rests = tonumber(redis.call('get', KEYS[4]) or 0) + tonumber(ARGV[4]) - tonumber(ARGV[3]) "
    "  if rests > 0 then return math.ceil(rests * 1000) end "
    "end "
    "if not redis.call('set', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return -1 end "
    "redis.call('set', KEYS[2], 'half-open') "
    "return -2"
)

log = logging.getLogger("imagegen.breaker")


class Complaints:
    """pybreaker's logger: tells of a lost Redis once a minute instead of once a command, and remembers the loss."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told = self._lost = float("-inf")

    @property
    def away(self) -> bool:
        """Whether Redis is not worth asking at the moment."""
        return self._clock.monotonic() - self._lost < AWAY_FOR

    def exception(self, *_words: Any) -> None:
        """A command failed."""
        self._lost = self._clock.monotonic()
        if self._lost - self._told >= COMPLAIN_EVERY:
            self._told = self._lost
            log.warning("Redis cannot be reached: circuit breakers count as closed until it is back")


class Entry(Enum):
    """How a circuit lets a call in, where it does: `BUSY` means that another call probes."""

    CLOSED = 0
    BUSY = -1
    PROBE = -2


class Circuit(CircuitRedisStorage):
    """pybreaker's shared state of one circuit, and the lease of its probe."""

    def __init__(self, client: redis.Redis, namespace: str, complaints: Complaints) -> None:
        logger: Any = complaints
        self.logger = logger
        self.label = namespace
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

    def admit(self, token: str, now: datetime, reset_after: timedelta) -> Entry | float:
        """How a call gets in, taking the probe's lease where it is due; or the seconds until it may be probed."""
        told = int(
            self.client.eval(
                _ADMIT, 4, *self._keys, token, int(PROBE_LEASE * 1000), now.timestamp(), reset_after.total_seconds()
            )
        )
        return told / 1000 if told > 0 else Entry(told)

    def rests(self, now: datetime, reset_after: timedelta) -> float:
        """Seconds until an open circuit may be probed; not positive once it may."""
        opened_at = self.opened_at
        return 0.0 if opened_at is None else (opened_at + reset_after - now).total_seconds()

    def renew_probe(self, token: str) -> bool:
        """Whether the lease is still the token's."""
        return bool(self.client.eval(_RENEW, 1, self.probe_key, token, int(PROBE_LEASE * 1000)))

    def drop_probe(self, token: str) -> None:
        """Gives up the lease, where it is still the token's."""
        self.client.eval(_DROP, 1, self.probe_key, token)

    def finish_probe(self, token: str, opened_at: datetime | None) -> bool:
        """The holder alone closes (None) or reopens the circuit, in one step with giving up its lease."""
        return bool(self.client.eval(_FINISH, 4, *self._keys, token, *_words(opened_at)))

    def put(self, opened_at: datetime | None) -> None:
        """An operator closes (None) or opens the circuit: a probe under way may no longer decide."""
        self.client.eval(_PUT, 4, *self._keys, "", *_words(opened_at))
        self.calm_until = float("-inf")

    @property
    def _keys(self) -> Sequence[str]:
        return (self.probe_key, *(self._namespace(name) for name in ("state", "fail_counter", "opened_at")))


def _words(opened_at: datetime | None) -> tuple[str, int | str]:
    return (STATE_CLOSED, "") if opened_at is None else (STATE_OPEN, int(opened_at.timestamp()))
