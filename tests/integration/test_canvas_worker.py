"""What Celery makes of our chains and chords when they are sent: each message carries what parking has to keep.

And in which order and number the broker holds them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import Celery
from kombu import Queue

from imagegen import policies
from imagegen.jobs import Job
from imagegen.settings_values import celery_redis_url
from imagegen.states import Stage, Status
from imagegen.testing.memory import ManualClock
from tasks.canvas import CeleryHints, batch_chord, continuation, image_chain
from tests.jobs_kit import NOW, new_batch, new_job

CLOCK = ManualClock(NOW)
NAMES = ["imagegen.generate", "imagegen.poll", "imagegen.download", "imagegen.upload"]


@pytest.fixture(scope="module")
def app(redis_url: str) -> Iterator[Celery]:
    """An application with our tasks' names on a real broker and result backend, and no worker."""
    address = celery_redis_url(redis_url)
    app = Celery("test", broker=address, backend=address, set_as_current=False)
    app.conf.update(task_default_queue="canvas", task_protocol=2, task_serializer="json", accept_content=["json"])
    app.conf.task_queues = [Queue("canvas"), Queue("downloads")]
    app.conf.task_routes = {"imagegen.download": "downloads"}
    for name in [*NAMES, "imagegen.reconcile", "imagegen.finish_batch", "imagegen.collect"]:
        app.task(_nothing, name=name, shared=False)
    yield app
    app.close()


def _nothing(*args: object) -> None:
    """Nobody works here."""


def sent(app: Celery, name: str = "canvas") -> list[dict[str, Any]]:
    """The messages in the queue as a worker would take them, taken: name, arguments and what follows each."""
    found = []
    with app.connection_for_read() as connection, connection.SimpleQueue(name) as queue:
        while True:
            try:
                message = queue.get(block=False)
            except queue.Empty:
                return found
            message.ack()
            args, _, embed = json.loads(message.body)
            found.append({"task": message.headers["task"], "args": args, **embed})


def request_of(message: dict[str, Any]) -> Any:
    """What the running task finds in `self.request`."""
    return SimpleNamespace(chain=message["chain"], chord=message["chord"])


def chain_of(message: dict[str, Any]) -> list[str]:
    return [link["task"] for link in reversed(message["chain"] or [])]


def stored(message: dict[str, Any]) -> dict[str, Any]:
    """The continuation as it comes back from the row."""
    kept: dict[str, Any] = json.loads(json.dumps(continuation(request_of(message))))
    return kept


def resumed(app: Celery, job: Job) -> dict[str, Any]:
    CeleryHints(app, CLOCK).jobs([job])
    (message,) = sent(app, "downloads" if job.stage is Stage.DOWNLOAD else "canvas")
    return message


def test_a_chain_is_sent_with_its_rest(app: Celery) -> None:
    """One message, ids only; the rest of the chain travels in it, the next link last, immutable."""
    job_id = uuid4()
    image_chain(app, job_id).apply_async()
    (message,) = sent(app)
    assert (message["task"], message["args"], chain_of(message)) == (NAMES[0], [str(job_id)], NAMES[1:])
    assert all(link["immutable"] for link in message["chain"])
    assert [link["args"] for link in reversed(message["chain"])] == [[[str(job_id)]], [str(job_id)], [str(job_id)]]
    assert message["chord"] is None


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_batch_s_last_links_carry_its_chord(app: Celery, size: int) -> None:
    """One message per member; the body with its error callback is in the last link of each, and in nothing else."""
    batch, jobs = new_batch(size)
    CeleryHints(app, CLOCK).batch(batch, jobs)
    messages = sent(app)
    assert [message["args"] for message in messages] == [[str(job.id)] for job in jobs]
    for message in messages:
        assert chain_of(message) == NAMES[1:]
        with_chord = [link["task"] for link in message["chain"] if link["options"].get("chord")]
        assert with_chord == [NAMES[-1]]
        body = stored(message)["chain"][0]["options"]["chord"]
        assert (body["task"], body["args"]) == ("imagegen.finish_batch", [str(batch.id)])
        assert [one["task"] for one in body["options"]["link_error"]] == ["imagegen.finish_batch"]
    groups = {link["options"]["group_id"] for message in messages for link in message["chain"][:1]}
    assert len(groups) == 1


