"""Both HTTP clients follow events of the served door on PostgreSQL, however often the stream breaks off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest

from imagegen.api import frames, live
from imagegen.api.app import create_app
from imagegen.api.setup import Setup
from imagegen.api.tokens import mint
from imagegen.client import Batch, Event, Job, NotFound, TooManyRequests, Unauthenticated
from imagegen.client import following as client_following
from tests.door import RULES, SECRET
from tests.integration.test_client_door import CREW, SMALL, Place
from tests.jobs_kit import PostgresStore
from tests.listening import Faulty, Listening
from tests.pipeline_parts import World
from tests.twin import KINDS, Twin

pytest_plugins = ["tests.stores"]
PATIENCE = 30.0


class Cutting:
    """In front of an application: each of `cuts` lets one stream tell so many chunks, and cuts its connection.

    `silent`: the connection stays, and nothing more comes.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self.cuts: list[int] = []
        self.silent = False
        self.asked = 0
        self.told = b""
        """What all streams have told so far."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not scope["path"].endswith("/events"):
            await self.app(scope, receive, send)
            return
        self.asked += 1
        left = self.cuts.pop(0) if self.cuts else None

        async def counted(message: Any) -> None:
            nonlocal left
            if left is not None and message["type"] == "http.response.body" and (left := left - 1) < 0:
                if not self.silent:
                    serving.cancel()
                await asyncio.Event().wait()
            await send(message)
            self.told += message.get("body", b"")

        serving = asyncio.create_task(self.app(scope, receive, counted))
        with suppress(asyncio.CancelledError):
            await serving


def until(seen: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not seen():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, postgres: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """The door, for each kind of client; it asks its readers to come back soon."""
    monkeypatch.setattr(frames, "STREAM_RECONNECT", 0.05)
    world = World(postgres)
    faulty = Faulty(Cutting(create_app(lambda: world.services, Setup(tokens=RULES))))
    listening = Listening(faulty)
    with listening as url:
        yield Place(world, faulty, url, listening.port, request.param)


@pytest.fixture
def cutting(place: Place) -> Cutting:
    """What cuts streams of the place."""
    found = place.faulty._app
    assert isinstance(found, Cutting)
    return found


@contextmanager
def following(place: Place, *words: Any, url: str | None = None) -> Iterator[Callable[[], list[Event]]]:
    """A client of ada's follows meanwhile; called, it tells all events once the stream has ended."""
    with place.client(url=url) as client, ThreadPoolExecutor(1) as pool:
        events = pool.submit(lambda: [*client.events(*words)])
        yield lambda: events.result(PATIENCE)


def moves(place: Place, job: Job) -> list[tuple[str, str]]:
    """What the job's history says of it after its order."""
    return [(event.move, event.status) for event in place.world.store.jobs.history(job.id)][1:]


def told(events: list[Event], job: Job) -> list[tuple[str | None, str | None]]:
    return [(event.move, event.status) for event in events if event.job_id == job.id and event.move is not None]


def follow_one(place: Place, cutting: Cutting, *cuts: int) -> None:
    """A job is drawn while it is followed: one snapshot, each move once, the end."""
    with place.client() as client:
        job = client.generate("a fox", **SMALL)
    cutting.cuts = [*cuts]
    with following(place, job) as events:
        until(lambda: b"event: snapshot" in cutting.told)
        place.run(job)
        found = events()
    assert [event.name for event in found].count("snapshot") == 1
    assert (found[0].name, found[0].job and found[0].job.id) == ("snapshot", job.id)
    assert told(found, job) == moves(place, job)
    assert (found[-1].name, found[-1].job and found[-1].job.ok) == ("completed", True)
    assert len({event.id for event in found[1:]}) == len(found) - 1
    assert cutting.cuts == []


@pytest.mark.parametrize("cuts", [[], [1], [2], [4], [0, 1, 2, 3, 4, 2]], ids=str)
def test_a_job_is_followed_however_often_it_breaks_off(place: Place, cutting: Cutting, cuts: list[int]) -> None:
    """Cut before the snapshot, behind it, in the middle, again and again: nothing is missed, nothing comes twice."""
    follow_one(place, cutting, *cuts)


