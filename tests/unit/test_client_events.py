"""Events for the HTTP client, without a socket: what is asked, resumed, waited out, and made of what is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from imagegen.client import (
    Batch,
    Event,
    ImagegenError,
    InvalidRequest,
    Job,
    NotFound,
    PartUnavailable,
    TooManyRequests,
    Unauthenticated,
)
from imagegen.client.following import SILENCE, Following
from imagegen.client.protocol import Call, Lost, Pause, Reply
from imagegen.client.talks import OUTAGE, PATIENCE, Talks
from imagegen.contracts import BatchDocument, Cost, JobDocument
from imagegen.testing.memory import ManualClock
from tests.paper_door import CUT, NOBODY, REFUSED, URL, problem

JOB, BATCH = UUID(int=1), UUID(int=2)
KNOWN = Reply(204, {}, b"")
OPENING = ("5", "message", "", 2000)
Block = tuple[str, str, str, int | None]


def move(mark: int, status: str = "processing", **more: Any) -> Block:
    """A message about one of the job's moves."""
    told = {"jobId": str(JOB), "batchId": None, "owner": "ada", "run": 1, "move": "m", "stage": "generate", "at": "t"}
    return str(mark), status, json.dumps({**told, "status": status, **more}), None


def snapshot(mark: int, document: JobDocument | BatchDocument) -> Block:
    return str(mark), "snapshot", json.dumps(document.json_document()), None


def job(status: str = "queued") -> JobDocument:
    return JobDocument(job_id=JOB, status=status, run=1)


def batch(status: str = "running") -> BatchDocument:
    member = job("completed") if status == "completed" else job()
    return BatchDocument(batch_id=BATCH, status=status, jobs=[member], cost=Cost())


@dataclass
class Shown:
    """A connection that carries a stream; `end` None: the door closed it in order."""

    blocks: list[Block]
    end: Lost | None = None


@dataclass
class Reel:
    """A door on paper that shows these one after the other, the last for ever; its clock moves by pauses alone."""

    shows: list[Shown | Reply | Lost]
    calls: list[Call] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    clock: ManualClock = field(default_factory=ManualClock)

    def follow(self, named: Any = JOB, last: str | None = None, draw: float = 1.0) -> Iterator[Event]:
        """What a caller is given."""
        following = Following(Talks(URL, self.clock, lambda: draw), named, last)
        while (step := following.next()) is not None:
            if isinstance(step, Pause):
                self.pauses.append(step.seconds)
                self.clock.advance(step.seconds)
                continue
            self.calls.append(step)
            yield from self._connected(following, self.shows.pop(0) if len(self.shows) > 1 else self.shows[0])

    def _connected(self, following: Following, show: Shown | Reply | Lost) -> Iterator[Event]:
        answer: Reply | Lost | None
        if isinstance(show, Shown):
            assert following.opened(200, "text/event-stream; charset=utf-8")
            yield from (event for block in show.blocks if (event := following.told(*block)) is not None)
            answer = show.end
        else:
            assert isinstance(show, Lost) or not following.opened(show.status, show.headers.get("content-type", ""))
            answer = show
        if answer is None:
            following.closed()
        elif (event := following.answered(answer)) is not None:
            yield event

    def marks(self) -> list[str | None]:
        """The `Last-Event-ID` of each connection."""
        return [call.headers.get("Last-Event-ID") for call in self.calls]


def names(events: Iterator[Event]) -> list[str]:
    return [event.name for event in events]


def test_a_job_is_followed_to_its_end() -> None:
    """Typed events from the snapshot to the terminal one, which carries the finished job; then it is over."""
    done = job("completed").json_document()
    reel = Reel([Shown([OPENING, snapshot(5, job()), move(6), move(7, "completed", job=done)])])
    first, middle, last = reel.follow()
    (call,) = reel.calls
    assert (call.method, call.path, call.seconds) == ("GET", f"/api/images/jobs/{JOB}/events", SILENCE)
    assert (call.headers["Accept"], reel.marks()) == ("text/event-stream", [None])
    assert (first.name, first.id, first.job, first.at, first.batch) == ("snapshot", "5", Job(**dict(job())), None, None)
    assert middle == Event(
        id="6", name="processing", job_id=JOB, owner="ada", run=1, move="m", status="processing", stage="generate",
        at="t",
    )  # fmt: skip
    assert (last.name, last.job is not None and last.job.ok, last.job_id) == ("completed", True, JOB)
    with pytest.raises(ValidationError):
        last.name = "other"


