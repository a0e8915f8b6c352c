"""The double of the port `Jobs` under anything at any time (`tests.jobs_machine`)."""

from __future__ import annotations

from imagegen.testing.memory import MemoryJobs
from tests.jobs_kit import MemoryStore
from tests.jobs_machine import run


def test_no_order_of_events_breaks_a_promise() -> None:
    """Claims, answers, cancels, retries, callbacks and sweeps in any order keep status, timing and books right."""
    run(lambda: [MemoryStore(MemoryJobs())], examples=250, steps=50)
