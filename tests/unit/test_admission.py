"""Admission on parts in memory: what is written, what is found again, who is told."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from imagegen.admission import admit_batch, admit_image, plan_image, send_hints
from imagegen.contracts import parse_batch, parse_request
from imagegen.errors import IdempotencyConflict, InvalidRequest, PartUnavailable
from imagegen.ids import batch_id_for, job_id_for, member_id_for
from imagegen.inputs import input_ref, store_input
from imagegen.jobs import Job
from imagegen.records import Admitted
from imagegen.states import BatchStatus
from tests.admission_parts import NOW, World
from tests.drawings import a_file

MARA = {"name": "Mara Vance", "description": "a tired detective"}
FOX = {"prompt": "A red fox"}
BATCH = {"characters": [{"name": name} for name in ("Ada", "Bo", "Cy", "Di")]}


@pytest.fixture
def world() -> World:
    return World()


def plan(world: World, body: dict[str, Any], **settings: Any) -> Job:
    return plan_image(parse_request(body), world.with_(**settings), door="http")


def admit(world: World, body: dict[str, Any], door: Any = "http", job_id: UUID | None = None) -> Admitted:
    return admit_image(parse_request(body), world.services, door=door, job_id=job_id)


def admit_four(world: World, body: dict[str, Any], door: Any = "http", batch_id: UUID | None = None) -> Admitted:
    return admit_batch(parse_batch(body), world.services, door=door, batch_id=batch_id)


def problems(error: pytest.ExceptionInfo[InvalidRequest]) -> dict[str, str]:
    assert all(problem["remedy"] for problem in error.value.problems)
    return {problem["field"]: problem["reason"] for problem in error.value.problems}


def stored(world: World, width: int = 320, height: int = 180) -> str:
    return input_ref(store_input(a_file("PNG", width, height), "mask", world.blobs))


def test_admission_writes_once_and_sends_a_hint(world: World) -> None:
    """A new job is one row and one hint."""
    admitted = admit(world, FOX)
    assert (admitted.created, world.written) == (True, 1)
    assert world.hints.heard == [("jobs", [admitted.jobs[0].id])]


def test_a_lost_hint_does_not_lose_the_job(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """With the broker away the job is accepted all the same; the log says that the sweep sends the hint."""
    world.hints.outage = PartUnavailable("Redis is away", {"part": "Redis"})
    with caplog.at_level(logging.WARNING, "imagegen.admission"):
        admitted = admit(world, FOX)
    assert admitted.created
    assert "the sweep sends it: Redis is away" in caplog.text


def test_a_job_from_a_message_gets_no_hint(world: World) -> None:
    """The worker that admits a Celery message goes on with it by itself; `send_hints` is there for it."""
    job_id = uuid4()
    admitted = admit(world, FOX, "celery", job_id)
    assert admitted.jobs[0].id == job_id
    assert world.hints.heard == []
    send_hints(admitted, world.services)
    assert world.hints.heard == [("jobs", [job_id])]


def test_a_scheduled_job_gets_no_hint(world: World) -> None:
    """What is not due is left to the sweep."""
    admit(world, {**FOX, "scheduledAt": (NOW + timedelta(minutes=1)).isoformat()})
    assert world.hints.heard == []


def test_the_same_key_names_the_same_job(world: World) -> None:
    """Resending with an idempotency key finds the job; another body is a conflict; no second hint is sent."""
    first = admit(world, {**FOX, "idempotencyKey": "k", "owner": "o"})
    again = admit(world, {**FOX, "idempotencyKey": "k", "owner": "o"})
    assert first.jobs[0].id == again.jobs[0].id == job_id_for("o", "k")
    assert (first.created, again.created, len(world.hints.heard)) == (True, False, 1)
    with pytest.raises(IdempotencyConflict):
        admit(world, {"prompt": "Another", "idempotencyKey": "k", "owner": "o"})
    assert admit(world, {**FOX, "idempotencyKey": "k", "owner": "p"}).created


def test_what_was_accepted_stays_accepted_when_its_reference_is_gone(world: World) -> None:
    """A resend after the reference's URL died answers with the job; another body under that key is a conflict."""
    url = world.web.serve("https://93.184.216.34/a.png", a_file("PNG"))
    body = {**FOX, "referenceImages": [url], "idempotencyKey": "k"}
    first = admit(world, body)
    world.web.pages.clear()
    again = admit(world, body)
    assert (again.created, again.jobs) == (False, first.jobs)
    with pytest.raises(IdempotencyConflict):
        admit(world, {**body, "seed": 7})
    with pytest.raises(InvalidRequest):
        admit(world, {**body, "idempotencyKey": "other"})
    assert world.written == 1


