"""Chains, chords, parking and resuming: how a job's `Outcome` becomes Celery's next message, or none.

    job    chain(generate, poll, download, upload), immutable, ids only
    batch  chord(group of such chains, finish_batch)

A link that loses, parks or ends its job drops the rest of the chain and its place in the chord: a plain return
would run the next link, and count into the chord (`Task.request` decides, celery.app.trace). Parked work goes on
from the continuation stored in the row, or, where none is, from a fresh chain at the row's stage.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from celery import Celery, Task, chain, chord, group
from celery.canvas import Signature, maybe_signature
from kombu.connection import Connection
from kombu.entity import Queue
from kombu.exceptions import OperationalError

from imagegen import policies
from imagegen.errors import InvalidRequest, PartUnavailable
from imagegen.jobs import Batch, Job
from imagegen.outcomes import Advance, Finish, Outcome, Park
from imagegen.ports import Clock
from imagegen.ports_deliveries import Due
from imagegen.states import Stage, Status

log = logging.getLogger(__name__)

LINKS = (Stage.GENERATE, Stage.POLL, Stage.DOWNLOAD, Stage.UPLOAD)


def name_of(stage: Stage) -> str:
    """The Celery task of a stage."""
    return f"imagegen.{stage.value}"


def continuation(request: Any) -> dict[str, Any] | None:
    """What waits for this message: the rest of its chain, whose last link carries the chord. None for a last link.

    JSON; `chain` is in Celery's order (the next link last).
    """
    if request.chain:
        return {"chain": [dict(link) for link in request.chain]}
    return None


def follow(task: Task, outcome: Outcome) -> str:
    """Makes the running message go on exactly as far as its outcome says; the answer is for people (Flower, logs)."""
    request = task.request
    if isinstance(outcome, Advance):
        request.chain = remaining(request.chain or [], outcome.stage)
        return f"advance to {outcome.stage}"
    request.chain = None
    if isinstance(outcome, Finish) and outcome.status is Status.COMPLETED:
        return "completed"
    request.chord = None
    if isinstance(outcome, Park):
        return f"parked ({outcome.reason}) until {outcome.until:%H:%M:%S}"
    return outcome.status.value if isinstance(outcome, Finish) else "lost"


def abandon(task: Task) -> None:
    """Drops whatever would follow this message."""
    task.request.chain = None
    task.request.chord = None


def remaining(links: Sequence[Mapping[str, Any]], stage: Stage) -> list[Mapping[str, Any]]:
    """The chain without the links that come before `stage` (they are done); empty where it has no such link."""
    rest = list(links)
    while rest and rest[-1]["task"] != name_of(stage):
        rest.pop()
    return rest


def image_chain(app: Celery, job_id: UUID, stage: Stage = Stage.GENERATE) -> Signature:
    """A fresh chain from `stage` on."""
    key = str(job_id)
    links = [
        app.signature(name_of(link), args=([key],) if link is Stage.POLL else (key,), immutable=True)
        for link in LINKS[LINKS.index(stage) :]
    ]
    return chain(*links, app=app)


def urgency(job: Job, at: datetime) -> int:
    """The priority of a job's messages: 0 goes first, 9 last; each minute of waiting lifts it by one step."""
    waited = at - max(job.created_at, job.scheduled_at or job.created_at)
    return min(9, max(0, job.priority - int(waited.total_seconds() // policies.AGEING)))


def batch_chord(app: Celery, batch_id: UUID, job_ids: Iterable[UUID]) -> Signature:
    """A batch: its members' chains side by side, then `finish_batch`, also when a member fails the chord."""
    finish = app.signature("imagegen.finish_batch", args=(str(batch_id),), immutable=True)
    body = finish.clone().on_error(finish.clone())
    return chord(group(image_chain(app, job_id) for job_id in job_ids), body, app=app)


class CeleryHints:
    """`imagegen.ports.Hints` on a Celery app: every hint may be lost, the sweep sends another.

    On Redis a hint has the priority of its most urgent job (0 first, `urgency`), and the links that follow it inherit
    theirs. Other brokers count the other way or need queues made for it: there the order is the sweep's alone.
    """

    def __init__(self, app: Celery, clock: Clock) -> None:
        self.app, self.clock = app, clock

    def jobs(self, jobs: Iterable[Job]) -> None:
        """Polls go in chunks; any other job gets its own message."""
        polls: list[Job] = []
        for job in jobs:
            if job.stage is Stage.POLL:
                polls.append(job)
            else:
                self._publish(self.resumed(job), [job])
        for start in range(0, len(polls), policies.POLL_CHUNK):
            chunk = polls[start : start + policies.POLL_CHUNK]
            keys = [str(job.id) for job in chunk]
            self._publish(self.app.signature(name_of(Stage.POLL), args=(keys,), immutable=True), chunk)

    def batch(self, batch: Batch, jobs: Sequence[Job]) -> None:
        self._publish(batch_chord(self.app, batch.id, [job.id for job in jobs]), jobs)

    def collect(self, attempt_id: UUID) -> None:
        self._publish(self.app.signature("imagegen.collect", args=(str(attempt_id),), immutable=True))

    def deliveries(self, due: Sequence[Due]) -> None:
        handed = [[str(one.id), one.number] for one in due]
        self._publish(self.app.signature("imagegen.deliver", args=(handed,), immutable=True))

    def notify(self, task: Mapping[str, str], task_id: str, document: Mapping[str, Any]) -> None:
        """To whatever worker of the caller's takes from that queue of this broker; nothing of ours goes with it."""
        queue = task["queue"]
        if queue in self.app.amqp.queues:
            raise InvalidRequest.of("notifyTask.queue", f"{queue} is one of imagegen's own", "Name a queue of yours.")
        # As an object, because a name would have to be one of our own queues.
        to = Queue(queue)  # type: ignore[no-untyped-call]
        message = self.app.signature(task["name"], kwargs={"document": dict(document)})
        self._publish(message.set(queue=to, task_id=task_id, ignore_result=True, priority=0))

    def crowded(self) -> frozenset[Stage]:
        """By the broker's own count of messages (on Redis those of all priorities); none while it is away."""
        queues = {stage: self.app.amqp.router.route({}, name_of(stage))["queue"].name for stage in Stage}
        with self.app.pool.acquire(block=True) as connection:
            try:
                with connection.channel() as channel:
                    waiting = {name: _waiting(channel, name, connection) for name in set(queues.values())}
            except connection.connection_errors as error:
                log.warning("the length of the queues is not known: %s", error)
                return frozenset()
        return frozenset(stage for stage, name in queues.items() if waiting[name] >= policies.CROWDED)

    def resumed(self, job: Job) -> Signature:
        """A chain from the job's stage on, in which stored links stand for themselves: they carry the chord.

        Links that were done before are made anew where the job went back behind them.
        """
        reconciling = job.stage is Stage.RECONCILE
        stored = {link["task"]: link for link in (job.continuation or {}).get("chain") or []}
        fresh = _links(image_chain(self.app, job.id, Stage.GENERATE if reconciling else job.stage))
        links = [stored.get(link["task"], link) for link in fresh]
        head = maybe_signature(links.pop(), app=self.app)
        if reconciling:
            head = self.app.signature(name_of(job.stage), args=(str(job.id),), immutable=True)
        return head.set(chain=links)

    def _publish(self, signature: Signature, jobs: Sequence[Job] = ()) -> None:
        options = {}
        if jobs and self._ranks:
            now = self.clock.now()
            options["priority"] = min(urgency(job, now) for job in jobs)
        try:
            signature.apply_async(**options)
        except (OperationalError, ConnectionError, RuntimeError) as error:
            raise PartUnavailable(f"the message broker cannot be reached: {error}", {"part": "broker"}) from error

    @property
    def _ranks(self) -> bool:
        """Whether the broker delivers by priority as we number it."""
        return str(self.app.conf.broker_url).startswith(("redis", "sentinel"))


def _links(fresh: Signature) -> list[Mapping[str, Any]]:
    """A chain's links in the order that a message carries them: the next one last."""
    return [dict(link) for link in reversed(fresh.tasks)]


def _waiting(channel: Any, queue: str, connection: Connection) -> int:
    """Messages that nobody has taken; a queue that is not there (Redis forgets empty ones) has none."""
    try:
        return int(channel.queue_declare(queue, passive=True).message_count)
    except connection.channel_errors:
        return 0
