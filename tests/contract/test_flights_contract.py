"""Single flight and the life of cached pictures, on the double and on PostgreSQL alike."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import update

from imagegen import policies
from imagegen.jobs import Job
from imagegen.records import Claimed, Held, Limit
from imagegen.states import MoveName, Stage, Status
from storage.tables import JOBS
from tests.jobs_kit import (
    GRACE,
    MemoryStore,
    PostgresStore,
    Store,
    accepted,
    admit,
    at,
    claimed,
    delivered,
    facts,
    moved,
    step,
    submitted,
)

pytest_plugins = ["tests.stores"]
LOOK = policies.FLIGHT_LOOK.total_seconds()
SURE = policies.FLIGHT_SURE.total_seconds()
SECOND = Limit(provider="fal", interval=timedelta(seconds=1))


def same(store: Store, **given: Any) -> Job:
    """An admitted job for the one picture of these tests."""
    return admit(store, **{"fingerprint": "fox", "deadline_at": at(3600), **given})


def ask(store: Store, job: Job, seconds: float = 0, limit: Limit | None = None, told: Any = None) -> Any:
    """What a worker is told that asks for the job."""
    return store.jobs.claim(step(job, MoveName.CLAIM, seconds, claim=uuid4()), told, limit)


def waits(store: Store, job: Job, seconds: float = 0, limit: Limit | None = None) -> None:
    """The job is parked behind a leader."""
    found = ask(store, job, seconds, limit)
    assert isinstance(found, Held), found
    assert (found.reason, found.until) == ("flight", at(seconds + LOOK))


def due(store: Store, *jobs: Job) -> list[float]:
    """When each runs again, in seconds after the beginning."""
    rows = [store.jobs.get(job.id) for job in jobs]
    return [(row.next_run_at - at(0)).total_seconds() for row in rows if row.next_run_at]


def failed(store: Store, job: Job, code: str, seconds: float = 0) -> Job:
    """The leader's end with this error."""
    changes = {"error_code": code, "error_message": "no foxes", "error_retryable": False}
    return moved(store, step(job, MoveName.FAIL, seconds, changes=changes))


def test_one_leads_and_the_others_wait(store: Store) -> None:
    """Of identical jobs the first claim wins; another waits with its continuation, without an event or a failure."""
    first, second = same(store), same(store)
    lead = claimed(store, first)
    before = store.jobs.get(second.id)
    held = ask(store, second, 1, told={"chain": [1]})
    assert held == Held(reason="flight", until=at(1 + LOOK))
    waiting = {"waiting_for": "flight", "next_run_at": at(1 + LOOK), "continuation": {"chain": [1]}}
    assert store.jobs.get(second.id) == replace(before, **waiting)
    assert [event.move for event in store.jobs.history(second.id)] == ["admit"]
    assert ask(store, second, 2) is None
    assert ask(store, first, 2) is None
    assert lead.status is Status.PROCESSING


def test_who_has_no_time_waits_no_longer(store: Store) -> None:
    """A follower is parked no further than its deadline, which the sweep ends it at."""
    first, second = same(store), same(store, deadline_at=at(10))
    claimed(store, first)
    assert ask(store, second) == Held(reason="flight", until=at(10))


@pytest.mark.parametrize("other", [{"fingerprint": "cat"}, {"emulated": True}, {"fresh": True}])
def test_others_do_not_wait(store: Store, other: dict[str, Any]) -> None:
    """Another picture, another world, a fresh picture: each is bought at once, beside the flight."""
    claimed(store, same(store))
    assert isinstance(ask(store, same(store, **other)), Claimed)


def test_who_wants_a_fresh_picture_leads_nobody(store: Store) -> None:
    """An ordinary job beside a fresh one is bought; jobs without a fingerprint are all bought."""
    claimed(store, same(store, fresh=True))
    assert isinstance(ask(store, same(store)), Claimed)
    assert all(isinstance(ask(store, same(store, fingerprint="")), Claimed) for _ in range(2))


def test_all_complete_from_the_leaders_picture(store: Store) -> None:
    """When the leader completes all who wait are due, and find its picture in the cache."""
    first, *others = [same(store) for _ in range(4)]
    lead = delivered(store, first)
    for job in others:
        waits(store, job)
    held = claimed(store, lead, MoveName.PUBLISH, 5)
    waits(store, same(store), 5)
    picture = {"picture": {"width": 1344, "height": 768, "bytes": 4711}}
    moved(store, step(lead, MoveName.COMPLETE, 5, held=held.claim, detail=picture))
    assert due(store, *others) == [5, 5, 5]
    for job in others:
        found = ask(store, job, 5)
        assert isinstance(found, Claimed)
        assert found.cached is not None


EXITS: dict[str, dict[str, Any]] = {
    "hold": {"name": MoveName.HOLD, "stage": Stage.GENERATE, "parked": True, "waiting_for": "breaker"},
    "fail": {"name": MoveName.FAIL, "changes": {"error_code": "AUTH_ERROR"}},
    "cancel": {"name": MoveName.CANCEL},
    "stand_in": {"name": MoveName.STAND_IN, "changes": {"placeholder": True}},
}


