"""Streams of events under strain: limits, slow clients, silence, outages, erased jobs, the end of the process."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from imagegen.api import listener, live, streams
from imagegen.errors import PartUnavailable
from imagegen.testing.memory import ManualClock, MemoryJobs
from tests.door import bearer
from tests.event_door import Served
from tests.jobs_kit import MemoryStore, claimed
from tests.streams import opened

pytest_plugins = ["tests.event_worlds"]


def test_streams_have_a_limit(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner's is 429, the process's 503, each with Retry-After; a stream that is left makes room."""
    monkeypatch.setattr(live, "STREAMS_OF_OWNER", 2)
    monkeypatch.setattr(live, "STREAMS", 4)

    async def story() -> None:
        async with served.open("events"), served.open("events", "shop"), served.open("events", "shop"):
            async with served.job(uuid4(), who="bob") as unknown:
                assert unknown.status == 404
            async with served.open("events"):
                for who in ("ada", "bob", "shop"):
                    async with served.open("events", who) as full:
                        assert (full.status, full.headers["retry-after"]) == (503, "2")
                        assert b"PART_UNAVAILABLE" in full.body
        async with served.open("events"), served.open("events"):
            async with served.open("events") as full:
                assert (full.status, full.headers["retry-after"]) == (429, "2")
            async with served.open("events", "bob") as bobs:
                assert bobs.status == 200
        assert served.house.live._listeners == {}
        assert served.house.live._owners.total() == 0

    served.run(story)


def test_one_look_serves_all_and_nobody_looks_for_nobody(served: Served) -> None:
    """Twenty streams cost the log as many reads as one would; without a stream there are none."""
    asked: list[str] = []
    log = served.world.services.event_log

    class Counted:
        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            return getattr(log, name)

    object.__setattr__(served.world.services, "event_log", Counted())
    job = served.world.job(owner="ada")

    async def story() -> None:
        many = [served.open("events", "shop") for _ in range(20)]
        streams = [await one.__aenter__() for one in many]
        claimed(served.store, job)
        for stream in streams:
            assert (await stream.next()).data["jobId"] == str(job.id)
        assert asked.count("newest") == 1
        for one in many:
            await one.__aexit__(None, None, None)
        await asyncio.sleep(0.01)
        before = len(asked)
        await asyncio.sleep(0.02)
        assert len(asked) == before

    served.run(story)


