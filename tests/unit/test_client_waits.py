"""Waiting over HTTP, without a socket: long polls, the timeout, outages in between."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest

from imagegen.client import Job, PartUnavailable, StillRunning, Unauthenticated
from imagegen.client.protocol import Call, Reply
from imagegen.client.talks import ANSWER, LONGEST_WAIT, OUTAGE
from tests.paper_door import CUT, NOBODY, REFUSED, Paper, job, problem


def held(door: Paper, answer: Reply, seconds: float | None = None) -> Callable[[Call], Reply]:
    """An answer that the door holds back, as long as it was asked to."""

    def answers(call: Call) -> Reply:
        door.clock.advance(float(call.headers["Prefer"].removeprefix("wait=")) if seconds is None else seconds)
        return answer

    return answers


def test_waiting_lets_the_door_hold_the_answer_back() -> None:
    """Long polls of 45 seconds; a failed job is returned like a completed one."""
    wanted = Job(job_id=uuid4(), status="queued")
    door = Paper(NOBODY)
    door.answers = [held(door, job("generating", wanted.id)), held(door, job("failed", wanted.id), 3)]
    done = door.hold(door.talks.wait(wanted, None))
    assert isinstance(done, Job)
    assert (done.status, done.done, done.ok) == ("failed", True, False)
    assert [call.headers["Prefer"] for call in door.calls] == [f"wait={LONGEST_WAIT}"] * 2
    assert all(call.seconds == LONGEST_WAIT + ANSWER for call in door.calls)
    assert sum(door.pauses) < 1


def test_waiting_gives_up_at_its_timeout() -> None:
    """`StillRunning` carries the id, at the timeout and not later; `timeout=0` looks once."""
    wanted = uuid4()
    door = Paper(NOBODY)
    door.answers = [held(door, job("generating", wanted)), held(door, job("generating", wanted)), job("queued", wanted)]
    with pytest.raises(StillRunning) as caught:
        door.hold(door.talks.wait(wanted, 60.5))
    assert caught.value.id == wanted
    assert door.clock.monotonic() == pytest.approx(60.5)
    once = Paper(job("queued", wanted))
    with pytest.raises(StillRunning):
        once.hold(once.talks.wait(wanted, 0))
    assert (len(once.calls), "Prefer" in once.calls[0].headers) == (1, False)


def test_a_door_that_does_not_hold_answers_back_is_not_hammered() -> None:
    """Pauses grow to two seconds where every look is answered at once."""
    wanted = Job(job_id=uuid4(), status="queued")
    door = Paper(job("queued", wanted.id))
    with pytest.raises(StillRunning):
        door.hold(door.talks.wait(wanted, 60))
    assert len(door.calls) < 40
    assert door.pauses[:4] == [0.25, 0.5, 1.0, 2.0]


def test_waiting_survives_an_outage() -> None:
    """Refused, cut and overloaded in between: the picture still comes; a busy door's Retry-After is kept to."""
    wanted = Job(job_id=uuid4(), status="queued")
    door = Paper(CUT, *[REFUSED] * 12, problem(503, "PART_UNAVAILABLE", "5"), job("completed", wanted.id))
    assert door.hold(door.talks.wait(wanted, 120)).ok
    assert door.pauses[-1] == 5
    over = Paper(REFUSED)
    with pytest.raises(StillRunning) as caught:
        over.hold(over.talks.wait(wanted, 30))
    assert isinstance(caught.value.__cause__, PartUnavailable)
    assert over.clock.monotonic() == pytest.approx(30)


def test_waiting_for_ever_ends_where_nobody_answers() -> None:
    """Without a timeout five minutes of silence are told as `PartUnavailable`; a refusal is told at once."""
    door = Paper(REFUSED)
    with pytest.raises(PartUnavailable):
        door.hold(door.talks.wait(uuid4(), None))
    assert OUTAGE < door.clock.monotonic() < OUTAGE + 10
    expired = Paper(problem(401, "UNAUTHENTICATED"))
    with pytest.raises(Unauthenticated):
        expired.hold(expired.talks.wait(uuid4(), None))
