"""The tail of the log: nothing is missed, nothing is told twice, whatever order transactions commit in."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from imagegen.api.tail import Handed, Tail
from imagegen.policies import STREAM_GAP, STREAM_GAP_MEMORY
from imagegen.ports_events import LOOKBACK, MOST_OPEN, Horizon, Line, Newest, News, Place

JOB, NOW = uuid4(), datetime(2026, 1, 1, tzinfo=UTC)


def line(number: int) -> Line:
    return Line(
        id=number, job_id=JOB, batch_id=None, owner="ada", run=1, at=NOW, move="claim", status="queued", stage=None
    )


@dataclass
class Server:
    """A log whose numbers are drawn by transactions: each is its own, and ends when it is told to."""

    drawn: int = 0
    running: dict[int, int] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    alien: int | None = None

    def draw(self) -> int:
        self.drawn += 1
        self.running[self.drawn] = self.drawn
        return self.drawn

    def commit(self, *numbers: int) -> None:
        for number in numbers:
            del self.running[number]
            self.seen.add(number)

    def undo(self, *numbers: int) -> None:
        for number in numbers:
            del self.running[number]

    def horizon(self) -> Horizon:
        running = [*self.running.values(), *([] if self.alien is None else [self.alien])]
        return Horizon(min(running, default=self.drawn + 1), self.drawn + 1)

    def newest(self) -> Newest:
        last = max(self.seen, default=0)
        return Newest(last, frozenset(range(max(1, last - LOOKBACK + 1), last)) - self.seen, self.horizon())

    def news(self, tail: Tail, limit: int = 1000) -> News:
        behind = sorted(number for number in self.seen if number > tail.last)[:limit]
        late = sorted(self.seen & set(tail.missing))
        return News([line(one) for one in [*late, *behind]], self.horizon())

    def look(self, tail: Tail, now: float) -> list[int]:
        return [one.line.id for one in tail.take(self.news(tail), now)]


class Coming:
    """A reader that comes and goes with the place it was told."""

    def __init__(self, place: Place) -> None:
        self.place, self.away = place, False
        self.told: list[int] = []

    def hear(self, one: Handed) -> None:
        if not self.away and not self.place.passed(one.line.id):
            self._hear(one.line.id, one.log)

    def leave(self) -> None:
        self.place, self.away = Place.read(str(self.place)), True

    def return_to(self, server: Server, tail: Tail) -> None:
        self.away, log = False, tail.place
        for number in sorted(server.seen):
            if log.passed(number) and not self.place.passed(number):
                self._hear(number, log)

    def _hear(self, number: int, log: Place) -> None:
        self.place = self.place.told(number, log)
        self.told.append(number)


def happen(server: Server, dice: random.Random) -> None:
    """Some numbers are drawn, some transactions end."""
    for _ in range(dice.randrange(4)):
        server.draw()
    for number in [*server.running]:
        fate = dice.random()
        if fate < 0.3:
            server.commit(number)
        elif fate < 0.35:
            server.undo(number)
    server.alien = dice.randrange(1, server.drawn) if dice.random() < 0.3 else None


@pytest.fixture
def server() -> Server:
    """A log with ten lines."""
    server = Server()
    server.commit(*[server.draw() for _ in range(10)])
    return server


def test_what_follows_is_handed_on_in_order(server: Server) -> None:
    """Nothing of before; what is new, once."""
    tail = Tail(server.newest(), 0)
    assert server.look(tail, 0) == []
    server.commit(server.draw(), server.draw())
    assert server.look(tail, 0) == [11, 12]
    assert server.look(tail, 0) == []


def test_later_numbers_wait_for_an_earlier_one(server: Server) -> None:
    """A number that is not committed yet holds back what is above it, and all come in order."""
    tail = Tail(server.newest(), 0)
    slow, quick = server.draw(), server.draw()
    server.commit(quick)
    assert server.look(tail, 1) == server.look(tail, 1 + STREAM_GAP / 2) == []
    server.commit(slow)
    assert server.look(tail, 1 + STREAM_GAP / 2) == [slow, quick]


def test_an_undone_number_holds_nothing_up(server: Server) -> None:
    """Once no transaction is left that could bring it, what is above it comes at once, and it is forgotten."""
    tail = Tail(server.newest(), 0)
    undone, quick = server.draw(), server.draw()
    server.commit(quick)
    assert server.look(tail, 1) == []
    server.undo(undone)
    assert server.look(tail, 1) == [quick]
    assert tail.missing == []


def test_patience_has_an_end_and_memory_too(server: Server) -> None:
    """After a while what is above goes on without it; it is handed on when it comes, and given up after a minute."""
    tail = Tail(server.newest(), 0)
    slow, lost, quick = server.draw(), server.draw(), server.draw()
    server.commit(quick)
    assert server.look(tail, 0) == []
    assert server.look(tail, STREAM_GAP) == [quick]
    assert tail.missing == [slow, lost]
    assert tail.place == Place(quick, frozenset({slow, lost}))
    server.commit(slow)
    assert server.look(tail, 30) == [slow]
    assert tail.place == Place(quick, frozenset({lost}))
    assert server.look(tail, STREAM_GAP_MEMORY) == []
    assert tail.missing == []


def test_a_strange_transaction_hides_what_was_undone(server: Server) -> None:
    """While somebody else's transaction runs nothing can be proved: patience decides."""
    server.alien = 5
    tail = Tail(server.newest(), 0)
    undone, quick = server.draw(), server.draw()
    server.undo(undone)
    server.commit(quick)
    assert server.look(tail, 0) == []
    assert server.look(tail, STREAM_GAP) == [quick]
    server.alien = None
    assert server.look(tail, STREAM_GAP) == []
    assert tail.missing == []


