"""Webhooks of the asynchronous APIs: posted when a task ends, a few times where the receiver does not answer 2xx."""

from __future__ import annotations

import heapq
import itertools
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Condition, Thread
from typing import Protocol
from urllib.parse import urlsplit

from imagegen.emulator.ledger import Ledger
from imagegen.emulator.outbound import NotReachable, Outbound

logger = logging.getLogger(__name__)
RETRY_DELAYS = (0.5, 2.0)
"""Seconds before a webhook is tried again; the real count is not documented."""

SENDERS = 8


class Callbacks(Protocol):
    """Who posts webhooks."""

    def later(self, delay: float, url: str, body: Callable[[], bytes]) -> None:
        """Posts after `delay` seconds; `body` is made only then."""
        ...

    def at_once(self, url: str, body: bytes) -> None:
        """Posts before it returns."""
        ...


class CallbackSender:
    """One timer thread and a few senders, started with the first webhook and ended by `close`."""

    def __init__(self, outbound: Outbound, ledger: Ledger) -> None:
        self._outbound = outbound
        self._ledger = ledger
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._wake = Condition()
        self._closed = False
        self._timer: Thread | None = None
        self._pool: ThreadPoolExecutor | None = None

    def later(self, delay: float, url: str, body: Callable[[], bytes]) -> None:
        """Posts after `delay` seconds."""
        self._plan(delay, lambda: self._attempt(url, body(), 0))

    def at_once(self, url: str, body: bytes) -> None:
        """Posts before it returns; a receiver that fails is tried again later."""
        self._attempt(url, body, 0)

    def forget(self) -> None:
        """Drops every webhook that is not on its way yet."""
        with self._wake:
            self._due.clear()

    def close(self) -> None:
        """Drops what is planned, waits for what is on its way; the caller closes `outbound` first."""
        with self._wake:
            self._closed = True
            self._due.clear()
            self._wake.notify()
        if self._timer is not None:
            self._timer.join()
        if self._pool is not None:
            self._pool.shutdown()

    def _plan(self, delay: float, action: Callable[[], None]) -> None:
        with self._wake:
            if self._closed:
                return
            if self._timer is None:
                self._pool = ThreadPoolExecutor(SENDERS, "emulator-webhook")
                self._timer = Thread(target=self._run, name="emulator-webhook-timer", daemon=True)
                self._timer.start()
            heapq.heappush(self._due, (time.monotonic() + delay, next(self._order), action))
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                if self._closed:
                    return
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is None or wait > 0:
                    self._wake.wait(wait)
                    continue
                action = heapq.heappop(self._due)[2]
                if self._pool is not None:
                    self._pool.submit(action)

    def _attempt(self, url: str, body: bytes, tried: int) -> None:
        try:
            status = self._outbound.post(url, body)
        except NotReachable:
            status = 0
        if 200 <= status < 300:
            self._ledger.count("callbacks")
            return
        self._ledger.count("callbacksFailed")
        # The host alone: a webhook's path and query carry its secret token.
        logger.info("webhook to %s failed, status %s", urlsplit(url).netloc, status or "none")
        if status and tried < len(RETRY_DELAYS):
            self._plan(RETRY_DELAYS[tried], lambda: self._attempt(url, body, tried + 1))
