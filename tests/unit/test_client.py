"""`imagegen.client` over Celery: validated before it is sent, resent until acknowledged, honest about its limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest

from imagegen.client import Batch, CeleryClient, Client, ImagegenError, InvalidRequest, Job, NotServed, StillRunning
from imagegen.contracts import Character, rejected_document
from imagegen.errors import PartUnavailable
from imagegen.ids import batch_id_for, job_id_for, member_id_for
from imagegen.testing.memory import ManualClock


class PaperWire:
    """A broker and a result store on paper. `at` tells when each message went out."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.sent: list[tuple[str, UUID, dict[str, Any]]] = []
        self.commands: list[tuple[str, UUID, dict[str, Any]]] = []
        self.answers: list[dict[str, Any]] = []
        self.at: list[float] = []
        self.documents: dict[UUID, dict[str, Any]] = {}
        self.acknowledged: set[UUID] = set()
        self.ready: dict[UUID, float] = {}
        self.outage: ImagegenError | None = None
        self.closed = False

    def send(self, task: str, task_id: UUID, request: Mapping[str, Any]) -> None:
        if self.outage is not None:
            raise self.outage
        self.sent.append((task, task_id, dict(request)))
        self.at.append(self.clock.monotonic())

    def command(self, task: str, task_id: UUID, kwargs: Mapping[str, Any]) -> None:
        self.commands.append((task, task_id, dict(kwargs)))
        if self.answers:
            self.documents[task_id] = self.answers.pop(0)

    def finished(self, task_id: UUID) -> dict[str, Any] | None:
        return self.documents.get(task_id) if self.clock.monotonic() >= self.ready.get(task_id, 0) else None

    def accepted(self, task_id: UUID) -> bool:
        return task_id in self.acknowledged

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def wire() -> PaperWire:
    return PaperWire(ManualClock())


@pytest.fixture
def client(wire: PaperWire) -> CeleryClient:
    return CeleryClient(wire, wire.clock)


def completed(job: Job, **fields: Any) -> dict[str, Any]:
    return {**job.json_document(), "status": "completed", "publicUrl": "https://x/y.png", **fields}


def test_generate_sends_the_request_by_name(client: CeleryClient, wire: PaperWire) -> None:
    """One message with the task's name, the job's id and the request in camelCase, holding what was given."""
    job = client.generate("a fox", job_type="start_frame", projectId="p", width=640, height=360, metadata={"a_b": 1})
    assert wire.sent == [
        (
            "imagegen.generate_image",
            job.id,
            {
                "prompt": "a fox", "jobType": "start_frame", "projectId": "p", "width": 640, "height": 360,
                "metadata": {"a_b": 1},
            },
        )
    ]  # fmt: skip
    assert (job.status, job.done, job.ok, job.project_id) == ("queued", False, False, "p")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"widht": 5}, "widht"),
        ({"width": 640}, "height"),
        ({"reference_images": ["./a.png"]}, "referenceImages.0"),
        ({"reference_images": ["data:image/png;base64,AA=="]}, "referenceImages.0"),
        ({"style": {"name": "n", "references": ["b.png"]}}, "style.references.0"),
    ],
)
def test_wrong_requests_are_not_sent(client: CeleryClient, wire: PaperWire, fields: dict[str, Any], field: str) -> None:
    """The same errors as the service's own, before anything leaves; bytes and local paths do not travel in messages."""
    with pytest.raises(InvalidRequest) as caught:
        client.generate("a fox", **fields)
    assert caught.value.problems[0]["field"] == field
    assert wire.sent == []


def test_an_idempotency_key_names_the_job(client: CeleryClient) -> None:
    """Owner and key give the id, so sending again is harmless; without a key each call is a job of its own."""
    first = client.generate("a fox", idempotency_key="k", owner="o")
    assert first.id == client.generate("a fox", idempotency_key="k", owner="o").id == job_id_for("o", "k")
    assert client.generate("a fox").id != client.generate("a fox").id


def test_batch_takes_names_briefs_and_requests(client: CeleryClient, wire: PaperWire) -> None:
    """Characters by name or brief with defaults beside them, or whole requests; the jobs' ids are known at once."""
    briefs: list[Any] = ["Ada", {"name": "Bo", "hat": "red"}, Character(name="Cy")]
    batch = client.batch(briefs, project_id="p", idempotency_key="k")
    assert batch.id == batch_id_for("default", "k")
    assert [job.id for job in batch.jobs] == [member_id_for(batch.id, index) for index in range(3)]
    assert [job.character for job in batch.jobs] == ["Ada", "Bo", "Cy"]
    task, _, request = wire.sent[0]
    assert (task, request["projectId"]) == ("imagegen.generate_batch", "p")
    assert [one["name"] for one in request["characters"]] == ["Ada", "Bo", "Cy"]
    assert request["characters"][1]["hat"] == "red"
    client.batch(requests=[{"prompt": "a", "job_type": "end_frame"}])
    assert wire.sent[1][2]["requests"] == [{"prompt": "a", "jobType": "end_frame"}]


