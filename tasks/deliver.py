"""`imagegen.deliver`: hands due deliveries to the couriers of this process, and is done.

Couriers are threads of their own, because a receiver may hang for ten seconds and the sweep shares this queue's worker
with them. What they hold when the process ends is handed out again by the sweep.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

from celery.signals import worker_shutting_down

from imagegen import policies
from imagegen.delivering import deliver
from imagegen.errors import ImagegenError
from imagegen.ports import Services
from tasks.celery import app
from tasks.stages import INFRASTRUCTURE

log = logging.getLogger(__name__)


class Couriers:
    """A process's threads for deliveries; what one of them has in hand already is not handed to another."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(policies.DELIVERY_THREADS, "deliver")
        self._lock = threading.Lock()
        self._has: set[UUID] = set()

    def hand(self, delivery_id: UUID, number: int, services: Services) -> bool:
        """Lets a courier make this attempt; False: the delivery is in hand."""
        with self._lock:
            if delivery_id in self._has:
                return False
            self._has.add(delivery_id)
        self._pool.submit(self._carry, delivery_id, number, services)
        return True

    def _carry(self, delivery_id: UUID, number: int, services: Services) -> None:
        try:
            deliver(delivery_id, number, services)
        except ImagegenError as error:
            log.warning("delivery %s waits: %s", delivery_id, error)
        except Exception:
            # The pool would keep it to itself.
            log.exception("delivery %s broke", delivery_id)
        finally:
            with self._lock:
                self._has.discard(delivery_id)

    def stop(self) -> None:
        """Lets those under way end, and drops the others, which are handed out again."""
        self._pool.shutdown(wait=False, cancel_futures=True)


_couriers: dict[int, Couriers] = {}
_hiring = threading.Lock()


def couriers() -> Couriers:
    """This process's couriers; threads do not outlive a fork."""
    with _hiring:
        return _couriers.setdefault(os.getpid(), Couriers())


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    """Whatever still comes in goes to couriers of its own, for the worker ends its running tasks."""
    with _hiring:
        hired = _couriers.pop(os.getpid(), None)
    if hired is not None:
        hired.stop()


@app.task(name="imagegen.deliver", **INFRASTRUCTURE)
def deliver_due(handed: Sequence[tuple[str, int]]) -> str:
    """Hands out deliveries: `[[id, number of the attempt], …]`; the sweep asks again for what is lost."""
    services, mine = app.services, couriers()
    taken = sum(mine.hand(UUID(key), number, services) for key, number in handed)
    return f"{taken} of {len(handed)} handed to couriers"