def test_a_batch_is_followed_to_its_own_end() -> None:
    """The ends of its members do not end it; its own does, with the typed batch."""
    end = {"batchId": str(BATCH), "status": "completed", "run": 1, "at": "t"}
    whole = {**end, "batch": batch("completed").json_document()}
    blocks = [OPENING, snapshot(5, batch()), move(6, "completed"), ("7e1", "batch.completed", json.dumps(whole), None)]
    reel = Reel([Shown(blocks)])
    first, member, last = reel.follow(Batch.model_validate(batch().json_document()))
    assert reel.calls[0].path == f"/api/images/batches/{BATCH}/events"
    assert (type(first.batch), first.batch_id, first.job) == (Batch, BATCH, None)
    assert (member.name, member.job_id) == ("completed", JOB)
    assert (last.id, last.batch_id, last.batch is not None and last.batch.ok) == ("7e1", BATCH, True)


def test_a_bare_id_may_be_of_either() -> None:
    """Looked for among the jobs, then among the batches; of neither, or a known kind that is not there: `NotFound`."""
    end = json.dumps({"batchId": str(BATCH), "status": "failed", "run": 1, "at": "t"})
    reel = Reel([NOBODY, Shown([OPENING, ("7e1", "batch.failed", end, None)])])
    assert names(reel.follow(str(BATCH))) == ["batch.failed"]
    assert [call.path.split("/")[3] for call in reel.calls] == ["jobs", "batches"]
    assert reel.pauses == []
    for named, looks in ((JOB, 2), (Job(**dict(job())), 1), (Batch.model_validate(batch().json_document()), 1)):
        nobody = Reel([NOBODY])
        with pytest.raises(NotFound) as caught:
            next(nobody.follow(named))
        assert len(nobody.calls) == looks
        assert caught.value.message == (f"no job or batch has the id {JOB}" if looks == 2 else "told so")


@pytest.mark.parametrize("end", [None, CUT, Lost("ReadTimeout silence", sent=True)], ids=["closed", "cut", "silent"])
def test_a_break_is_taken_up_where_it_was(end: Lost | None) -> None:
    """Closed by a drain, cut or silent: asked again behind the last event, after what the door named and a little."""
    shows: list[Any] = [Shown([OPENING, snapshot(5, job()), move(6)], end), Shown([move(7, "failed")])]
    reel = Reel(shows)
    assert names(reel.follow()) == ["snapshot", "processing", "failed"]
    assert (reel.marks(), reel.pauses) == ([None, "6"], [3.0])
    other = Reel([Shown([("5", "message", "", 500), snapshot(5, job()), move(6)], end), Shown([move(7, "failed")])])
    assert names(other.follow(draw=0.0)) == ["snapshot", "processing", "failed"]
    assert other.pauses == [0.5]


def test_a_snapshot_that_did_not_come_is_asked_for_again() -> None:
    """Broken between the opening and the snapshot: from the beginning; an owner's stream, which has none, goes on."""
    reel = Reel([Shown([OPENING], CUT), Shown([OPENING, snapshot(5, job()), move(6, "cancelled")])])
    assert names(reel.follow()) == ["snapshot", "cancelled"]
    assert reel.marks() == [None, None]
    owner = Reel([Shown([OPENING], CUT), Shown([move(6, "cancelled")], CUT), problem(401, "UNAUTHENTICATED")])
    events = owner.follow(None)
    assert next(events).name == "cancelled"
    with pytest.raises(Unauthenticated):
        next(events)
    assert owner.marks() == [None, "5", "6"]
    assert {call.path for call in owner.calls} == {"/api/images/events"}


def test_who_knows_the_end_is_told_so() -> None:
    """204 ends it, at the first connection and after a break behind the end; what comes after an end comes too."""
    assert names(Reel([KNOWN]).follow(last="9")) == []
    done = [move(7, "completed"), move(8, "completed", move="settle")]
    assert names(Reel([Shown(done)]).follow(last="6")) == ["completed"] * 2
    reel = Reel([Shown(done[:1], CUT), Shown(done[1:], CUT), KNOWN])
    assert [event.move for event in reel.follow(last="6")] == ["m", "settle"]
    assert reel.marks() == ["6", "7", "8"]


def test_a_failure_that_was_retried_is_not_the_end() -> None:
    """Resumed behind the first run: its end, and the next run to its own."""
    reel = Reel([Shown([move(6, "failed"), move(7, "queued", run=2)], CUT), Shown([move(8, "completed", run=2)])])
    assert names(reel.follow(last="5")) == ["failed", "queued", "completed"]


def test_what_was_erased_meanwhile_is_told() -> None:
    """By the door's own message, or by a 404 after the stream had begun: the same event, and then it is over."""
    told = ("6", "erased", json.dumps({"jobId": str(JOB)}), None)
    by_message = list(Reel([Shown([OPENING, snapshot(5, job()), move(6), told])]).follow())
    reel = Reel([Shown([OPENING, snapshot(5, job()), move(6)], CUT), NOBODY])
    assert list(reel.follow()) == by_message
    assert by_message[-1] == Event(id="6", name="erased", job_id=JOB)
    end = Reel([Shown([OPENING, snapshot(5, batch())], CUT), NOBODY])
    assert list(end.follow(Batch.model_validate(batch().json_document())))[-1].batch_id == BATCH


