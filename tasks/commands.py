"""The doors for other services to jobs they sent: `imagegen.cancel` and `imagegen.retry`, called by name; and
`imagegen.estimate` for one they might send (kwargs `{"request": {…}}`).

kwargs `{"id": job or batch, "owner": …}`, for `retry` also `"buy"` and `"idempotencyKey"`. The Celery result is always
SUCCESS: the document as it stands after the command, or `{"error": {…}}`. An id that is not this owner's is one that
does not exist. A message that comes twice does no more than one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from celery import Task

from imagegen import cancelling, estimating, policies, retrying
from imagegen.contracts import parse_request
from imagegen.errors import ImagegenError, InvalidRequest, NotFound, PartUnavailable
from imagegen.jobs import Batch, Job
from tasks.celery import app
from tasks.entry import request_body

# Acknowledged late, because the message is all there is of a command: a killed worker's comes back.
COMMAND = {
    **policies.AUTORETRY,
    "autoretry_for": (PartUnavailable,),
    "acks_late": True,
    # Whoever sends a command asks for its answer, which no row repeats.
    "ignore_result": False,
}

Document = dict[str, Any]


@app.task(bind=True, name="imagegen.cancel", **COMMAND)
def cancel(self: Task, *args: Any, **kwargs: Any) -> Document:
    """Cancels a job or the live members of a batch: `kwargs={"id": …, "owner": …}`."""

    def work(found: Job | Batch) -> Document:
        if isinstance(found, Job):
            return _document(cancelling.cancel(found.id, app.services))
        batch, jobs = cancelling.cancel_batch(found.id, app.services)
        return app.services.links.batch(batch, jobs).json_document()

    return _answered(self, args, kwargs, {"id", "owner"}, work)


@app.task(bind=True, name="imagegen.retry", **COMMAND)
def retry(self: Task, *args: Any, **kwargs: Any) -> Document:
    """Goes on with a failed job or the failed members of a batch: `kwargs={"id": …, "owner": …, "buy": false}`.

    `idempotencyKey`: several messages under it go on once.
    """
    buy = kwargs.get("buy") is True
    # A message that comes twice has the same id.
    key = kwargs.get("idempotencyKey") or str(self.request.id)

    def work(found: Job | Batch) -> Document:
        if isinstance(found, Job):
            return _document(retrying.retry(found.id, app.services, buy, key))
        batch, jobs = retrying.retry_batch(found.id, app.services, buy, key)
        return app.services.links.batch(batch, jobs).json_document()

    return _answered(self, args, kwargs, {"id", "owner", "buy", "idempotencyKey"}, work)


@app.task(bind=True, name="imagegen.estimate", **COMMAND)
def estimate(self: Task, *args: Any, **kwargs: Any) -> Document:
    """The dry run of a request: nothing is written, nothing is spent."""

    def work() -> Document:
        request = parse_request(request_body(args, kwargs))
        return estimating.estimate(request, app.services, "celery").json_document()

    return _published(self, work)


def _answered(
    task: Task,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    known: set[str],
    work: Callable[[Job | Batch], Document],
) -> Document:
    return _published(task, lambda: work(_owned(args, kwargs, known)))


def _published(task: Task, work: Callable[[], Document]) -> Document:
    """The document, which stands as this message's result from here on, whoever asked Celery to ignore it."""
    try:
        answer = work()
    except ImagegenError as error:
        if isinstance(error, PartUnavailable) and task.request.retries < policies.AUTORETRY["max_retries"]:
            raise
        answer = {"error": error.document(), "details": error.details}
    app.services.results.publish(task.request.id, answer)
    return answer


def _owned(args: tuple[Any, ...], kwargs: Mapping[str, Any], known: set[str]) -> Job | Batch:
    wanted, owner = _asked(args, kwargs, known)
    found: Job | Batch
    try:
        found = app.services.jobs.get(wanted)
    except NotFound:
        try:
            found, _ = app.services.jobs.get_batch(wanted)
        except NotFound:
            raise _unknown(wanted) from None
    if found.owner != owner:
        raise _unknown(wanted)
    return found


def _unknown(wanted: UUID) -> NotFound:
    return NotFound(f"no job or batch has the id {wanted}")


def _asked(args: tuple[Any, ...], kwargs: Mapping[str, Any], known: set[str]) -> tuple[UUID, str]:
    unknown = sorted(set(kwargs) - known)
    if args or unknown:
        found = f"has positional arguments ({len(args)})" if args else f"has {', '.join(unknown)}"
        raise InvalidRequest.of("kwargs", found, f"Send {', '.join(sorted(known))} and nothing else.")
    if not isinstance(kwargs.get("buy", False), bool):
        raise InvalidRequest.of("buy", "is neither true nor false", "Send true to pay once more, or leave it out.")
    if not isinstance(kwargs.get("idempotencyKey", ""), str):
        raise InvalidRequest.of("idempotencyKey", "is no text", "Send the same text again, or leave it out.")
    try:
        wanted = UUID(str(kwargs.get("id")))
    except ValueError:
        raise InvalidRequest.of("id", "is not a UUID", "Send the id of a job or a batch.") from None
    return wanted, str(kwargs.get("owner", "default"))


def _document(job: Job) -> Document:
    return app.services.links.job(job).json_document()
