"""Pauses, on the double and on PostgreSQL alike."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from imagegen import policies
from imagegen.records import Claimed, Held, Limit, Pause
from imagegen.states import MoveName, Status
from tests.contract.test_pace_contract import SECOND, ask, held, slots, taken
from tests.jobs_kit import GRACE, Store, accepted, admit, at, completed, moved, new_job, step

pytest_plugins = ["tests.stores"]
LOOK = policies.PAUSE_LOOK.total_seconds()
SCOPES = ["all", "provider:fal", "owner:ada"]


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("limit", [None, SECOND], ids=["free", "limited"])
def test_a_pause_parks(store: Store, scope: str, limit: Limit | None) -> None:
    """What it holds is parked for a minute with its continuation; what it does not hold goes on."""
    store.pauses.pause(scope, reason="maintenance", at=at(0))
    job, before = admit(store), None
    before = store.jobs.get(job.id)
    assert ask(store, job, limit, 1, {"chain": [2]}) == Held(reason="paused", until=at(1 + LOOK))
    row = store.jobs.get(job.id)
    changed: dict[str, Any] = {"waiting_for": "paused", "next_run_at": at(1 + LOOK), "continuation": {"chain": [2]}}
    assert row == replace(before, **changed)
    assert [event.move for event in store.jobs.history(job.id)] == ["admit"]
    assert ask(store, job, limit, 2) is None
    assert store.jobs.get(job.id) == row
    other = admit(store, owner="bob", provider="gemini")
    assert isinstance(ask(store, other, None, 1), Held if scope == "all" else Claimed)


def test_a_paused_job_looks_again(store: Store) -> None:
    """The sweep hints at it a minute later, and it is parked again while the pause lasts."""
    store.pauses.pause("all", reason="", at=at(0))
    job = admit(store)
    assert isinstance(ask(store, job, None), Held)
    assert [one.id for one in store.jobs.due(at=at(LOOK), limit=9, grace=GRACE, worker="s")] == [job.id]
    assert ask(store, job, None, LOOK) == Held(reason="paused", until=at(2 * LOOK))


def test_no_further_than_the_deadline(store: Store) -> None:
    """A paused job is due at its deadline: its time may be over before the pause."""
    store.pauses.pause("all", reason="", at=at(0))
    job = admit(store, deadline_at=at(20))
    assert isinstance(ask(store, job, None), Held)
    assert store.jobs.get(job.id).next_run_at == at(20)


@pytest.mark.parametrize("scope", SCOPES)
def test_no_intent_is_committed(store: Store, scope: str) -> None:
    """A job claimed before the pause finds its SUBMIT refused; after it, the job may be bought."""
    job = taken(store, admit(store), None)
    store.pauses.pause(scope, reason="", at=at(1))
    intent = step(job, MoveName.SUBMIT, 2, held=job.claim, claim=job.claim)
    assert store.jobs.apply(intent) is None
    assert store.jobs.get(job.id) == job
    store.pauses.resume(scope, at=at(3))
    assert moved(store, intent).status is Status.GENERATING


def test_what_was_bought_is_collected(store: Store) -> None:
    """Polls, downloads and uploads go on, and a picture of the cache is used."""
    completed(store, admit(store, fingerprint="fox"))
    ordered = accepted(store, admit(store))
    store.pauses.pause("all", reason="", at=at(1))
    assert [job.id for job in store.jobs.pollable([ordered.id], at=at(30))] == [ordered.id]
    for limit in (None, SECOND):
        found = ask(store, admit(store, fingerprint="fox"), limit, 2)
        assert isinstance(found, Claimed)
        assert found.cached is not None
    assert isinstance(ask(store, admit(store, fingerprint="fox", fresh=True), None, 2), Held)


def test_resume_wakes_what_waited_for_it_alone(store: Store) -> None:
    """Jobs that another pause still holds wait on; others are due at once."""
    for scope in ("all", "owner:ada"):
        store.pauses.pause(scope, reason="", at=at(0))
    mine, others = admit(store), admit(store, owner="bob")
    assert isinstance(ask(store, mine, None), Held)
    assert isinstance(ask(store, others, None), Held)
    assert store.pauses.resume("all", at=at(5)) == 1
    assert [job.id for job in store.jobs.due(at=at(5), limit=9, grace=GRACE, worker="s")] == [others.id]
    assert store.pauses.resume("all", at=at(6)) is None
    assert store.pauses.resume("owner:ada", at=at(7)) == 1
    assert [job.id for job in store.jobs.due(at=at(7), limit=9, grace=GRACE, worker="s")] == [mine.id]
    assert taken(store, mine, None, 7).id == mine.id


def test_resume_leaves_other_waits_alone(store: Store) -> None:
    """A job that rests for another reason, or for another's pause, is not hurried."""
    store.pauses.pause("owner:bob", reason="", at=at(0))
    held_job = admit(store, owner="bob")
    assert isinstance(ask(store, held_job, None), Held)
    resting = store.jobs.admit([new_job(waiting_for="backoff", next_run_at=at(50))], None, worker="w").jobs[0]
    store.pauses.pause("provider:gemini", reason="", at=at(1))
    assert store.pauses.resume("provider:gemini", at=at(2)) == 0
    assert store.jobs.get(resting.id).next_run_at == at(50)
    assert store.jobs.get(held_job.id).next_run_at == at(LOOK)


def test_pauses_are_listed(store: Store) -> None:
    """Oldest first; pausing again keeps the new reason and the old time."""
    store.pauses.pause("provider:fal", reason="errors", at=at(1))
    store.pauses.pause("all", reason="", at=at(2))
    store.pauses.pause("provider:fal", reason="price change", at=at(3))
    first = Pause(scope="provider:fal", reason="price change", paused_at=at(1))
    assert list(store.pauses.list()) == [first, Pause(scope="all", reason="", paused_at=at(2))]
    store.pauses.resume("provider:fal", at=at(4))
    assert [one.scope for one in store.pauses.list()] == ["all"]


def test_no_slot_is_wasted_on_what_is_paused(store: Store) -> None:
    """Paused jobs get no slots and hold nobody up; a slot that one has is given up."""
    taken(store, admit(store), SECOND)
    bobs, adas = admit(store, owner="bob", priority=0), admit(store)
    held(store, bobs, SECOND, "pace", 0.1)
    held(store, adas, SECOND, "pace", 0.1)
    store.pauses.pause("owner:bob", reason="", at=at(0.2))
    assert store.jobs.paced(SECOND, at=at(0.2)) == 1
    assert slots(store, [bobs, adas]) == [None, 1]
    store.pauses.pause("owner:ada", reason="", at=at(0.3))
    assert isinstance(ask(store, adas, SECOND, 0.9), Held)
    assert slots(store, [adas]) == [None]
    assert isinstance(ask(store, admit(store, owner="eve"), SECOND, 2), Claimed)
    store.pauses.resume("owner:bob", at=at(3))
    assert store.jobs.paced(replace(SECOND, interval=timedelta(seconds=1)), at=at(3)) == 1


def test_a_claimed_job_is_not_parked(store: Store) -> None:
    """A hint that comes twice while everything is paused changes nothing for the worker that has the job."""
    job = taken(store, admit(store), None)
    store.pauses.pause("all", reason="", at=at(1))
    assert store.jobs.claim(step(job, MoveName.CLAIM, 2, claim=uuid4()), None) is None
    assert store.jobs.get(job.id) == job