def test_refusals_are_obeyed() -> None:
    """429 and 503 wait as long as they say; the stream goes on."""
    refusals = [problem(429, "TOO_MANY_REQUESTS", "7"), problem(503, "PART_UNAVAILABLE", "2"), REFUSED]
    reel = Reel([Shown([OPENING, snapshot(5, job())]), *refusals, Shown([move(7, "failed")])])
    assert names(reel.follow()) == ["snapshot", "failed"]
    assert reel.pauses == [3.0, 7.0, 3.0, 3.0]
    early = Reel([REFUSED, REFUSED, problem(503, "PART_UNAVAILABLE", "2"), Shown([move(7, "failed")])])
    assert names(early.follow()) == ["failed"]
    assert early.pauses == [0.1, 0.2, 2.0]


@pytest.mark.parametrize(
    ("answer", "error"),
    [(REFUSED, PartUnavailable), (problem(429, "TOO_MANY_REQUESTS", "2"), TooManyRequests)],
    ids=["refused", "429"],
)
def test_trouble_that_lasts_is_told(answer: Reply | Lost, error: type[ImagegenError]) -> None:
    """At the beginning within the patience; once a stream was open after five minutes, with the id to go on from."""
    never = Reel([answer])
    with pytest.raises(error):
        next(never.follow())
    assert PATIENCE / 2 < never.clock.monotonic() < PATIENCE
    later = Reel([Shown([OPENING, snapshot(5, job())]), answer])
    with pytest.raises(error) as caught:
        list(later.follow())
    assert OUTAGE - 10 < later.clock.monotonic() < OUTAGE
    assert caught.value.details["lastEventId"] == "5"


def test_an_outage_counts_from_the_last_stream() -> None:
    """Breaks of minutes with a stream in between, far more than the limit together: none is told."""
    down = [REFUSED] * 80
    shows: list[Any] = []
    for mark in range(6, 12):
        shows += [*down, Shown([move(mark)], CUT)]
    reel = Reel([Shown([OPENING, snapshot(5, job())], CUT), *shows, Shown([move(12, "completed")])])
    assert len(list(reel.follow())) == 8
    assert reel.clock.monotonic() > 4 * OUTAGE


def test_something_else_at_the_address_is_said() -> None:
    """A page instead of a stream, an event that is no JSON, a wrong token: an error at once, nothing is tried again."""
    for answer, error in (
        (Reply(200, {"content-type": "text/html"}, b"<html>"), ImagegenError),
        (problem(400, "INVALID_REQUEST"), InvalidRequest),
        (problem(500, "ERROR"), ImagegenError),
        (Shown([("6", "processing", "no json", None)]), ImagegenError),
        (Shown([("6", "processing", "[1]", None)]), ImagegenError),
        (Shown([("6", "processing", '{"jobId": 7}', None)]), ImagegenError),
    ):
        reel = Reel([answer])
        with pytest.raises(error):
            next(reel.follow())
        assert (len(reel.calls), reel.pauses) == (1, [])
    with pytest.raises(NotFound):
        next(Reel([NOBODY]).follow(None))


@pytest.mark.parametrize("last", ["", "4\n7", "ü"])
def test_a_wrong_place_does_not_leave(last: str) -> None:
    """It is refused before anything is asked, as an id that is none is."""
    talks = Talks(URL, ManualClock(), lambda: 1.0)
    with pytest.raises(InvalidRequest):
        Following(talks, uuid4(), last)
    with pytest.raises(InvalidRequest):
        Following(talks, "no id", None)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(
    st.integers(1, 30),
    st.lists(st.one_of(st.tuples(st.integers(0, 8), st.sampled_from([None, CUT])), st.just(REFUSED)), max_size=40),
)
def test_however_it_breaks_each_event_comes_once(size: int, breaks: list[tuple[int, Lost | None] | Lost]) -> None:
    """A door that goes on behind what it is told, broken anywhere, any way: all events, in order, each once."""
    log = [move(mark, "completed" if mark == size else "processing") for mark in range(1, size + 1)]
    reel, rest = Reel([]), list(breaks)

    class Door(Reel):
        def _connected(self, following: Following, show: Any) -> Iterator[Event]:
            last = self.marks()[-1]
            behind = log[int(last) :] if last is not None else [snapshot(0, job()), *log]
            fault = rest.pop() if rest else (size + 1, None)
            if isinstance(fault, Lost):
                show = fault
            elif not behind:
                show = KNOWN
            else:
                show = Shown([(last or "0", "message", "", 2000), *behind[: fault[0]]], fault[1])
            return super()._connected(following, show)

    reel = Door([KNOWN])
    assert [event.id for event in reel.follow()] == [str(mark) for mark in range(size + 1)]
