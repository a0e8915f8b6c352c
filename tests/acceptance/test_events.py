"""Events of a running system: a batch is followed live while workers draw it."""

from __future__ import annotations

from tests.acceptance.system import System, words
from tests.acceptance.test_http import SMALL, Caller
from tests.streams import Message, followed

ENDS = {"completed", "failed", "cancelled"}


def test_a_batch_is_followed_from_order_to_end(system: System) -> None:
    """Broken off in the middle and resumed: every move of both members once, in order; then the batch; two charges."""
    ada, about = Caller(system, "ada"), words("the ferry")
    asked = {"characters": [{"name": "Mara"}, {"name": "Tom"}], "prompt": about, "provider": "nanobanana", **SMALL}
    batch_id = ada.post("/api/images/batches", asked).json()["batchId"]
    path = f"{ada.url}/api/images/batches/{batch_id}/events"
    with followed(path, ada.headers) as stream:
        seen = stream.until(3)[:3]
    with followed(path, {**ada.headers, "Last-Event-ID": str(seen[-1].id)}) as stream:
        told = [*seen, *stream.rest(60)]
    assert (told[0].event, told[0].data["batchId"]) == ("snapshot", batch_id)
    assert (told[-1].event, told[-1].data["batch"]["status"]) == ("batch.completed", "completed")
    for job in told[-1].data["batch"]["jobs"]:
        moves = _moves(told, job["jobId"])
        # What had happened before the stream was opened stands in the snapshot.
        assert moves == system.moves(job["jobId"])[-len(moves) :]
        assert moves[-1] == "complete"
        (end,) = [one for one in told if one.event in ENDS and one.data["jobId"] == job["jobId"]]
        assert end.data["job"]["publicUrl"] == job["publicUrl"]
    assert len(system.charges(about)) == 2
    known = ada.get(f"/api/images/batches/{batch_id}/events", lastEventId=str(told[-1].id))
    assert known.status_code == 204
    assert Caller(system, "bob").get(f"/api/images/batches/{batch_id}/events").status_code == 404


def _moves(told: list[Message], job_id: str) -> list[str]:
    return [one.data["move"] for one in told if one.data.get("jobId") == job_id]
