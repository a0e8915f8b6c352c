"""`Client.celery`: imagegen for a Python service that shares a broker with the workers.

The door is as durable as the broker until a worker has written the row. So whoever waits resends the same id, with
growing pauses, until a worker has acknowledged it; a doubled message finds the row and does nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Self, overload
from uuid import UUID, uuid4

from imagegen.client.calls import Briefs, Named, batch_request, body_of, id_of, image_request
from imagegen.client.webhooks import Secret, VerifiesWebhooks
from imagegen.client.wire import Wire
from imagegen.contracts import BatchRequest, Cost, ImageRequest
from imagegen.errors import ImagegenError, NotFound, NotServed, StillRunning, rebuild
from imagegen.estimates import EstimateDocument
from imagegen.ids import batch_id_for, job_id_for, member_id_for
from imagegen.ports import Clock
from imagegen.results import Batch, Job, result_of
from imagegen.states import BatchStatus, Status

GENERATE_IMAGE = "imagegen.generate_image"
GENERATE_BATCH = "imagegen.generate_batch"
CANCEL = "imagegen.cancel"
RETRY = "imagegen.retry"
ESTIMATE = "imagegen.estimate"

POLL_FIRST, POLL_LAST = 0.05, 1.0
"""Seconds between two looks for the finished document: from the first to the longest."""
RESEND_FIRST, RESEND_LAST = 2.0, 30.0
"""Seconds until an unacknowledged message is sent again, doubling up to the longest."""
ANSWER_WITHIN = 30.0
"""Seconds that a command waits for its answer."""
REMEMBERED = 10_000
"""Messages kept for resending; beyond that the oldest is left to the broker."""


@dataclass
class _Sent:
    task: str
    request: dict[str, Any]
    gap: float
    due: float


class CeleryClient(VerifiesWebhooks):
    """One door to imagegen, over Celery. Thread-safe; close it, or use it as a context manager.

    Every method may raise `PartUnavailable`, within seconds, when the broker or the result backend is away.
    """

    def __init__(self, wire: Wire, clock: Clock, webhook_secret: Secret = None) -> None:
        self._expect_webhooks(webhook_secret)
        self._wire = wire
        self._clock = clock
        self._unacknowledged: OrderedDict[UUID, _Sent] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives the connections back; jobs that were sent go on."""
        self._wire.close()

    def generate(self, prompt: str | None = None, **fields: Any) -> Job:
        """Sends one request (fields in snake_case or camelCase) and returns its job as queued.

        Raises `InvalidRequest` before anything is sent. With `idempotency_key` the id follows from owner and key, so
        calling again after `PartUnavailable` is harmless; without one, each call is a job of its own.
        """
        request = image_request(prompt, fields, "celery")
        key = request.idempotency_key
        job_id = job_id_for(request.owner, key) if key else uuid4()
        self._send(GENERATE_IMAGE, job_id, request)
        return _queued_job(job_id, request)

    def batch(self, characters: Briefs | None = None, **fields: Any) -> Batch:
        """Sends one to four pictures that are admitted together: `characters` (briefs or names), or `requests=[…]`.

        The other fields are defaults for every member. The batch comes back queued, with the ids its jobs will have.
        """
        request, members = batch_request(characters, fields, "celery")
        key = request.idempotency_key
        batch_id = batch_id_for(request.owner, key) if key else uuid4()
        self._send(GENERATE_BATCH, batch_id, request)
        jobs = [_queued_job(member_id_for(batch_id, at), one, batch_id, at) for at, one in enumerate(members)]
        return Batch(batch_id=batch_id, status=BatchStatus.QUEUED.value, jobs=jobs, cost=Cost())

    @overload
    def get(self, id: Job) -> Job: ...
    @overload
    def get(self, id: Batch) -> Batch: ...
    @overload
    def get(self, id: UUID | str) -> Job | Batch: ...
    def get(self, id: Named) -> Job | Batch:
        """The finished job or batch.

        Raises `StillRunning` where there is none yet: the result backend holds finished documents alone, so a job
        under way and an id nobody knows look alike from here.
        """
        wanted = id_of(id)
        document = self._wire.finished(wanted)
        if document is None:
            raise StillRunning.of(wanted)
        self._unacknowledged.pop(wanted, None)
        return result_of(document)

    @overload
    def wait(self, id: Job, timeout: float | None = None) -> Job: ...
    @overload
    def wait(self, id: Batch, timeout: float | None = None) -> Batch: ...
    @overload
    def wait(self, id: UUID | str, timeout: float | None = None) -> Job | Batch: ...
    def wait(self, id: Named, timeout: float | None = None) -> Job | Batch:
        """The job or batch once it has ended; a failed one is returned, not raised.

        Raises `StillRunning` after `timeout` seconds (None: never). Meanwhile what this client sent is sent again
        until a worker has acknowledged it.
        """
        wanted = id_of(id)
        end = None if timeout is None else self._clock.monotonic() + timeout
        pause = POLL_FIRST
        while True:
            document = self._wire.finished(wanted)
            if document is not None:
                self._unacknowledged.pop(wanted, None)
                return result_of(document)
            now = self._clock.monotonic()
            self._resend(wanted, now)
            if end is not None and now >= end:
                raise StillRunning.of(wanted)
            self._clock.sleep(pause if end is None else min(pause, end - now))
            pause = min(pause * 1.5, POLL_LAST)

    @overload
    def cancel(self, id: Job, *, owner: str | None = None, timeout: float = ANSWER_WITHIN) -> Job: ...
    @overload
    def cancel(self, id: Batch, *, owner: str | None = None, timeout: float = ANSWER_WITHIN) -> Batch: ...
    @overload
    def cancel(self, id: UUID | str, *, owner: str | None = None, timeout: float = ANSWER_WITHIN) -> Job | Batch: ...
    def cancel(self, id: Named, *, owner: str | None = None, timeout: float = ANSWER_WITHIN) -> Job | Batch:
        """Cancels a job, or the members of a batch that have not ended; the document says whether it was charged.

        A job whose paid call is under way comes back live, and ends when its call is answered: `wait` for it. `owner`
        is the job's, where it is not "default" and no document is given. Raises `NotFound`, `Conflict` for what has
        its picture or has failed, and `StillRunning` where no worker answers within `timeout` seconds.
        """
        return self._command(CANCEL, id, {"owner": owner or _owner(id)}, timeout)

    @overload
    def retry(
        self, id: Job, *, buy: bool = False, owner: str | None = None, timeout: float = ANSWER_WITHIN,
        idempotency_key: str | None = None,
    ) -> Job: ...  # fmt: skip
    @overload
    def retry(
        self, id: Batch, *, buy: bool = False, owner: str | None = None, timeout: float = ANSWER_WITHIN,
        idempotency_key: str | None = None,
    ) -> Batch: ...  # fmt: skip
    @overload
    def retry(
        self, id: UUID | str, *, buy: bool = False, owner: str | None = None, timeout: float = ANSWER_WITHIN,
        idempotency_key: str | None = None,
    ) -> Job | Batch: ...  # fmt: skip
    def retry(
        self, id: Named, *, buy: bool = False, owner: str | None = None, timeout: float = ANSWER_WITHIN,
        idempotency_key: str | None = None,
    ) -> Job | Batch:  # fmt: skip
        """Goes on with a failed job, or with a batch's failed members, at the stage that failed; then `wait` for it.

        What was paid is not bought again. What would have to be needs `buy`: without it `PurchaseNeeded` is raised,
        with the dollars in its `details`, and nothing changes. With `idempotency_key` calling again is harmless,
        however the run that it began has ended. Otherwise as `cancel`.
        """
        key = {"idempotencyKey": idempotency_key} if idempotency_key else {}
        return self._command(RETRY, id, {"owner": owner or _owner(id), "buy": buy, **key}, timeout)

    def estimate(self, prompt: str | None = None, *, timeout: float = ANSWER_WITHIN, **fields: Any) -> EstimateDocument:
        """The dry run of `generate`: model, price, cache hit, expected time, quota and budget; nothing is spent.

        Raises `InvalidRequest` as `generate` and the workers do, and `StillRunning` where no worker answers within
        `timeout` seconds. A budget without room is part of the answer (`budget.admitted`).
        """
        told = body_of(image_request(prompt, fields, "celery"))
        answer = self._answer(ESTIMATE, uuid4(), {"request": told}, self._clock.monotonic() + timeout)
        if "error" in answer:
            raise refused(answer)
        return EstimateDocument.model_validate(answer)

    def costs(self, **filters: Any) -> NoReturn:
        """Not over Celery, which has no answers but finished documents."""
        _elsewhere("report costs")

    def _command(self, task: str, id: Named, kwargs: dict[str, Any], timeout: float) -> Job | Batch:
        """Asks until there is an answer; what this client sent and nobody has accepted yet is sent again meanwhile."""
        wanted = id_of(id)
        end = self._clock.monotonic() + timeout
        while True:
            answer = self._answer(task, wanted, {"id": str(wanted), **kwargs}, end)
            if "error" not in answer or "status" in answer:
                return result_of(answer)
            error = refused(answer)
            overtaken = isinstance(error, NotFound) and wanted in self._unacknowledged
            if not overtaken or self._clock.monotonic() >= end:
                raise error
            self._clock.sleep(POLL_LAST)

    def _answer(self, task: str, wanted: UUID, kwargs: dict[str, Any], end: float) -> dict[str, Any]:
        """Sends one command until it is answered: a message that comes twice does no more than one."""
        command, pause, gap = uuid4(), POLL_FIRST, RESEND_FIRST
        due = self._clock.monotonic()
        while True:
            now = self._clock.monotonic()
            if now >= due:
                self._wire.command(task, command, kwargs)
                due, gap = now + gap, min(gap * 2, RESEND_LAST)
            answer = self._wire.finished(command)
            if answer is not None:
                return answer
            if now >= end:
                raise StillRunning.of(wanted)
            self._resend(wanted, now)
            self._clock.sleep(min(pause, max(0.0, end - now)))
            pause = min(pause * 1.5, POLL_LAST)

    def _send(self, task: str, task_id: UUID, request: ImageRequest | BatchRequest) -> None:
        body = body_of(request)
        self._wire.send(task, task_id, body)
        self._unacknowledged[task_id] = _Sent(task, body, RESEND_FIRST, self._clock.monotonic() + RESEND_FIRST)
        while len(self._unacknowledged) > REMEMBERED:
            self._unacknowledged.popitem(last=False)

    def _resend(self, task_id: UUID, now: float) -> None:
        sent = self._unacknowledged.get(task_id)
        if sent is None or now < sent.due:
            return
        if self._wire.accepted(task_id):
            self._unacknowledged.pop(task_id, None)
            return
        self._wire.send(sent.task, task_id, sent.request)
        sent.gap = min(sent.gap * 2, RESEND_LAST)
        sent.due = now + sent.gap


