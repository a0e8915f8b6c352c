"""Streams of events over the served application: what they tell, where they end, how they are resumed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from imagegen.ports_events import Line, News
from imagegen.states import MoveName
from tests.event_door import Served
from tests.jobs_kit import at, claimed, completed, moved, step
from tests.streams import Stream

pytest_plugins = ["tests.event_worlds"]
MOVES = ["claim", "submit", "deliver", "publish", "complete"]


def test_a_job_is_told_from_its_snapshot_to_its_end(served: Served) -> None:
    """The document, each move with where the job stands, the end with the finished document; then the stream ends."""
    job = served.world.job(owner="ada")

    async def story() -> None:
        async with served.job(job) as stream:
            assert (stream.status, stream.headers["content-type"].split(";")[0]) == (200, "text/event-stream")
            assert (stream.headers["cache-control"], stream.headers["x-accel-buffering"]) == ("no-store", "no")
            snapshot = await stream.next()
            assert (snapshot.event, snapshot.data["jobId"], snapshot.data["status"]) == (
                "snapshot",
                str(job.id),
                "queued",
            )
            completed(served.store, job)
            told = await stream.rest()
            assert stream.body.startswith(b"retry: 2000\n")
        assert [one.event for one in told] == ["processing", "generating", "uploading", "uploading", "completed"]
        assert [one.data["move"] for one in told] == MOVES
        assert {(one.data["jobId"], one.data["batchId"], one.data["run"]) for one in told} == {(str(job.id), None, 1)}
        assert told[0].data["stage"] == "generate"
        assert told[0].data["at"].endswith("Z")
        assert "job" not in told[0].data
        assert told[-1].data["job"] == served.store.jobs.get(job.id).document().json_document()

    served.run(story)


@pytest.mark.parametrize("by_query", [False, True], ids=["header", "query"])
def test_a_stream_goes_on_where_it_broke_off(served: Served, by_query: bool) -> None:
    """With the last id nothing is missed and nothing repeated, after every message; who knows the end gets 204."""
    job = completed(served.store, served.world.job(owner="ada"))
    lines = [event.move for event in served.store.jobs.history(job.id)]

    async def resumed(since: str) -> Stream:
        stream: Stream
        told: Any = {"lastEventId": since} if by_query else {"since": since}
        async with served.job(job, **told) as stream:
            if stream.status == 200:
                await stream.rest()
            return stream

    async def story() -> None:
        numbers = [event.id for event in served.store.jobs.history(job.id)]
        for seen, number in enumerate(numbers[:-1], 1):
            stream = await resumed(str(number))
            assert [one.data["move"] for one in stream.reader.messages] == lines[seen:]
            assert stream.reader.messages[-1].id == str(numbers[-1])
        known = await resumed(str(numbers[-1]))
        assert (known.status, known.body) == (204, b"")

    served.run(story)


def test_a_job_that_has_ended_is_told_at_once(served: Served) -> None:
    """Snapshot and end, whatever its end was; what became known later comes too, and then the stream ends."""
    done, cancelled = served.world.job(owner="ada"), served.world.job(owner="ada")
    completed(served.store, done, placeholder=True)
    moved(served.store, step(done, MoveName.REPLACE, 5, changes={"placeholder": False}))
    moved(served.store, step(cancelled, MoveName.CANCEL))

    async def story() -> None:
        async with served.job(done) as stream:
            assert [one.event for one in await stream.rest()] == ["snapshot", "completed", "replaced"]
            assert stream.reader.messages[-1].data["job"]["placeholder"] is False
        async with served.job(cancelled) as stream:
            assert [one.event for one in await stream.rest()] == ["snapshot", "cancelled"]
        async with served.job(cancelled, since=stream.reader.messages[0].id) as again:
            assert [one.event for one in await again.rest()] == ["cancelled"]
        async with served.job(cancelled, since=stream.reader.last_id) as known:
            assert known.status == 204

    served.run(story)


def test_a_retried_job_is_followed_into_its_next_run(served: Served) -> None:
    """Who comes back after a failure that was retried meanwhile hears of the failure and follows the new run."""
    job = served.world.job(owner="ada")
    moved(served.store, step(job, MoveName.FAIL, changes={"error_code": "TEMPORARY", "error_message": "away"}))
    moved(served.store, step(job, MoveName.RETRY, 5, target=job.status))

    async def story() -> None:
        first = str(served.store.jobs.history(job.id)[0].id)
        async with served.job(job, since=first) as stream:
            assert [(await stream.next()).event for _ in range(2)] == ["failed", "queued"]
            moved(served.store, step(job, MoveName.CANCEL, 6))
            (end,) = await stream.rest()
            assert (end.event, end.data["run"]) == ("cancelled", 2)

    served.run(story)


def test_a_batch_is_told_to_its_own_end(served: Served) -> None:
    """Its members' moves, each member's end, then the batch's with its document, last; known, it is 204."""
    batch_id, (one, other) = served.admitted()

    async def story() -> None:
        async with served.batch(batch_id) as stream:
            assert [job["status"] for job in (await stream.next()).data["jobs"]] == ["queued", "queued"]
            completed(served.store, one)
            assert [(await stream.next()).data["move"] for _ in MOVES] == MOVES
            moved(served.store, step(other, MoveName.CANCEL, 3))
            assert (await stream.next()).data["jobId"] == str(other.id)
            served.store.jobs.close_batch(batch_id, at=at(4))
            (end,) = await stream.rest()
        assert (end.event, end.data["batchId"], end.data["status"]) == ("batch.partial", str(batch_id), "partial")
        assert [job["status"] for job in end.data["batch"]["jobs"]] == ["completed", "cancelled"]
        before = stream.reader.messages[-2].id
        async with served.batch(batch_id, since=before) as again:
            assert await again.rest() == [end]
        async with served.batch(batch_id, since=end.id) as known:
            assert known.status == 204
        async with served.batch(batch_id) as late:
            assert [one.event for one in await late.rest()] == ["snapshot", "batch.partial"]
        moved(served.store, step(other, MoveName.PROVE, 5, stage=other.stage))
        moved(served.store, step(other, MoveName.CANCEL, 6))
        served.store.jobs.close_batch(batch_id, at=at(7))
        async with served.batch(batch_id, since=end.id) as reopened:
            assert [one.event for one in await reopened.rest()] == ["uploading", "cancelled", "batch.partial"]

    served.run(story)


