"""Finished documents as results of Celery: told, told again, taken back."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from celery import Celery

from imagegen.errors import PartUnavailable
from imagegen.settings_values import celery_redis_url
from tasks.results import CeleryResults

# Celery's own call of redis-py.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")


@pytest.fixture(scope="module")
def app(redis_url: str) -> Iterator[Celery]:
    """An application with a real result backend."""
    address = celery_redis_url(redis_url)
    with Celery("test", broker=address, backend=address, set_as_current=False) as app:
        yield app


def test_what_was_told_can_be_taken_back(app: Celery) -> None:
    """Withdrawn, an id is pending again, also one that never ended; a new end is told as the first was."""
    results, key = CeleryResults(app, "results"), str(uuid4())
    results.withdraw(key)
    for status in ("failed", "completed"):
        results.publish(key, {"status": status})
        assert app.AsyncResult(key).get(timeout=5) == {"status": status}
        results.withdraw(key)
        assert app.AsyncResult(key).state == "PENDING"


def test_without_redis_nothing_is_taken_back() -> None:
    """The outage is told to whoever withdraws."""
    address = "redis+socket:///nobody/listens"
    with Celery("test", broker=address, backend=address, set_as_current=False) as app:
        app.conf.result_backend_transport_options = {"retry_policy": {"timeout": 0.1, "max_retries": 0}}
        with pytest.raises(PartUnavailable):
            CeleryResults(app, "results").withdraw(str(uuid4()))