@pytest.mark.parametrize("stage", [Stage.GENERATE, Stage.RECONCILE, Stage.DOWNLOAD, Stage.UPLOAD])
def test_a_parked_member_comes_back_into_its_chord(app: Celery, stage: Stage) -> None:
    """From the continuation in its row: the message has the rest of the chain, and its upload the same chord."""
    batch, jobs = new_batch(2)
    batch_chord(app, batch.id, [job.id for job in jobs]).apply_async()
    first, _ = sent(app)
    kept = stored(first)
    group = kept["chain"][0]["options"]["group_id"]
    job = new_job(id=UUID(first["args"][0]), stage=stage, status=Status.UPLOADING, continuation=kept)
    message = resumed(app, job)
    assert (message["task"], message["args"]) == (f"imagegen.{stage.value}", [str(job.id)])
    following = 1 if stage is Stage.RECONCILE else NAMES.index(message["task"]) + 1
    assert chain_of(message) == NAMES[following:]
    chord = message["chord"] if stage is Stage.UPLOAD else message["chain"][0]["options"]["chord"]
    assert (chord["task"], chord["args"]) == ("imagegen.finish_batch", [str(batch.id)])
    if stage is not Stage.UPLOAD:
        assert message["chain"][0]["options"]["group_id"] == group


def test_a_download_that_parks_twice_keeps_its_chord(app: Celery) -> None:
    """The continuation that its own message stores holds the upload alone: enough to come back."""
    batch, jobs = new_batch(2)
    batch_chord(app, batch.id, [job.id for job in jobs]).apply_async()
    first, _ = sent(app)
    job = new_job(id=UUID(first["args"][0]), stage=Stage.DOWNLOAD, status=Status.UPLOADING, continuation=stored(first))
    for _ in range(2):
        message = resumed(app, job)
        assert chain_of(message) == ["imagegen.upload"]
        assert message["chain"][0]["options"]["chord"]["args"] == [str(batch.id)]
        job = new_job(id=job.id, stage=job.stage, status=job.status, continuation=stored(message))
    again = new_job(id=job.id, stage=Stage.GENERATE, status=Status.QUEUED, continuation=job.continuation)
    assert chain_of(resumed(app, again)) == NAMES[1:]


def test_the_most_urgent_hint_is_taken_first(app: Celery) -> None:
    """High before normal before low, whatever came first; a low one that waited nine minutes goes with the high ones.

    A batch goes by its most urgent member.
    """
    now = CLOCK.now()
    low, normal, high = (new_job(priority=number, created_at=now) for number in (9, 5, 0))
    waited = new_job(priority=9, created_at=now - timedelta(minutes=9))
    batch, members = new_batch(2)
    CeleryHints(app, CLOCK).jobs([low, normal, waited, high])
    CeleryHints(app, CLOCK).batch(batch, members)
    assert {member.priority for member in members} == {5}
    order = [message["args"][0] for message in sent(app)]
    assert order == [str(job.id) for job in (waited, high, normal, *members, low)]


def test_a_chunk_of_polls_is_as_urgent_as_its_first(app: Celery) -> None:
    """One high job in a chunk of low ones has it go before what was sent earlier."""
    now = CLOCK.now()
    polls = [
        new_job(stage=Stage.POLL, status=Status.GENERATING, priority=number, created_at=now) for number in (9, 0, 9)
    ]
    CeleryHints(app, CLOCK).jobs([new_job(priority=5, created_at=now)])
    CeleryHints(app, CLOCK).jobs(polls)
    assert [message["task"] for message in sent(app)] == ["imagegen.poll", "imagegen.generate"]


def test_what_is_no_job_goes_first(app: Celery) -> None:
    """The looking for a late picture has no priority of its own."""
    CeleryHints(app, CLOCK).jobs([new_job(priority=5, created_at=CLOCK.now())])
    CeleryHints(app, CLOCK).collect(UUID(int=9))
    assert [message["task"] for message in sent(app)] == ["imagegen.collect", "imagegen.generate"]


def test_long_queues_are_told(app: Celery) -> None:
    """Messages of all priorities count together; a stage is crowded by its own queue alone, until they are taken."""
    hints, now = CeleryHints(app, CLOCK), CLOCK.now()
    assert hints.crowded() == frozenset()
    for number in range(policies.CROWDED):
        if number == policies.CROWDED - 1:
            assert hints.crowded() == frozenset()
        job = new_job(stage=Stage.DOWNLOAD, status=Status.UPLOADING, priority=(0, 5, 9)[number % 3], created_at=now)
        hints.jobs([job])
    assert hints.crowded() == {Stage.DOWNLOAD}
    assert len(sent(app, "downloads")) == policies.CROWDED
    assert hints.crowded() == frozenset()


def test_without_a_broker_nothing_is_crowded(caplog: pytest.LogCaptureFixture) -> None:
    """The question is answered at once, and the outage is in the log."""
    with Celery("test", broker="redis+socket:///nobody/listens", backend=None, set_as_current=False) as app:
        assert CeleryHints(app, CLOCK).crowded() == frozenset()
    assert "the length of the queues is not known" in caplog.text