def test_a_stream_that_falls_silent_is_taken_up_again(
    place: Place, cutting: Cutting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No event and no sign of life for too long: the reader goes on by another connection."""
    monkeypatch.setattr(client_following, "SILENCE", 0.5)
    cutting.silent = True
    follow_one(place, cutting, 3)


def test_a_batch_is_followed_to_its_end(place: Place, cutting: Cutting) -> None:
    """By its bare id, cut twice: every move of both members once, then the batch with its typed document."""
    with place.client() as client:
        batch = client.batch(CREW, **SMALL)
        cutting.cuts = [9, 3, 4]
        with following(place, str(batch.id)) as events:
            until(lambda: b"event: snapshot" in cutting.told)
            place.run(*batch.jobs)
            found = events()
        for job in batch.jobs:
            assert told(found, job) == moves(place, job)
        assert (type(found[0].batch), found[-1].name) == (Batch, "batch.completed")
        assert found[-1].batch == client.get(batch)
        assert [*client.events(batch, last=found[-1].id)] == []
    # The bare id was looked for among the jobs first.
    assert cutting.asked == 5


def test_a_stream_survives_a_restart_of_the_door(place: Place) -> None:
    """The door ends while a caller listens, the job is drawn meanwhile, and the door comes back: nothing is missing."""
    with place.client() as client:
        job, other = (client.generate(prompt, **SMALL) for prompt in ("a fox", "a cat"))
    first = Cutting(create_app(lambda: place.world.services, Setup(tokens=RULES)))
    listening = Listening(first)
    with following(place, job, url=f"http://127.0.0.1:{listening.port}") as events:
        with listening:
            until(lambda: b"event: snapshot" in first.told)
        place.run(job, other)
        with Listening(create_app(lambda: place.world.services, Setup(tokens=RULES)), listening.port):
            found = events()
    assert [event.name for event in found].count("snapshot") == 1
    assert told(found, job) == moves(place, job)
    assert found[-1].name == "completed"


def test_an_owner_goes_on_from_any_event(place: Place, cutting: Cutting) -> None:
    """All of ada's jobs and nobody else's, left in the middle and taken up by another client: each event once."""
    with place.client() as client, place.client("bob") as bob, ThreadPoolExecutor(1) as pool:
        begun = pool.submit(lambda: client.first(3, "events"))
        until(lambda: cutting.told)
        with place.client() as orders:
            jobs = [orders.generate(f"fox {at}", **SMALL) for at in range(3)]
        bob.generate("a cat", **SMALL)
        first = begun.result(PATIENCE)
        place.run(*jobs)
        lines = [event for job in jobs for event in place.world.store.jobs.history(job.id)]
        cutting.cuts = [2, 5]
        with place.client() as another:
            rest = another.first(len(lines) - 3, "events", last=first[-1].id)
    known = sorted((line.id, line.job_id, line.move) for line in lines)
    assert [(event.job_id, event.move) for event in [*first, *rest]] == [(job, move) for _, job, move in known]
    assert {event.owner for event in [*first, *rest]} == {"ada"}


def test_what_has_ended_and_what_is_not_there(place: Place) -> None:
    """An ended job tells its end at once; behind it there is nothing more; another owner's is `NotFound`."""
    with place.client() as client, place.client("bob") as bob:
        job = client.generate("a fox", **SMALL)
        place.run(job)
        found = [*client.events(job.id)]
        assert [event.name for event in found] == ["snapshot", "completed"]
        assert [*client.events(job, last=found[0].id)] == found[1:]
        assert [*client.events(job, last=found[-1].id)] == []
        for named in (job, str(job.id)):
            with pytest.raises(NotFound):
                [*bob.events(named)]


def test_a_token_ends_what_it_began(place: Place, cutting: Cutting) -> None:
    """The stream ends with its token and a fresh one goes on behind it; without one, `Unauthenticated` is raised."""
    expired, clock = b": the token has expired: connect", place.world.clock
    short = mint(SECRET, "ada", now=clock.now(), ttl=timedelta(seconds=60))
    clock.advance(int((clock.now() + timedelta(seconds=60)).timestamp()) - clock.now().timestamp() - 0.5)
    tokens = iter([short, place.token(), place.token()])
    with place.client() as client, Twin(place.kind, place.url, short) as old, ThreadPoolExecutor(2) as pool:
        job = client.generate("a fox", **SMALL)
        with Twin(place.kind, place.url, lambda: next(tokens)) as fresh:
            renewed = pool.submit(lambda: [*fresh.events(job)])
            refused = pool.submit(lambda: [*old.events(job)])
            until(lambda: cutting.told.count(expired) >= 2)
            clock.advance(60)
            with pytest.raises(Unauthenticated, match="expired"):
                refused.result(PATIENCE)
            until(lambda: cutting.told.count(b"retry:") > cutting.told.count(expired))
            place.run(job)
            found = renewed.result(PATIENCE)
    assert [event.name for event in found].count("snapshot") == 1
    assert told(found, job) == moves(place, job)


def test_a_door_that_is_full_is_waited_for_or_told(
    place: Place, cutting: Cutting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all streams taken, 429 after the patience; with one given back in time, the stream comes."""
    monkeypatch.setattr(live, "STREAMS_OF_OWNER", 1)
    with place.client() as client, place.client(patience=1.0) as hasty, place.client() as patient:
        job, other = (client.generate(prompt, **SMALL) for prompt in ("a fox", "a cat"))
        place.run(other)
        with ThreadPoolExecutor(2) as pool:
            held = pool.submit(lambda: [*client.events(job)])
            until(lambda: cutting.told)
            with pytest.raises(TooManyRequests):
                [*hasty.events(other)]
            asked = cutting.asked
            waits = pool.submit(lambda: [*patient.events(other)])
            until(lambda: cutting.asked > asked)
            place.run(job)
            assert held.result(PATIENCE)[-1].name == waits.result(PATIENCE)[-1].name == "completed"