def refused(answer: Mapping[str, Any]) -> ImagegenError:
    """The error that a worker answered with, as its own class."""
    error = rebuild(answer["error"])
    error.details.update(answer.get("details") or {})
    return error


def _elsewhere(what: str) -> NoReturn:
    raise NotServed(f"the Celery door cannot {what}; ask the service's HTTP API or its operator's `imagegen` commands")


def _owner(id: Named) -> str:
    """Whose it is, as far as its document tells."""
    if isinstance(id, Batch):
        return next((job.owner for job in id.jobs if job.owner), "default")
    return (id.owner if isinstance(id, Job) else None) or "default"


def _queued_job(job_id: UUID, request: ImageRequest, batch_id: UUID | None = None, index: int | None = None) -> Job:
    return Job(
        job_id=job_id,
        batch_id=batch_id,
        index=index,
        status=Status.QUEUED.value,
        job_type=request.job_type.value,
        project_id=request.project_id,
        branch_id=request.branch_id,
        scene_id=request.scene_id,
        shot_id=request.shot_id,
        asset_id=request.asset_id,
        character=request.character.name if request.character else None,
        owner=request.owner,
        prompt=request.prompt,
        visual_style_capsule_id=request.visual_style_capsule_id,
        priority=request.priority.value,
        metadata=request.metadata,
    )
