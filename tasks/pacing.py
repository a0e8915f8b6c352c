"""Celery's own rate limits, kept to: a worker with many messages in its hands releases them at the pace it was told.

Each limited message that a worker holds sets a timer of its own, all for the same moment. The event loop fires ten at
a time and then, where more are due, sleeps for a second (kombu.asynchronous.hub.Hub.fire_timers): with more than ten
messages in hand any limit becomes one task a second.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from celery import Celery, bootsteps

ALL_TIMERS = 10_000
"""More than a worker ever has."""


class FireAllTimers(bootsteps.Step):
    """Has the event loop fire everything that is due before it waits."""

    requires = ("celery.worker.components:Hub",)

    def create(self, parent: Any) -> None:
        """`parent` is the worker; one without an event loop keeps its timers in a thread."""
        if parent.hub is not None:
            parent.hub.fire_timers = partial(parent.hub.fire_timers, max_timers=ALL_TIMERS)


def keep_pace(app: Celery) -> None:
    """Adds the step to this app's workers."""
    app.steps["worker"].add(FireAllTimers)
