"""Callers wait together: one look serves them all, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest

from imagegen.api import waiting
from imagegen.api.waiting import Afterwards, WaitingRoom
from imagegen.errors import PartUnavailable

JOBS = [uuid4() for _ in range(20)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks follow each other at once."""
    monkeypatch.setattr(waiting, "LOOK_EVERY", 0.001)


class Shelf:
    """Which jobs have ended, after so many looks; the first `outages` looks fail."""

    def __init__(self, after: int = 3, outages: int = 0) -> None:
        self.asked: list[set[UUID]] = []
        self._after, self._outages = after, outages

    def __call__(self, job_ids: Sequence[UUID]) -> Sequence[UUID]:
        self.asked.append(set(job_ids))
        if len(self.asked) <= self._outages:
            raise PartUnavailable("away")
        return job_ids if len(self.asked) >= self._after else []


def test_one_look_serves_all() -> None:
    """Twenty callers are told by as many looks as one would need, and nobody looks afterwards."""
    shelf = Shelf()

    async def wait() -> list[bool]:
        room = WaitingRoom(shelf)
        told = await asyncio.gather(*(room.wait([job_id], 30) for job_id in JOBS))
        await asyncio.sleep(0.02)
        return told

    assert asyncio.run(wait()) == [True] * 20
    assert len(shelf.asked) == 3
    assert shelf.asked[0] == set(JOBS)


def test_a_database_that_is_away_is_waited_for() -> None:
    """An outage in between costs nobody its answer."""
    assert asyncio.run(WaitingRoom(Shelf(after=3, outages=2)).wait(JOBS, 30)) is True


def test_waiting_has_an_end() -> None:
    """False when the time is over; the next caller finds the room in order."""

    async def wait() -> list[bool]:
        room = WaitingRoom(Shelf(after=30))
        return [await room.wait(JOBS, 0.01), await room.wait(JOBS, 30)]

    assert asyncio.run(wait()) == [False, True]


def test_a_full_room_answers_at_once() -> None:
    """Who comes when it is full does not wait."""

    async def wait() -> list[bool]:
        room = WaitingRoom(Shelf(), most=1)
        return await asyncio.gather(room.wait(JOBS[:1], 30), room.wait(JOBS[1:2], 30))

    assert asyncio.run(wait()) == [True, False]


def test_what_is_left_for_afterwards_is_done_before_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """Closing waits for it; a failure is logged and costs the others nothing."""
    done: list[int] = []

    def fails() -> None:
        raise RuntimeError("lost")

    async def leave() -> None:
        later = Afterwards()
        await later.do(fails)
        for number in range(5):
            await later.do(lambda number=number: done.append(number))
        later.close()

    asyncio.run(leave())
    assert sorted(done) == [0, 1, 2, 3, 4]
    assert "work after an answer failed" in caplog.text


def test_no_owner_takes_all_the_room() -> None:
    """An owner has its share; other owners, and services, still find room."""

    async def wait() -> list[bool]:
        room = WaitingRoom(Shelf(), most=4, most_of_owner=1)
        callers = ["ada", "ada", "bob", None, None, None]
        return await asyncio.gather(*(room.wait(JOBS[:1], 30, owner) for owner in callers))

    assert asyncio.run(wait()) == [True, False, True, True, True, False]
