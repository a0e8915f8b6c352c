"""Events of a running system: followed live while workers draw, and while PostgreSQL is away."""

from __future__ import annotations

import time

from tests.acceptance.stand import LATENCY, Stand
from tests.acceptance.system import System, until, words
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


def test_streams_outlive_postgresql(stand: Stand) -> None:
    """Killed under open streams of a job, its batch and its owner, and back: none is closed, none misses a move."""
    ada, about = Caller(stand.system, "ada"), words("the long night")
    stand.system.emulator.fault("hang", provider="gemini", route="submit", times=1, seconds=LATENCY * 4)
    asked = {"characters": [{"name": "Mara"}], "prompt": about, "provider": "gemini", **SMALL}
    with followed(f"{ada.url}/api/images/events", ada.headers) as all_hers:
        batch = ada.post("/api/images/batches", asked).json()
        job_id = batch["jobs"][0]["jobId"]
        with (
            followed(f"{ada.url}/api/images/jobs/{job_id}/events", ada.headers) as of_job,
            followed(f"{ada.url}/api/images/batches/{batch['batchId']}/events", ada.headers) as of_batch,
        ):
            streams = (all_hers, of_job, of_batch)
            until(lambda: stand.system.charges(about))
            with stand.without("postgres"):
                time.sleep(LATENCY * 2)
                assert not any(stream.over for stream in streams)
                known = [len(stream.reader.messages) for stream in streams]
            told = [of_job.rest(60), of_batch.rest(60)]
            moves = stand.system.moves(job_id)
            until(lambda: _moves(all_hers.reader.messages, job_id) == moves)
        assert not all_hers.over
        assert all(len(stream.reader.messages) > count for stream, count in zip(streams, known, strict=True))
        for one in told:
            seen = _moves(one, job_id)
            assert seen == moves[-len(seen) :]
        assert [one[-1].event for one in told] == ["completed", "batch.completed"]
    assert len(stand.system.charges(about)) == 1


def _moves(told: list[Message], job_id: str) -> list[str]:
    return [one.data["move"] for one in told if one.event != "snapshot" and one.data.get("jobId") == job_id]
