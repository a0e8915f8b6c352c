"""Jobs and batches over HTTP, on the whole pipeline in memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from imagegen.contracts import BatchDocument, JobDocument
from imagegen.errors import Temporary
from imagegen.ids import job_id_for
from imagegen.providers.base import Rejected
from tests.door import Door, served
from tests.pipeline_parts import World

pytest_plugins = ["tests.worlds"]
FOX = {"prompt": "a fox", "provider": "gemini", "width": 320, "height": 180}
REFUSED = Rejected(error=Temporary("busy", {"retryable": False}))


@pytest.fixture
def door(world: World) -> Iterator[Door]:
    """The door before that world, for ada."""
    with served(world.services) as door:
        yield door


def hinted(world: World, count: int) -> None:
    """Returns when so many hints were sent: that happens after the answer."""
    end = time.monotonic() + 10
    while len(world.heard.hints) < count:
        assert time.monotonic() < end
        threading.Event().wait(0.01)


def run(world: World, *ids: str) -> None:
    """Workers do these jobs."""
    for job_id in ids:
        world.chain(world.store.jobs.get(UUID(job_id)))


def test_a_picture_is_asked_for_and_found(world: World, door: Door) -> None:
    """202 with the whole document and where it is; the hint follows; then the same document says completed."""
    reply = door.post("/api/images/generate", FOX)
    job = reply.json()
    assert reply.status_code == 202
    assert reply.headers["Location"] == f"/api/images/jobs/{job['jobId']}"
    assert job == JobDocument(**job).json_document()
    assert (job["status"], job["owner"], job["prompt"]) == ("queued", "ada", "a fox")
    hinted(world, 1)
    run(world, job["jobId"])
    found = door.get(reply.headers["Location"]).json()
    assert (found["status"], found["billed"], world.studio.charged) == ("completed", "yes", 1)
    assert door.get("/api/images/jobs").json() == {"items": [found], "nextCursor": None}


def test_a_key_names_one_job(world: World, door: Door) -> None:
    """By header or in the body, a key sent again finds the first job; another body is a conflict."""
    first = door.post("/api/images/generate", FOX, {"Idempotency-Key": "k1"})
    again = door.post("/api/images/generate", {**FOX, "idempotencyKey": "k1"})
    assert {first.json()["jobId"], again.json()["jobId"]} == {str(job_id_for("ada", "k1"))}
    other = door.post("/api/images/generate", {**FOX, "seed": 1}, {"Idempotency-Key": "k1"})
    assert (other.status_code, other.json()["code"]) == (409, "IDEMPOTENCY_CONFLICT")
    unlike = door.post("/api/images/generate", {**FOX, "idempotencyKey": "k2"}, {"Idempotency-Key": "k1"})
    assert (unlike.status_code, unlike.json()["problems"][0]["field"]) == (422, "Idempotency-Key")
    assert len(door.get("/api/images/jobs").json()["items"]) == 1
    assert door.as_("bob").post("/api/images/generate", FOX, {"Idempotency-Key": "k1"}).json()["owner"] == "bob"


def meanwhile(work: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_who_prefers_to_wait_gets_the_picture(world: World, door: Door) -> None:
    """`Prefer: wait` answers 200 with the finished document as soon as it is there."""

    def works() -> None:
        hinted(world, 1)
        run(world, str(world.heard.hints[0]))

    worker = meanwhile(works)
    reply = door.post("/api/images/generate", FOX, {"Prefer": "respond-async, wait=30"})
    worker.join()
    assert (reply.status_code, reply.json()["status"]) == (200, "completed")
    assert reply.headers["Preference-Applied"] == "wait=30"


def test_waiting_ends(world: World, door: Door) -> None:
    """202 with the document as it stands when the time is over; nonsense is no preference."""
    reply = door.post("/api/images/generate", FOX, {"Prefer": "wait=1"})
    assert (reply.status_code, reply.json()["status"]) == (202, "queued")
    assert door.post("/api/images/generate", FOX, {"Prefer": "wait=soon"}).status_code == 202


def test_a_waiting_caller_gets_the_closed_batch(world: World, door: Door) -> None:
    """A batch is waited for until it is closed, not only until its members have ended."""

    def works() -> None:
        hinted(world, 2)
        run(world, *map(str, world.heard.hints[:2]))

    worker = meanwhile(works)
    asked = {"characters": [{"name": "Mara"}, {"name": "Tom"}], "provider": "gemini", "width": 320, "height": 180}
    reply = door.post("/api/images/batches", asked, {"Prefer": "wait=30"})
    worker.join()
    assert (reply.status_code, reply.json()["status"]) == (200, "completed")


def test_a_batch_is_all_or_nothing(world: World, door: Door) -> None:
    """202 with the members in input order, found by id and listed; one wrong member is named and nothing is kept."""
    reply = door.post("/api/images/batches", {"characters": [{"name": "Mara"}, {"name": "Tom"}]})
    batch = reply.json()
    assert (reply.status_code, reply.headers["Location"]) == (202, f"/api/images/batches/{batch['batchId']}")
    assert batch == BatchDocument(**batch).json_document()
    assert [job["character"] for job in batch["jobs"]] == ["Mara", "Tom"]
    assert door.get(reply.headers["Location"]).json() == batch
    assert door.get("/api/images/batches").json() == {"items": [batch], "nextCursor": None}
    wrong = door.post(
        "/api/images/batches", {"requests": [{"prompt": "a fox"}, {"prompt": "a cat", "model": "dall-e"}]}
    )
    assert (wrong.status_code, wrong.json()["problems"][0]["field"]) == (422, "requests.1.model")
    assert len(door.get("/api/images/batches").json()["items"]) == 1


def test_cancelling_tells_the_truth(world: World, door: Door) -> None:
    """A queued job is cancelled at no cost, again is fine, and one that has its picture is a conflict with its id."""
    job_id = door.post("/api/images/generate", FOX).json()["jobId"]
    for _ in range(2):
        reply = door.post(f"/api/images/jobs/{job_id}/cancel")
        assert (reply.status_code, reply.json()["status"], reply.json()["billed"]) == (200, "cancelled", "no")
    done = door.post("/api/images/generate", FOX).json()["jobId"]
    run(world, done)
    reply = door.post(f"/api/images/jobs/{done}/cancel")
    assert (reply.status_code, reply.json()["code"], reply.json()["jobId"]) == (409, "CONFLICT", done)


def test_a_failed_job_goes_on(world: World, door: Door) -> None:
    """What cost nothing goes on by itself; what was charged asks for `buy` with 402 and its dollars."""
    world.studio.submissions = [REFUSED]
    job_id = door.post("/api/images/generate", FOX).json()["jobId"]
    run(world, job_id)
    assert door.get(f"/api/images/jobs/{job_id}").json()["status"] == "failed"
    reply = door.post(f"/api/images/jobs/{job_id}/retry")
    assert (reply.status_code, reply.json()["status"], reply.json()["run"]) == (202, "queued", 2)
    run(world, job_id)
    assert world.studio.charged == 1
    assert door.post(f"/api/images/jobs/{job_id}/retry").status_code == 409
    assert door.post(f"/api/images/jobs/{job_id}/retry", {"buy": 3}).status_code == 422


def test_a_purchase_is_asked_for(world: World, door: Door) -> None:
    """402 names the dollars, and `buy` pays."""
    world.studio.submissions = [Rejected(error=Temporary("lost", {"retryable": False, "billed": "yes"}))]
    job_id = door.post("/api/images/generate", FOX).json()["jobId"]
    run(world, job_id)
    reply = door.post(f"/api/images/jobs/{job_id}/retry", {"buy": False})
    assert (reply.status_code, reply.json()["code"], reply.json()["jobId"]) == (402, "PURCHASE_NEEDED", job_id)
    assert float(reply.json()["dollars"]) > 0
    assert door.post(f"/api/images/jobs/{job_id}/retry", {"buy": True}).status_code == 202


def test_batches_are_cancelled_and_go_on(world: World, door: Door) -> None:
    """The members of a batch are cancelled together; a failed one of another goes on and reopens it."""
    asked = {"characters": [{"name": "Mara"}, {"name": "Tom"}], "provider": "gemini", "width": 320, "height": 180}
    batch = door.post("/api/images/batches", asked).json()
    reply = door.post(f"/api/images/batches/{batch['batchId']}/cancel")
    assert (reply.status_code, [job["status"] for job in reply.json()["jobs"]]) == (200, ["cancelled"] * 2)
    world.studio.submissions = [REFUSED]
    other = door.post("/api/images/batches", asked).json()
    run(world, *(job["jobId"] for job in other["jobs"]))
    path = f"/api/images/batches/{other['batchId']}"
    assert door.get(path).json()["status"] == "partial"
    assert door.post(f"{path}/cancel").status_code == 409
    assert door.post(f"{path}/retry").json()["status"] == "running"
    assert door.get("/api/images/batches", status="running").json()["items"][0]["batchId"] == other["batchId"]
    assert len(door.get("/api/images/batches", project="none").json()["items"]) == 0


def test_lists_go_page_by_page(door: Door) -> None:
    """Each job once, the newest first, whatever the page's size; filters narrow them; a misspelt one is refused."""
    ids = [door.post("/api/images/generate", {**FOX, "projectId": f"p{n % 2}"}).json()["jobId"] for n in range(5)]
    seen: list[str] = []
    cursor = None
    while True:
        page = door.get("/api/images/jobs", limit=2, **({"cursor": cursor} if cursor else {})).json()
        seen += [job["jobId"] for job in page["items"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert sorted(seen) == sorted(ids)
    assert len(door.get("/api/images/jobs", project="p1", status="queued", type="master_asset").json()["items"]) == 2
    assert door.get("/api/images/jobs", since="2100-01-01T00:00:00Z").json()["items"] == []
    for wrong in (
        {"stauts": "failed"},
        {"status": "lost"},
        {"limit": 0},
        {"since": "5"},
        {"cursor": "x"},
        {"project": "\0"},
    ):
        assert door.get("/api/images/jobs", **wrong).status_code == 422


def test_an_unknown_job_is_not_found(door: Door) -> None:
    """404 with the code, and the id that was asked for."""
    job_id = str(uuid4())
    reply = door.get(f"/api/images/jobs/{job_id}")
    assert (reply.status_code, reply.json()["code"], reply.json()["jobId"]) == (404, "NOT_FOUND", job_id)
