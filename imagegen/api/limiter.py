"""How many requests an owner may send: a moving window in Redis, shared by all processes of the door."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from time import time
from typing import Protocol

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter
from redis import ConnectionPool, RedisError

from imagegen.settings_values import RateLimit

log = logging.getLogger(__name__)

PATIENCE = 0.25
"""Seconds that Redis may take to answer; a request never waits longer for its own limit."""
REST = 5.0
"""Seconds that Redis is left alone after it did not answer; nobody is limited meanwhile."""


class Limiter(Protocol):
    """Counts requests."""

    def over(self, who: str) -> float | None:
        """Counts one request; seconds until there is room again where there is none, None where there was."""
        ...


class RedisLimiter:
    """`Limiter` on Redis. Thread-safe; where Redis is away, nobody is limited."""

    def __init__(self, url: str, namespace: str, rate: RateLimit, monotonic: Callable[[], float]) -> None:
        self._rate: RateLimitItem = RateLimitItemPerSecond(rate.count, rate.seconds)
        pool: ConnectionPool = ConnectionPool.from_url(url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE)
        storage = RedisStorage("redis://", connection_pool=pool, key_prefix=f"{namespace}:limits")
        self._windows = MovingWindowRateLimiter(storage)
        self._monotonic = monotonic
        self._rests_until = 0.0
        self._lock = threading.Lock()

    def over(self, who: str) -> float | None:
        """See `Limiter`."""
        if self._monotonic() < self._rests_until:
            return None
        try:
            if self._windows.hit(self._rate, "http", who):
                return None
            return max(1.0, self._windows.get_window_stats(self._rate, "http", who).reset_time - time())
        except RedisError as error:
            self._leave_alone(error)
            return None

    def _leave_alone(self, error: RedisError) -> None:
        with self._lock:
            now = self._monotonic()
            if now >= self._rests_until:
                log.warning("requests are not limited for %.0f s: Redis does not answer (%s)", REST, error)
            self._rests_until = now + REST