def test_a_batch_with_a_bad_member_is_not_sent(client: CeleryClient, wire: PaperWire) -> None:
    """All or nothing begins at the caller: the member and its field are named."""
    with pytest.raises(InvalidRequest, match=r"requests\.1\.height"):
        client.batch(requests=[{"prompt": "a"}, {"prompt": "b", "width": 640}])
    with pytest.raises(InvalidRequest, match="has 5 members"):
        client.batch(["a", "b", "c", "d", "e"])
    assert wire.sent == []


def test_wait_returns_the_finished_document(client: CeleryClient, wire: PaperWire) -> None:
    """A failed job is returned like a completed one; an id as text finds the same."""
    job = client.generate("a fox")
    wire.documents[job.id] = completed(job)
    wire.ready[job.id] = 3.0
    done = client.wait(job)
    assert (done.ok, done.public_url, type(done)) == (True, "https://x/y.png", Job)
    refused = uuid4()
    wire.documents[refused] = rejected_document(refused, InvalidRequest.of("model", "is unknown", "x").document())
    failed = client.wait(str(refused))
    assert isinstance(failed, Job)
    assert (failed.done, failed.ok) == (True, False)
    assert failed.error is not None
    assert failed.error.code == "INVALID_REQUEST"


def test_a_batch_comes_back_with_its_jobs(client: CeleryClient, wire: PaperWire) -> None:
    """A partial batch is done and not ok; one refused as a whole says why."""
    batch = client.batch(["Ada", "Bo"])
    jobs = [completed(batch.jobs[0]), {**batch.jobs[1].json_document(), "status": "failed"}]
    wire.documents[batch.id] = {**batch.json_document(), "status": "partial", "jobs": jobs}
    done = client.wait(batch)
    assert (type(done), done.done, done.ok, [job.ok for job in done.jobs]) == (Batch, True, False, [True, False])
    refused = uuid4()
    error = InvalidRequest.of("characters", "is empty", "x").document()
    wire.documents[refused] = {"batchId": str(refused), "status": "failed", "jobs": [], "error": error}
    found = client.get(refused)
    assert isinstance(found, Batch)
    assert found.error is not None
    assert found.error.code == "INVALID_REQUEST"


def test_wait_gives_up_at_its_timeout(client: CeleryClient, wire: PaperWire) -> None:
    """`StillRunning` carries the id, at the timeout and not later; `get` raises it at once."""
    job = client.generate("a fox")
    wire.acknowledged.add(job.id)
    with pytest.raises(StillRunning) as caught:
        client.wait(job.id, timeout=10)
    assert caught.value.id == job.id
    assert wire.clock.monotonic() == pytest.approx(10)
    with pytest.raises(StillRunning):
        client.get(job)


def test_waiting_resends_until_acknowledged(client: CeleryClient, wire: PaperWire) -> None:
    """The same message again after 2, 4, 8, 16, then every 30 seconds, and never after the acknowledgement."""
    job = client.generate("a fox")
    with pytest.raises(StillRunning):
        client.wait(job, timeout=100)
    gaps = [later - earlier for earlier, later in zip(wire.at, wire.at[1:], strict=False)]
    assert [round(gap) for gap in gaps] == pytest.approx([2, 4, 8, 16, 30, 30], abs=1)
    assert all(message == wire.sent[0] for message in wire.sent)
    wire.acknowledged.add(job.id)
    sent = len(wire.sent)
    with pytest.raises(StillRunning):
        client.wait(job, timeout=200)
    assert len(wire.sent) == sent


def test_what_others_sent_is_not_resent(client: CeleryClient, wire: PaperWire) -> None:
    """Waiting for an id this client did not send only looks."""
    with pytest.raises(StillRunning):
        client.wait(uuid4(), timeout=60)
    assert wire.sent == []


def test_a_dead_broker_is_told_with_the_id(client: CeleryClient, wire: PaperWire) -> None:
    """`PartUnavailable` comes out as it is, and nothing is remembered for resending."""
    wire.outage = PartUnavailable("away", {"part": "broker"})
    with pytest.raises(PartUnavailable):
        client.generate("a fox", idempotency_key="k")
    wire.outage = None
    with pytest.raises(StillRunning):
        client.wait(job_id_for("default", "k"), timeout=60)
    assert wire.sent == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.costs(by="day"),
    ],
)
def test_what_this_door_cannot_do_names_another(client: CeleryClient, ask: Any) -> None:
    """A clear error instead of a wrong answer."""
    with pytest.raises(NotServed, match=r"Celery door cannot .*imagegen"):
        ask(client)


def test_addresses_are_checked_when_the_door_opens() -> None:
    """A broker of no known kind, or one without a place for results, is refused by name."""
    with pytest.raises(InvalidRequest, match="broker: 'ftp' is no broker"):
        Client.celery("ftp://x", "redis://x")
    with pytest.raises(InvalidRequest, match="backend: is missing"):
        Client.celery("amqp://x")


def test_leaving_the_context_closes_the_wire(client: CeleryClient, wire: PaperWire) -> None:
    """Connections are given back."""
    with client:
        pass
    assert wire.closed