def test_who_knows_a_batch_s_end_is_not_told_it_again(served: Served) -> None:
    """What comes after the end comes alone, and its id still says that the end is known."""
    batch_id, (one,) = served.admitted(1)
    completed(served.store, one, placeholder=True)
    served.store.jobs.close_batch(batch_id, at=at(4))

    async def story() -> None:
        async with served.batch(batch_id) as stream:
            end = (await stream.rest())[-1]
        assert end.event == "batch.completed"
        moved(served.store, step(one, MoveName.REPLACE, 5, changes={"placeholder": False}))
        async with served.batch(batch_id, since=end.id) as after:
            assert [one.event for one in await after.rest()] == ["replaced"]
            assert b"\nid: " + str(end.id).encode() + b"\n" in after.body
        async with served.batch(batch_id, since=after.reader.last_id) as known:
            assert known.status == 204

    served.run(story)


def test_an_owner_follows_all_that_is_its_own(served: Served) -> None:
    """Every move of every job of hers and of nobody else's; goes on after any of them; a service sees all or one's."""
    first = served.world.job(owner="ada")

    async def story() -> None:
        async with (
            served.open("events") as stream,
            served.open("events", "shop") as service,
            served.open("events", "shop", owner="bob") as narrow,
        ):
            begin = stream.reader.last_id
            bobs = served.world.job(owner="bob")
            completed(served.store, first)
            told = [await stream.next() for _ in MOVES]
            assert [one.data["move"] for one in told] == MOVES
            assert {one.data["owner"] for one in [await service.next() for _ in range(6)]} == {"ada", "bob"}
            assert (await narrow.next()).data["jobId"] == str(bobs.id)
        async with served.open("events", since=begin) as again:
            assert [await again.next() for _ in MOVES] == told
        async with served.open("events", since=told[2].id) as again:
            assert [(await again.next()).data["move"] for _ in MOVES[3:]] == MOVES[3:]
            served.world.job(owner="ada")
            assert (await again.next()).data["move"] == "admit"
            assert len(again.reader.messages) == len(MOVES[3:]) + 1

    served.run(story)


