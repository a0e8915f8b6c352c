"""Threads beside a worker's own, for work that may wait long for somebody else: what a message hands them is off its
queue at once, so that neither the sweep nor any other task of that queue waits for it.

What they hold when the process ends is handed out again by the sweep.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar
from uuid import UUID

from celery.signals import worker_shutting_down

from imagegen.errors import ImagegenError


class Hands:
    """A process's threads for one kind of work; what one of them has in hand already is not handed to another."""

    def __init__(self, name: str, threads: int, log: logging.Logger) -> None:
        self._pool = ThreadPoolExecutor(threads, name)
        self._log = log
        self._lock = threading.Lock()
        self._has: set[UUID] = set()

    def take(self, key: UUID, work: Callable[[], object]) -> bool:
        """Lets one of them do this; False: the key is in hand."""
        with self._lock:
            if key in self._has:
                return False
            self._has.add(key)
        self._pool.submit(self._do, key, work)
        return True

    def _do(self, key: UUID, work: Callable[[], object]) -> None:
        try:
            work()
        except ImagegenError as error:
            self._log.warning("%s waits: %s", key, error)
        except Exception:
            # The pool would keep it to itself.
            self._log.exception("%s broke", key)
        finally:
            with self._lock:
                self._has.discard(key)

    def stop(self) -> None:
        """Lets those under way end, and drops the others, which are handed out again."""
        self._pool.shutdown(wait=False, cancel_futures=True)


Kind = TypeVar("Kind", bound=Hands)


class Hired(Generic[Kind]):
    """One kind of hands, hired by each process that needs them: threads do not outlive a fork."""

    def __init__(self, hire: Callable[[], Kind]) -> None:
        self._hire = hire
        self._hired: dict[int, Kind] = {}
        self._lock = threading.Lock()
        worker_shutting_down.connect(self._stop)

    def __call__(self) -> Kind:
        with self._lock:
            pid = os.getpid()
            if pid not in self._hired:
                self._hired[pid] = self._hire()
            return self._hired[pid]

    def _stop(self, **_: Any) -> None:
        """Whatever still comes in goes to new ones, for the worker ends its running tasks."""
        with self._lock:
            hired = self._hired.pop(os.getpid(), None)
        if hired is not None:
            hired.stop()
