"""The doors for other services: `imagegen.generate_image` and `imagegen.generate_batch`, called by name.

The task id is the job's (batch's) id. A message is accepted when its row is written; it is acknowledged then, and
sending the same id again is harmless. Bad input is no exception here: it becomes the finished document of that id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from celery import Task

from imagegen import policies
from imagegen.admission import admit_batch, admit_image, send_hints
from imagegen.contracts import parse_batch, parse_request, rejected_document
from imagegen.endings import announce, announce_batch
from imagegen.errors import IdempotencyConflict, ImagegenError, InvalidRequest, NotFound, PartUnavailable
from imagegen.jobs import Job
from imagegen.records import Admitted
from tasks.celery import app

# A request that is no row yet exists in its message alone: it is tried until PostgreSQL answers, and acknowledged late,
# so that a killed worker's messages come back after the visibility timeout. All other messages are hints.
UNTIL_ACCEPTED = {
    **policies.AUTORETRY,
    "autoretry_for": (PartUnavailable,),
    "max_retries": None,
    "acks_late": True,
    "ignore_result": True,
}


@app.task(bind=True, name="imagegen.generate_image", **UNTIL_ACCEPTED)
def generate_image(self: Task, *args: Any, **kwargs: Any) -> str:
    """Accepts one job: `kwargs={"request": {…}}`, the task id a UUID of the caller's choice."""

    def accept(identity: UUID, body: Mapping[str, Any]) -> Admitted:
        return admit_image(parse_request(body), app.services, door="celery", job_id=identity)

    return _accept(self, args, kwargs, accept)


@app.task(bind=True, name="imagegen.generate_batch", **UNTIL_ACCEPTED)
def generate_batch(self: Task, *args: Any, **kwargs: Any) -> str:
    """Accepts a batch of one to four jobs: `kwargs={"request": {…}}`."""

    def accept(identity: UUID, body: Mapping[str, Any]) -> Admitted:
        return admit_batch(parse_batch(body), app.services, door="celery", batch_id=identity)

    return _accept(self, args, kwargs, accept)


def _accept(
    task: Task,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    accept: Callable[[UUID, Mapping[str, Any]], Admitted],
) -> str:
    results = app.services.results
    try:
        admitted = accept(_identity(task), request_body(args, kwargs))
    except PartUnavailable:
        raise
    except ImagegenError as error:
        if not (isinstance(error, IdempotencyConflict) and _taken(task)):
            results.publish(task.request.id, _rejection(task, error))
        return f"refused: {error}"
    send_hints(admitted, app.services)
    if not admitted.created:
        _announce_again(_known_as(task, admitted))
    results.acknowledge(task.request.id)
    return "accepted" if admitted.created else "known already"


def _known_as(task: Task, admitted: Admitted) -> Admitted:
    """A repeated idempotency key under a new task id: whoever waits for that id is told the first job's end."""
    identity = admitted.jobs[0].id if admitted.batch is None else admitted.batch.id
    other = _identity(task)
    if other == identity:
        return admitted
    row = app.services.jobs.alias(other, identity, batch=admitted.batch is not None)
    return replace(admitted, jobs=[row]) if isinstance(row, Job) else replace(admitted, batch=row)


def _announce_again(admitted: Admitted) -> None:
    """A resent id whose work is done gets its document once more."""
    if admitted.batch is not None:
        announce_batch(admitted.batch.id, app.services)
        return
    for job in admitted.jobs:
        if job.terminal:
            announce(job, app.services)


def _identity(task: Task) -> UUID:
    try:
        return UUID(task.request.id)
    except ValueError as error:
        raise InvalidRequest.of("task_id", "is not a UUID", "Send task_id=str(uuid4()); it is the job's id.") from error


def request_body(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The request in a message; raises `InvalidRequest` for a message of another shape."""
    unknown = sorted(set(kwargs) - {"request"})
    if args or unknown or "request" not in kwargs:
        found = f"has positional arguments ({len(args)})" if args else f"has {unknown or 'no request'}"
        raise InvalidRequest.of("kwargs", found, 'Send kwargs={"request": {…}} and nothing else.')
    body: Mapping[str, Any] = kwargs["request"]
    return body


def _taken(task: Task) -> bool:
    """Whether the id is that of an accepted job or batch: its document there is not replaced by another's refusal."""
    jobs, identity = app.services.jobs, _identity(task)
    try:
        jobs.get_batch(identity) if task.name.endswith("batch") else jobs.get(identity)
    except NotFound:
        return False
    return True


def _rejection(task: Task, error: ImagegenError) -> dict[str, Any]:
    try:
        identity = UUID(task.request.id)
    except ValueError:
        identity = UUID(int=0)
    batch = task.name.endswith("batch")
    document = rejected_document(identity, error.document("processing"))
    if batch:
        return {"batchId": str(identity), "status": "failed", "jobs": [], "error": document["error"]}
    return document
