"""Couriers: the task hands out and is done; what one has in hand is not handed twice; what breaks is told."""

from __future__ import annotations

import logging
import queue
import threading
from typing import Any, cast
from uuid import uuid4

import pytest

from imagegen.errors import PartUnavailable
from imagegen.ports import Services
from tasks import deliver

NOBODY = cast(Services, None)


@pytest.fixture
def couriers() -> Any:
    hired = deliver.Couriers()
    yield hired
    hired.stop()


def test_what_is_in_hand_is_not_handed_twice(couriers: deliver.Couriers, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a courier is under way with a delivery, further messages about it are dropped; afterwards they count."""
    go, done, seen = threading.Event(), threading.Semaphore(0), []

    def slow(delivery_id: Any, number: int, services: Services) -> None:
        seen.append((delivery_id, number))
        go.wait(10)
        done.release()

    monkeypatch.setattr(deliver, "deliver", slow)
    one, other = uuid4(), uuid4()
    assert [couriers.hand(one, 1, NOBODY), couriers.hand(one, 1, NOBODY), couriers.hand(other, 1, NOBODY)] == [
        True, False, True,
    ]  # fmt: skip
    go.set()
    assert done.acquire(timeout=10)
    assert done.acquire(timeout=10)
    couriers.stop()
    assert sorted(seen) == sorted([(one, 1), (other, 1)])


@pytest.mark.parametrize(
    ("error", "said"),
    [(PartUnavailable("away", {"part": "PostgreSQL"}), "waits: away"), (RuntimeError("bug"), "broke")],
)
def test_a_broken_attempt_is_told(
    couriers: deliver.Couriers, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    """Nothing is swallowed by the pool."""
    heard: queue.Queue[str] = queue.Queue()

    def broken(*_: Any) -> None:
        raise error

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.put(record.getMessage())

    monkeypatch.setattr(deliver, "deliver", broken)
    handler = Heard()
    logging.getLogger("tasks.deliver").addHandler(handler)
    try:
        assert couriers.hand(uuid4(), 1, NOBODY)
        assert said in heard.get(timeout=10)
    finally:
        logging.getLogger("tasks.deliver").removeHandler(handler)