@pytest.mark.parametrize("how", EXITS)
def test_a_leader_that_leaves_hands_over(store: Store, how: str) -> None:
    """The most urgent follower, and it alone, is due at once and leads; the others wait for it."""
    first, low, high = same(store), same(store, priority=9), same(store, priority=0)
    claimed(store, first)
    waits(store, low)
    waits(store, high)
    moved(store, step(first, seconds=3, **EXITS[how]))
    assert due(store, low, high) == [LOOK, 3]
    assert isinstance(ask(store, high, 3), Claimed)
    waits(store, low, LOOK)
    if how == "hold":
        waits(store, first, 33)


def test_a_leader_that_goes_elsewhere_hands_over_where_it_was(store: Store) -> None:
    """A job that another provider draws another picture of frees the flight that it led."""
    first, second = same(store), same(store)
    claimed(store, first)
    waits(store, second)
    moved(store, step(first, MoveName.HOLD, 1, stage=Stage.GENERATE, changes={"fingerprint": "cat"}))
    assert due(store, second) == [1]
    assert isinstance(ask(store, second, 1), Claimed)
    assert isinstance(ask(store, first, 31), Claimed)


def test_another_attempt_hands_over(store: Store) -> None:
    """A refusal that may pass parks the leader; the follower leads meanwhile."""
    first, second = same(store), same(store)
    job = submitted(store, first)
    waits(store, second)
    again = {"stage": Stage.GENERATE, "parked": True, "waiting_for": "backoff"}
    moved(store, step(job, MoveName.REPEAT, 1, facts=facts(job, "rejected"), **again))
    assert due(store, second) == [1]
    assert isinstance(ask(store, second, 1), Claimed)


@pytest.mark.parametrize("stand", [submitted, accepted, delivered])
def test_a_busy_leader_keeps_its_flight(store: Store, stand: Any) -> None:
    """Bought, drawn by its provider or on its way to the object store: nobody else buys, however long it takes."""
    stand(store, same(store))
    waits(store, same(store), 5 * SURE)


def test_a_doubtful_leader_is_waited_for(store: Store) -> None:
    """A paid call that nobody heard of is reconciled first; when it ends in doubt, one follower buys."""
    first, second, third = same(store), same(store), same(store)
    job = submitted(store, first)
    waits(store, second)
    waits(store, third)
    taken = store.jobs.due(at=at(100), limit=9, grace=GRACE, worker="s")
    assert store.jobs.get(first.id).stage is Stage.RECONCILE
    assert {one.id for one in taken} == {first.id, second.id, third.id}
    waits(store, second, 101)
    waits(store, third, 101)
    failed(store, job, "SUBMISSION_UNKNOWN", 102)
    assert sorted(due(store, second, third)) == [102, 101 + LOOK]


def test_a_lost_worker_hands_over(store: Store) -> None:
    """The sweep frees the flight of a job whose lease ran out, and one follower is due."""
    first, second, third = same(store), same(store, priority=9), same(store)
    assert isinstance(store.jobs.claim(step(first, MoveName.CLAIM, claim=uuid4(), until=at(20)), None), Claimed)
    waits(store, second, 10)
    waits(store, third, 10)
    assert [job.id for job in store.jobs.due(at=at(21), limit=9, grace=GRACE, worker="s")] == [first.id]
    assert due(store, second, third) == [10 + LOOK, 21]
    assert isinstance(ask(store, third, 21), Claimed)
    waits(store, first, 22)


def test_a_flight_left_behind_is_taken_over(store: Store) -> None:
    """Whose leader is gone without a word is free for the next, though not before it is sure."""
    first, second = same(store), same(store)
    claimed(store, first)
    if isinstance(store, MemoryStore):
        store.jobs.jobs[first.id] = replace(first, status=Status.FAILED, next_run_at=None)
    else:
        assert isinstance(store, PostgresStore)
        _end_silently(store, first)
    waits(store, second, SURE - 1)
    assert isinstance(ask(store, second, SURE - 1 + LOOK), Claimed)


def _end_silently(store: PostgresStore, job: Job) -> None:
    store.database.run(update(JOBS).where(JOBS.c.id == job.id).values(status="failed", next_run_at=None, claim=None))


@pytest.mark.parametrize("code", ["CONTENT_REFUSED", "INVALID_REQUEST"])
def test_a_refusal_is_shared(store: Store, code: str) -> None:
    """Who waited while the leader was refused is due at once, and claimed with that refusal, not billed."""
    first, *others = [same(store) for _ in range(3)]
    job = submitted(store, first)
    for other in others:
        waits(store, other)
    failed(store, job, code, 3)
    assert due(store, *others) == [3, 3]
    for other in others:
        found = ask(store, other, 3)
        assert isinstance(found, Claimed)
        assert found.refused is not None
        assert (found.refused.code, str(found.refused), found.refused.billed) == (code, "no foxes", "no")


