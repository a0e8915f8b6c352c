"""What keeps the promise when messages are lost: the sweep, the closing of batches, and what is done at intervals."""

from __future__ import annotations

from uuid import UUID

from celery import Task

from imagegen import alerts, callbacks, endings, erasing, pipeline, policies
from tasks.celery import app
from tasks.stages import INFRASTRUCTURE


@app.task(bind=True, name="imagegen.finish_batch", **INFRASTRUCTURE)
def finish_batch(self: Task, batch_id: str) -> str:
    """The body of a batch's chord, and its error callback: closes the batch if no member is live."""
    return "closed" if endings.finish_batch(UUID(batch_id), app.services) else "open, or closed already"


@app.task(name="imagegen.sweep", send_events=False)
def sweep() -> str:
    """Wakes what is due. A sweep that fails is no loss: beat sends the next one within a second.

    It sends no events: two a second would bury every other task in Flower.
    """
    taken = total = pipeline.sweep(app.services)
    while taken == policies.SWEEP_LIMIT:
        taken = pipeline.sweep(app.services)
        total += taken
    return f"{total} due"


@app.task(name="imagegen.watch", send_events=False)
def watch() -> str:
    """Raises, clears and tells alerts. A round that fails is no loss: beat sends the next one soon."""
    return alerts.watch(app.services)


@app.task(name="imagegen.watch_money")
def watch_money() -> str:
    """The alerts about balances, prices and spending."""
    return alerts.watch_money(app.services)


@app.task(name="imagegen.erase", send_events=False)
def erase() -> str:
    """Erases what is past its life and what was left to erase. A round that fails is no loss: the next one goes on."""
    return f"{erasing.sweep(app.services)} erased"


@app.task(name="imagegen.callbacks", send_events=False)
def count_missed_callbacks() -> str:
    """Counts the callbacks that did not come. A round that fails is no loss: beat sends the next one soon."""
    return f"{callbacks.count_missed(app.services)} missed"