def test_a_long_absence_is_told_page_by_page(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much happened meanwhile, each of it once, then what happens."""
    monkeypatch.setattr("imagegen.api.events.PAGE", 3)
    jobs = [served.world.job(owner="ada") for _ in range(10)]

    async def story() -> None:
        async with served.open("events", since="0") as stream:
            assert [(await stream.next()).data["jobId"] for _ in jobs] == [str(job.id) for job in jobs]
            last = served.world.job(owner="ada")
            assert (await stream.next()).data["jobId"] == str(last.id)

    served.run(story)


def test_a_number_that_comes_late_is_part_of_every_place(served: Served) -> None:
    """A line that is committed after higher numbers reaches its listener, and one who comes back for it, once."""
    job, other = served.world.job(owner="ada"), served.world.job(owner="ada")
    hidden: set[int] = set()
    log = served.world.services.event_log

    class Veiled:
        def __getattr__(self, name: str) -> Any:
            return getattr(log, name)

        def after(self, last: int, missing: Any, *, limit: int) -> News:
            news = log.after(last, missing, limit=limit)
            begun = type(news.horizon)(0, 1) if hidden else news.horizon
            return News([one for one in news.lines if one.id not in hidden], begun)

        def between(self, *told: Any, **more: Any) -> list[Line]:
            return [one for one in log.between(*told, **more) if one.id not in hidden]

    object.__setattr__(served.world.services, "event_log", Veiled())

    async def story() -> None:
        async with served.open("events") as stream:
            hidden.add(3)
            for one in (job, other):
                claimed(served.store, one)
            await asyncio.sleep(0.01)
            assert stream.reader.messages == []
            served.world.clock.advance(2)
            told = await stream.next()
            assert (told.data["jobId"], told.id) == (str(other.id), "4-3")
            async with served.open("events", since=told.id) as again:
                hidden.clear()
                assert [(one.data["jobId"], one.id) for one in [await stream.next(), await again.next()]] == [
                    (str(job.id), "4")
                ] * 2
            async with served.open("events", since=told.id) as later:
                assert (await later.next()).data["jobId"] == str(job.id)

    served.run(story)


@pytest.mark.parametrize("wrong", ["nonsense", "1.5", "-3", "7-", "3e", "9" * 40])
@pytest.mark.parametrize("by", ["Last-Event-ID", "lastEventId"])
def test_a_wrong_place_is_refused(served: Served, wrong: str, by: str) -> None:
    """400 with a problem that names it, on every stream."""
    job, (batch_id, _) = served.world.job(owner="ada"), served.admitted()
    told = {"since": wrong} if by == "Last-Event-ID" else {"lastEventId": wrong}

    async def story() -> None:
        for path in (f"jobs/{job.id}/events", f"batches/{batch_id}/events", "events"):
            async with served.open(path, **told) as stream:
                assert stream.status == 400
                assert stream.headers["content-type"] == "application/problem+json"
                assert f'"field":"{by}"'.encode() in stream.body

    served.run(story)


def test_a_place_beyond_the_end_means_the_end(served: Served) -> None:
    """What it named was erased since: the stream tells what happens."""
    job = served.world.job(owner="ada")

    async def story() -> None:
        async with served.job(job, since=str(10**15)) as stream:
            claimed(served.store, job)
            assert (await stream.next()).data["move"] == "claim"

    served.run(story)