def test_a_batch_is_written_whole(world: World) -> None:
    """Four characters are four jobs in order, in one batch, with one hint for all."""
    admitted = admit_four(world, {**BATCH, "style": {"name": "noir"}, "width": 640, "height": 480})
    assert admitted.batch is not None
    assert (admitted.batch.size, admitted.batch.status) == (4, BatchStatus.QUEUED)
    assert [job.character for job in admitted.jobs] == ["Ada", "Bo", "Cy", "Di"]
    assert [(job.batch_id, job.batch_index, job.id) for job in admitted.jobs] == [
        (admitted.batch.id, index, member_id_for(admitted.batch.id, index)) for index in range(4)
    ]
    assert {(job.width, job.style_name) for job in admitted.jobs} == {(640, "noir")}
    assert world.written == 4
    assert world.hints.heard == [("batch", [job.id for job in admitted.jobs])]


def test_a_batch_with_one_bad_member_is_refused_whole(world: World) -> None:
    """All problems of all members come together, each under its member, and nothing is written."""
    bad = {**FOX, "jobType": "inpaint", "sourceImage": f"job:{uuid4()}", "mask": f"job:{uuid4()}"}
    requests = [FOX, {**FOX, "model": "dall-e"}, bad, {**FOX, "metadata": {"a": "x" * 20_000}}]
    with pytest.raises(InvalidRequest) as error:
        admit_four(world, {"requests": requests})
    assert set(problems(error)) == {
        "requests.1.model", "requests.2.sourceImage", "requests.2.mask", "requests.3.metadata",
    }  # fmt: skip
    assert world.written == 0
    assert world.hints.heard == []


def test_a_batch_says_once_whom_it_cannot_tell(world: World) -> None:
    """The batch's own callback is refused under its own name."""
    with pytest.raises(InvalidRequest) as error:
        admit_four(world, {**BATCH, "callbackUrl": "https://a.example/hook"})
    assert problems(error) == {"callbackUrl": "cannot be told: webhooks are not signed here"}


def test_whom_a_batch_tells_is_part_of_it(world: World) -> None:
    """Its targets are kept in its row; the same key with another target is a conflict, with the same one it is not."""
    task = {"name": "shop.pictures", "queue": "shop"}
    body = {**BATCH, "idempotencyKey": "once", "notifyTask": task}
    first = admit_four(world, body)
    assert first.batch is not None
    assert (first.batch.notify_task, first.batch.callback_url) == (task, None)
    assert not admit_four(world, body).created
    for other in ({**body, "notifyTask": {**task, "queue": "other"}}, {**BATCH, "idempotencyKey": "once"}):
        with pytest.raises(IdempotencyConflict):
            admit_four(world, other)


def test_members_of_a_batch_may_be_due_at_different_times(world: World) -> None:
    """Only what is due is hinted at, job by job, when another member waits for its time."""
    later = (NOW + timedelta(hours=1)).isoformat()
    admitted = admit_four(world, {"requests": [FOX, {**FOX, "scheduledAt": later}]})
    assert world.hints.heard == [("jobs", [admitted.jobs[0].id])]


def test_a_batch_sent_again_is_found_again(world: World) -> None:
    """Same key, same members: the same batch; other members: a conflict; also when a reference died meanwhile."""
    url = world.web.serve("https://93.184.216.34/a.png", a_file("PNG"))
    body = {**BATCH, "referenceImages": [url], "idempotencyKey": "k"}
    first = admit_four(world, body)
    assert first.batch is not None
    assert first.batch.id == batch_id_for("default", "k")
    assert world.web.asked == [url]
    again = admit_four(world, body)
    world.web.pages.clear()
    later = admit_four(world, body)
    assert [one.created for one in (first, again, later)] == [True, False, False]
    assert again.jobs == later.jobs == first.jobs
    with pytest.raises(IdempotencyConflict):
        admit_four(world, {**body, "characters": BATCH["characters"][:3]})
    assert world.written == 4


def test_a_local_file_and_a_message_keep_their_doors(world: World) -> None:
    """In a batch too, an input that cannot pass its door is named under its member."""
    with pytest.raises(InvalidRequest) as error:
        admit_four(world, {**BATCH, "referenceImages": ["data:image/png;base64,AAAA"]}, "celery")
    assert set(problems(error)) == {f"characters.{index}.referenceImages.0" for index in range(4)}


def test_another_owners_id_is_not_answered(world: World) -> None:
    """A task id that belongs to somebody else's job is a conflict, even for a request that could not be planned."""
    job_id = uuid4()
    job = admit(world, {**FOX, "owner": "o"}, "celery", job_id).jobs[0]
    world.rows.jobs[job_id] = replace(job, body_sha256="other")
    with pytest.raises(IdempotencyConflict):
        admit(world, {**FOX, "owner": "p", "model": "dall-e"}, "celery", job_id)
