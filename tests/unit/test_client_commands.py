"""`cancel` and `retry` of `imagegen.client` over Celery: typed answers, errors raised, sent again until answered."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from imagegen.client import (
    Batch,
    CeleryClient,
    Conflict,
    InvalidRequest,
    Job,
    NotFound,
    PurchaseNeeded,
    StillRunning,
)
from imagegen.contracts import JobDocument
from imagegen.errors import ImagegenError
from imagegen.testing.memory import ManualClock
from tests.unit.test_client import PaperWire


@pytest.fixture
def wire() -> PaperWire:
    return PaperWire(ManualClock())


@pytest.fixture
def client(wire: PaperWire) -> CeleryClient:
    return CeleryClient(wire, wire.clock)


def refusal(error: ImagegenError) -> dict[str, Any]:
    """As a worker answers."""
    return {"error": error.document(), "details": error.details}


def test_cancel_names_job_and_owner(client: CeleryClient, wire: PaperWire) -> None:
    """The message says whose job is to be cancelled; the document comes back typed."""
    job = client.generate("a fox", owner="ada")
    wire.answers = [{**job.json_document(), "status": "cancelled", "billed": "unknown"}]
    ended = client.cancel(job)
    assert (type(ended), ended.status, ended.billed, ended.done) == (Job, "cancelled", "unknown", True)
    task, command, kwargs = wire.commands[0]
    assert (task, kwargs, command != job.id) == ("imagegen.cancel", {"id": str(job.id), "owner": "ada"}, True)


def test_retry_carries_the_owner_s_word(client: CeleryClient, wire: PaperWire) -> None:
    """`buy` travels only as it was given; by a bare id the owner is the default one, or named."""
    batch = client.batch(["Ada", "Bo"])
    wire.answers = [batch.json_document()] * 3
    assert type(client.retry(batch)) is Batch
    client.retry(batch.id, buy=True)
    client.retry(str(batch.id), owner="ada")
    assert [kwargs for _, _, kwargs in wire.commands] == [
        {"id": str(batch.id), "owner": owner, "buy": buy}
        for owner, buy in (("default", False), ("default", True), ("ada", False))
    ]


@pytest.mark.parametrize("error", [Conflict("is completed"), NotFound("no job"), PurchaseNeeded("x", {"dollars": "1"})])
def test_a_refusal_is_raised_as_it_was(client: CeleryClient, wire: PaperWire, error: ImagegenError) -> None:
    """The worker's error comes out as its own class, with its details, after one message."""
    wire.answers = [refusal(error)]
    with pytest.raises(type(error), match=error.message) as caught:
        client.retry(uuid4())
    assert (caught.value.details.get("dollars"), len(wire.commands)) == (error.details.get("dollars"), 1)


def test_a_retry_carries_the_caller_s_key(client: CeleryClient, wire: PaperWire) -> None:
    """Where there is one; without it the message's own id is the key, which its resends have too."""
    wire.answers = [JobDocument(job_id=uuid4(), status="queued").json_document()] * 2
    client.retry(uuid4(), buy=True, idempotency_key="k")
    client.retry(uuid4(), buy=True)
    with_key, without = (kwargs for _, _, kwargs in wire.commands)
    assert (with_key["idempotencyKey"], "idempotencyKey" in without) == ("k", False)


def test_no_answer_is_told_in_time(client: CeleryClient, wire: PaperWire) -> None:
    """The same message again after 2, 4 and 8 seconds, then `StillRunning` with the job's id."""
    wanted = uuid4()
    with pytest.raises(StillRunning) as caught:
        client.cancel(wanted, timeout=20)
    assert caught.value.id == wanted
    assert wire.clock.monotonic() == pytest.approx(20)
    assert len(wire.commands) == 4
    assert len({command for _, command, _ in wire.commands}) == 1


def test_a_command_that_overtakes_its_job_waits_for_it(client: CeleryClient, wire: PaperWire) -> None:
    """What this client sent and no worker has accepted yet is not unknown: asked again, under a new id."""
    job = client.generate("a fox")
    wire.answers = [refusal(NotFound("no job")), {**job.json_document(), "status": "cancelled"}]
    assert client.cancel(job).status == "cancelled"
    first, second = (UUID(str(command)) for _, command, _ in wire.commands)
    assert first != second


def estimated(**given: Any) -> dict[str, Any]:
    """As a worker answers."""
    money = {"low": 0.02, "high": 0.02, "currency": "USD"}
    room = {"admitted": False, "budgets": []}
    return {
        "provider": "gemini", "model": "m", "width": 1, "height": 1, "format": "png", "ratio": "1:1", "tier": "1K",
        "emulated": True, "cacheHit": False, "cost": money, "expectedSeconds": {"p50": 2.0, "p95": 3.0, "samples": 4},
        "quota": {"verdict": "unknown", "breaker": "closed"}, "budget": room, "sentPrompt": "a fox", "warnings": [],
    } | given  # fmt: skip


def test_an_estimate_comes_back_typed(client: CeleryClient, wire: PaperWire) -> None:
    """One message with the request; a budget without room is an answer, not an error."""
    wire.answers = [estimated()]
    told = client.estimate("a fox", provider="gemini", width=64, height=64)
    assert (told.cost.high, told.expected_seconds.p95, told.budget.admitted) == (0.02, 3.0, False)
    ((task, _, kwargs),) = wire.commands
    assert task == "imagegen.estimate"
    assert kwargs == {"request": {"prompt": "a fox", "provider": "gemini", "width": 64, "height": 64}}


def test_an_estimate_is_refused_like_a_request(client: CeleryClient, wire: PaperWire) -> None:
    """Here before anything is sent, or by the worker; no answer is told in time."""
    with pytest.raises(InvalidRequest):
        client.estimate("a fox", width=1)
    assert wire.commands == []
    wire.answers = [refusal(InvalidRequest.of("model", "is unknown", "Choose another."))]
    with pytest.raises(InvalidRequest, match="is unknown"):
        client.estimate("a fox")
    with pytest.raises(StillRunning):
        client.estimate("a fox", timeout=3)