def test_what_was_open_at_the_start_is_handed_on(server: Server) -> None:
    """A number below the newest that is committed after the first look is not lost."""
    slow, quick = server.draw(), server.draw()
    server.commit(quick)
    tail = Tail(server.newest(), 0)
    assert tail.place == Place(quick, frozenset({slow}))
    server.commit(slow)
    assert server.look(tail, 0) == [slow]


def test_open_numbers_stay_few(server: Server) -> None:
    """With too many of them even patience waits, until they are given up."""
    server.alien = 1
    tail = Tail(server.newest(), 0)
    slow = [server.draw() for _ in range(MOST_OPEN)]
    first = server.draw()
    server.commit(first)
    assert server.look(tail, 0) == []
    assert server.look(tail, STREAM_GAP) == [first]
    more, second = server.draw(), server.draw()
    server.commit(second)
    assert server.look(tail, STREAM_GAP) == []
    assert server.look(tail, 3 * STREAM_GAP) == []
    assert server.look(tail, STREAM_GAP_MEMORY) == [second]
    assert tail.missing == [more]
    assert slow[0] not in tail.place.open


def test_a_leap_of_numbers_is_no_work(server: Server) -> None:
    """A restart of the server may skip numbers, many of them: only the nearest are waited for."""
    server.alien = 1
    tail = Tail(server.newest(), 0)
    server.drawn = 10**9
    server.commit(server.draw())
    assert server.look(tail, 0) == []
    server.alien = None
    assert server.look(tail, 1) == [10**9 + 1]


@pytest.mark.parametrize("seed", range(40))
def test_every_commit_is_told_once_to_who_was_there(server: Server, seed: int) -> None:
    """Transactions overlap at random, pages are cut, a strange transaction comes and goes: each line once.

    A reader that leaves and comes back with the place it was told misses nothing and hears nothing twice.
    """
    dice, now = random.Random(seed), 0.0
    tail = Tail(server.newest(), now)
    reader = Coming(tail.place)
    handed: list[int] = []
    for _ in range(300):
        now += dice.random() * 0.5
        happen(server, dice)
        if reader.away and dice.random() < 0.3:
            reader.return_to(server, tail)
        for one in tail.take(server.news(tail, dice.choice([1, 3, 1000])), now):
            handed.append(one.line.id)
            reader.hear(one)
            if dice.random() < 0.1:
                reader.leave()
    reader.return_to(server, tail)
    server.undo(*server.running)
    server.alien = None
    for _ in range(3):
        now += STREAM_GAP
        for one in tail.take(server.news(tail, 10**6), now):
            handed.append(one.line.id)
            reader.hear(one)
    new = sorted(number for number in server.seen if number > 10)
    assert sorted(handed) == new
    assert sorted(reader.told) == new


def test_a_place_is_written_and_read() -> None:
    """The number, and the open ones below it; the newest of them where they are many."""
    assert str(Place(7)) == "7"
    assert str(Place(7, frozenset({5, 3}))) == "7-3.5"
    for place in (Place(0), Place(7), Place(10**17, frozenset({1, 99}))):
        assert Place.read(str(place)) == place
    many = Place(1000, frozenset(range(1, 200)))
    assert Place.read(str(many)).open == frozenset(range(200 - MOST_OPEN, 200))


@pytest.mark.parametrize("written", ["", "x", "-1", "1-", "1.2", "1-0.", "9" * 19, "१", "7 "])
def test_other_words_are_no_place(written: str) -> None:
    """What was not written by a place is refused."""
    with pytest.raises(ValueError, match="no place"):
        Place.read(written)
