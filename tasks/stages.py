"""The four stages (and reconcile) as Celery tasks: each runs its page of `imagegen.pipeline` and follows its outcome.

Autoretry is for infrastructure alone (PostgreSQL, Redis, the object store). It is safe on `generate` only because
the claim refuses a job that is already being bought. What providers answer is decided by `imagegen.retry`, in rows.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from celery import Task

from imagegen import pipeline, policies
from imagegen.endings import finish_batch
from imagegen.errors import PartUnavailable
from imagegen.outcomes import Advance, Finish, Outcome
from tasks.canvas import abandon, continuation, follow
from tasks.celery import app

INFRASTRUCTURE = {"autoretry_for": (PartUnavailable,), **policies.AUTORETRY}


def _run(task: Task, work: Callable[[], str]) -> str:
    """Works; when its parts stay away, lets go: the sweep takes the job up again when its lease is over.

    Nothing is raised out of the last try: an error in a chord's header would end the chord for its other members.
    """
    try:
        return work()
    except PartUnavailable as error:
        if task.request.retries < policies.AUTORETRY["max_retries"]:
            raise
        abandon(task)
        return f"left to the sweep: {error}"


def _stage(task: Task, stage: Callable[[], Outcome]) -> str:
    return _run(task, lambda: follow(task, stage()))


@app.task(bind=True, name="imagegen.generate", **INFRASTRUCTURE)
def generate(self: Task, job_id: str) -> str:
    """Buys the job's picture, once."""
    return _stage(self, lambda: pipeline.generate(UUID(job_id), continuation(self.request), app.services))


@app.task(bind=True, name="imagegen.reconcile", **INFRASTRUCTURE)
def reconcile(self: Task, job_id: str) -> str:
    """Looks for the answer of a paid call that nobody read."""
    return _stage(self, lambda: pipeline.reconcile(UUID(job_id), app.services))


@app.task(bind=True, name="imagegen.poll", **INFRASTRUCTURE)
def poll(self: Task, job_ids: list[str]) -> str:
    """Asks about a chunk of jobs. As a link of one job's own chain it goes on with that chain."""
    ids = [UUID(job_id) for job_id in job_ids]
    if len(ids) == 1 and self.request.chain:
        return _stage(self, lambda: pipeline.poll(ids, app.services)[ids[0]])
    return _run(self, lambda: _poll_chunk(ids))


def _poll_chunk(job_ids: list[UUID]) -> str:
    """Jobs with a picture go on from the continuation in their rows."""
    ready = [found.job for found in pipeline.poll(job_ids, app.services).values() if isinstance(found, Advance)]
    app.services.hints.jobs(ready)
    return f"{len(ready)} of {len(job_ids)} ready"


@app.task(bind=True, name="imagegen.download", **INFRASTRUCTURE)
def download(self: Task, job_id: str) -> str:
    """Fetches the provider's file into the object store."""
    return _stage(self, lambda: pipeline.download(UUID(job_id), continuation(self.request), app.services))


@app.task(bind=True, name="imagegen.upload", **INFRASTRUCTURE)
def upload(self: Task, job_id: str) -> str:
    """Fits the picture to size, publishes it and ends the job."""
    return _stage(self, lambda: _upload(self, UUID(job_id)))


def _upload(task: Task, job_id: UUID) -> Outcome:
    outcome = pipeline.upload(job_id, continuation(task.request), app.services)
    if isinstance(outcome, Finish) and outcome.job.batch_id and not task.request.chord:
        # A member that was rebuilt without its chord: nothing else will count it.
        finish_batch(outcome.job.batch_id, app.services)
    return outcome