def test_no_other_failure_is_shared(store: Store) -> None:
    """A failure that says nothing of what was asked leaves the next one its own try."""
    first, second = same(store), same(store)
    claimed(store, first)
    waits(store, second)
    failed(store, first, "AUTH_ERROR", 1)
    found = ask(store, second, 1)
    assert isinstance(found, Claimed)
    assert found.refused is None


@pytest.mark.parametrize(
    "other",
    [
        {"created_at": at(4)},
        {"run": 2},
        {"fresh": True},
        {"fingerprint": "cat"},
        {"emulated": True},
    ],
    ids=["earlier", "run 2", "fresh", "other", "emulated"],
)
def test_who_did_not_wait_asks_for_itself(store: Store, other: dict[str, Any]) -> None:
    """A later job, one continued by hand, a fresh one, another picture: none shares the refusal."""
    failed(store, claimed(store, same(store)), "CONTENT_REFUSED", 3)
    found = ask(store, same(store, **other), 5)
    assert isinstance(found, Claimed)
    assert found.refused is None


def test_a_refusal_is_forgotten(store: Store) -> None:
    """After a while the provider is asked again."""
    failed(store, claimed(store, same(store)), "CONTENT_REFUSED", 3)
    late = 3 + policies.REFUSAL_SHARED.total_seconds()
    found = ask(store, same(store), late)
    assert isinstance(found, Claimed)
    assert found.refused is None


def intent(store: Store, job: Job, seconds: float) -> Job | None:
    """Whether the intent to buy is committed."""
    return store.jobs.apply(step(job, MoveName.SUBMIT, seconds, stage=Stage.GENERATE, held=job.claim, claim=job.claim))


def test_an_intent_looks_once_more(store: Store) -> None:
    """What was bought or refused since the claim is not bought: the intent finds nothing to move."""
    early, fresh = claimed(store, same(store)), claimed(store, same(store, fresh=True))
    other = same(store, fresh=True)
    picture = {"picture": {"width": 1344, "height": 768, "bytes": 4711}}
    drawn = claimed(store, delivered(store, other), MoveName.PUBLISH)
    moved(store, step(drawn, MoveName.COMPLETE, held=drawn.claim, detail=picture))
    assert intent(store, early, 1) is None
    assert intent(store, fresh, 1) is not None
    refused, asking = same(store, fingerprint="cat"), claimed(store, same(store, fingerprint="cat"))
    failed(store, refused, "CONTENT_REFUSED", 2)
    assert intent(store, asking, 3) is None


def test_a_follower_takes_no_slot(store: Store) -> None:
    """Under a limit a follower is parked for the flight, and the limit's next slot goes to another picture."""
    first, second, other = same(store), same(store), admit(store)
    assert isinstance(ask(store, first, 0, SECOND), Claimed)
    waits(store, second, 1.5, SECOND)
    found = ask(store, other, 1.5, SECOND)
    assert isinstance(found, Claimed)
    assert found.job.slot_at == at(1.5)


def test_one_of_many_waits_for_its_slot(store: Store) -> None:
    """While the limit is exhausted one of the identical jobs waits for its slot, and the others for that one."""
    assert isinstance(ask(store, admit(store), 0, SECOND), Claimed)
    first, *others = [same(store) for _ in range(4)]
    found = ask(store, first, 0.1, SECOND)
    assert isinstance(found, Held)
    assert found.reason == "pace"
    for job in others:
        waits(store, job, 0.2, SECOND)
    assert store.jobs.paced(SECOND, at=at(0.3)) == 1
    waits(store, others[0], 0.2 + LOOK, SECOND)
    assert isinstance(ask(store, first, 1, SECOND), Claimed)


def test_a_paused_leader_keeps_nobody(store: Store) -> None:
    """One that waits for a slot and is paused leads nobody else's job: another owner's takes over."""
    assert isinstance(ask(store, admit(store), 0, SECOND), Claimed)
    first, other = same(store), same(store, owner="bob")
    held = ask(store, first, 0.1, SECOND)
    assert isinstance(held, Held)
    store.pauses.pause("owner:ada", reason="", at=at(1))
    waits(store, other, 2, SECOND)
    found = ask(store, other, 2 + LOOK, SECOND)
    assert isinstance(found, Claimed)


def test_a_pause_stops_followers_and_leaders(store: Store) -> None:
    """Paused jobs neither take a flight nor are handed one."""
    first, second, third = same(store), same(store, priority=0), same(store, owner="bob")
    claimed(store, first)
    waits(store, second)
    waits(store, third)
    store.pauses.pause("owner:ada", reason="", at=at(1))
    moved(store, step(first, MoveName.CANCEL, 2))
    assert due(store, second, third) == [LOOK, 2]
    found = ask(store, second, LOOK)
    assert isinstance(found, Held)
    assert found.reason == "paused"
    assert isinstance(ask(store, third, LOOK), Claimed)