def test_a_slow_client_is_let_go(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads nothing holds a bounded number of events; then its stream ends, and it goes on from where it was."""
    monkeypatch.setattr(listener, "STREAM_QUEUE", 5)
    jobs = [served.world.job(owner="ada") for _ in range(10)]

    async def story() -> None:
        async with served.open("events") as stream, served.open("events") as quick:
            await stream.until(lambda: stream.reader.last_id)
            stream.reading.clear()
            for job in jobs:
                claimed(served.store, job)
                await quick.next()
            (slow,) = [one for one in served.house.live._everybody() if one.over]
            assert len(slow._waiting) == 0
            stream.reading.set()
            told = await stream.rest()
            assert stream.reader.comments == ["too slow: connect again"]
        async with served.open("events", since=stream.reader.last_id) as again:
            rest = [await again.next() for _ in range(len(jobs) - len(told))]
        assert [one.data["jobId"] for one in [*told, *rest]] == [str(job.id) for job in jobs]

    served.run(story)


def test_a_client_that_never_reads_is_left(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be sent for too long ends the stream and frees its place."""
    monkeypatch.setattr(streams, "STREAM_STALL", 0.01)
    job = served.world.job(owner="ada")

    async def story() -> None:
        async with served.open("events") as stream:
            stream.reading.clear()
            claimed(served.store, job)
            async with asyncio.timeout(5):
                while served.house.live._listeners:
                    await asyncio.sleep(0.001)
        assert not stream.over

    served.run(story)


def test_silence_is_broken_by_heartbeats(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing happens a comment says that the stream lives; after its time it ends, and says so."""
    monkeypatch.setattr(streams, "STREAM_HEARTBEAT", 0.01)
    monkeypatch.setattr(streams, "STREAM_LIFE", 0.1)
    job = served.world.job(owner="ada")

    async def story() -> None:
        async with served.job(job) as stream:
            assert [one.event for one in await stream.rest()] == ["snapshot"]
            assert stream.reader.comments[0] == "heartbeat"
            assert stream.reader.comments[-1] == "an hour is over: connect again"

    served.run(story)


def expiring(clock: ManualClock, seconds: float) -> dict[str, str]:
    """A token that holds for so many seconds more."""
    token = bearer("ada", clock.now(), ttl=timedelta(seconds=60))
    clock.advance(int((clock.now() + timedelta(seconds=60)).timestamp()) - clock.now().timestamp() - seconds)
    return token


def test_a_stream_ends_with_its_token(served: Served) -> None:
    """At the token's `exp`, and says why, whatever is followed; with the token of before it is not begun again."""
    job, clock = served.world.job(owner="ada"), served.world.clock

    async def story() -> None:
        token = expiring(clock, 0.1)
        for path, mark in ((f"jobs/{job.id}/events", {}), ("events", {"Last-Event-ID": "0"})):
            async with opened(served.app, f"/api/images/{path}", {**token, **mark}) as stream:
                await stream.rest()
                assert stream.status == 200
                assert stream.reader.comments[-1] == "the token has expired: connect again with another"
        clock.advance(0.2)
        async with opened(served.app, "/api/images/events", token) as late:
            assert (late.status, b"the token has expired" in late.body) == (401, True)
        async with opened(served.app, "/api/images/jobs", token) as forgiven:
            assert forgiven.status == 200
        assert served.house.live._listeners == {}

    served.run(story)


def test_pages_end_with_the_token_too(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that catches up while the database is away is let go at `exp`, and not kept until it is back."""
    monkeypatch.setattr(streams, "STREAM_RECONNECT", 0.01)
    clock, log = served.world.clock, served.world.services.event_log

    class Away:
        def __getattr__(self, name: str) -> Any:
            if name == "between":
                raise PartUnavailable("away")
            return getattr(log, name)

    object.__setattr__(served.world.services, "event_log", Away())

    async def story() -> None:
        token = expiring(clock, 0.1)
        async with opened(served.app, "/api/images/events", {**token, "Last-Event-ID": "0"}) as stream:
            await stream.rest()
            assert stream.reader.comments[-1] == "the token has expired: connect again with another"

    served.run(story)


def test_a_database_that_is_away_ends_no_stream(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """What happened meanwhile is told when it is back; the log says once that streams wait."""
    log, clock = served.world.services.event_log, served.world.clock
    away = False

    class Stormy:
        def __getattr__(self, name: str) -> Any:
            if away:
                served.world.jobs.away_until = clock.monotonic() + 1
                served.world.jobs.reach()
            return getattr(log, name)

    object.__setattr__(served.world.services, "event_log", Stormy())
    job = served.world.job(owner="ada")

    async def story() -> None:
        nonlocal away
        async with served.job(job) as stream:
            await stream.next()
            away = True
            claimed(served.store, job)
            await asyncio.sleep(0.02)
            assert not stream.over
            away = False
            assert (await stream.next()).data["move"] == "claim"
        assert caplog.text.count("streams wait") == 1

    served.run(story)


def test_a_fault_of_ours_ends_the_streams(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """They end and say so instead of falling silent, and the next one works."""
    log, broken = served.world.services.event_log, False

    class Broken:
        def __getattr__(self, name: str) -> Any:
            if broken and name == "after":
                raise RuntimeError("a mistake")
            return getattr(log, name)

    object.__setattr__(served.world.services, "event_log", Broken())
    job = served.world.job(owner="ada")

    async def story() -> None:
        nonlocal broken
        async with served.job(job) as stream:
            broken = True
            await stream.rest()
            assert stream.reader.comments == ["a fault of ours: connect again"]
        broken = False
        async with served.job(job) as stream:
            await stream.next()
            claimed(served.store, job)
            assert (await stream.next()).data["move"] == "claim"

    served.run(story)
    assert "events cannot be followed" in caplog.text


def test_what_is_erased_ends_its_stream(served: Served) -> None:
    """Job and batch: `erased`, and the stream ends; afterwards it is unknown."""
    job, (batch_id, members) = served.world.job(owner="ada"), served.admitted()
    rows = served.store
    assert isinstance(rows, MemoryStore)
    jobs: MemoryJobs = rows.jobs

    async def story() -> None:
        async with served.job(job) as one, served.batch(batch_id) as other:
            await one.next()
            await other.next()
            for gone in (job, *members):
                del jobs.jobs[gone.id]
            del jobs.batches[batch_id]
            served.world.clock.advance(60)
            assert [(end.event, end.data) for end in await one.rest()] == [("erased", {"jobId": str(job.id)})]
            assert [(end.event, end.data) for end in await other.rest()] == [("erased", {"batchId": str(batch_id)})]
        async with served.job(job, since="1") as unknown:
            assert unknown.status == 404

    served.run(story)


def test_the_end_of_the_process_ends_streams_and_waits(served: Served) -> None:
    """Streams end with a comment, who waits gets 202, readiness is 503, and no stream is begun any more."""
    job = served.world.job(owner="ada")

    async def story() -> None:
        waiting = asyncio.create_task(served.house.room.wait([job.id], 60))
        async with served.job(job) as stream:
            await stream.next()
            served.house.drain()
            assert await stream.rest() == []
            assert stream.reader.comments == ["draining: connect again"]
        assert await waiting is False
        assert await served.house.room.wait([job.id], 60) is False
        async with opened(served.app, "/ready", {}) as ready:
            assert (ready.status, b'"draining"' in ready.body) == (503, True)
        async with opened(served.app, "/health", {}) as health:
            assert health.status == 200
        async with served.job(job) as refused:
            assert (refused.status, refused.headers["retry-after"]) == (503, "2")

    served.run(story)
