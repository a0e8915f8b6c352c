"""Limits, on the double and on PostgreSQL alike: slots, their order, generations at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from imagegen import policies
from imagegen.jobs import Job
from imagegen.records import Claimed, Held, Limit
from imagegen.states import MoveName, Stage, Status
from tests.jobs_kit import GRACE, Store, admit, at, claimed, completed, moved, new_job, step, submitted

pytest_plugins = ["tests.stores"]
SECOND = Limit(provider="fal", interval=timedelta(seconds=1))
LEAD = policies.SLOT_LEAD.total_seconds()


def ask(
    store: Store, job: Job, limit: Limit | None, seconds: float = 0, continuation: Any = None
) -> Claimed | Held | None:
    """What a worker is told that asks for the job."""
    return store.jobs.claim(step(job, MoveName.CLAIM, seconds, claim=uuid4()), continuation, limit)


def taken(store: Store, job: Job, limit: Limit | None, seconds: float = 0) -> Job:
    """The job in a worker's hands."""
    found = ask(store, job, limit, seconds)
    assert isinstance(found, Claimed), found
    return found.job


def held(store: Store, job: Job, limit: Limit, reason: str, seconds: float = 0) -> Held:
    """The job parked for this reason."""
    found = ask(store, job, limit, seconds)
    assert isinstance(found, Held), found
    assert found.reason == reason
    return found


def slots(store: Store, jobs: Sequence[Job]) -> list[float | None]:
    """Each job's slot, in seconds after the beginning."""
    rows = [store.jobs.get(job.id) for job in jobs]
    return [None if row.slot_at is None else round((row.slot_at - at(0)).total_seconds(), 3) for row in rows]


def test_a_free_slot_is_taken_at_once(store: Store) -> None:
    """The first job goes with its slot; the next is parked until the pointer, and the one after an interval goes."""
    first, second, third = admit(store), admit(store), admit(store)
    assert taken(store, first, SECOND).slot_at == at(0)
    assert held(store, second, SECOND, "pace", 0.5).until == at(1)
    assert store.jobs.paced(SECOND, at=at(0.5)) == 1
    assert taken(store, second, SECOND, 1.1).slot_at == at(1.1)
    assert held(store, third, SECOND, "pace", 1.2).until == at(2.1)


def test_a_parked_row(store: Store) -> None:
    """It keeps the continuation, waits without an event or a failure, and its hints are forgotten."""
    first, second = admit(store), admit(store, failures=2)
    taken(store, first, SECOND)
    assert [job.id for job in store.jobs.due(at=at(0), limit=9, grace=GRACE, worker="s")] == [second.id]
    before = store.jobs.get(second.id)
    assert before.hints == 1
    assert isinstance(ask(store, second, SECOND, 0.1, {"chain": [1]}), Held)
    row = store.jobs.get(second.id)
    changed = {"waiting_for": "pace", "next_run_at": at(0.1), "hints": 0, "continuation": {"chain": [1]}}
    assert row == replace(before, **changed)
    assert [event.move for event in store.jobs.history(second.id)] == ["admit"]
    assert store.jobs.due(at=at(30), limit=9, grace=GRACE, worker="s")[0].id == first.id
    assert ask(store, second, SECOND, 30) is None
    assert store.jobs.get(second.id) == row


def test_slots_go_to_the_most_urgent(store: Store) -> None:
    """Priority first, lifted by waiting; consecutive, as far ahead as they are given, each due a lead before."""
    taken(store, admit(store), SECOND)
    low = admit(store, priority=6)
    held(store, low, SECOND, "pace", 0.1)
    late = [admit(store, priority=priority) for priority in (5, 4, 6)]
    for job in late:
        held(store, job, SECOND, "pace", 200)
    assert store.jobs.paced(SECOND, at=at(200)) == 3
    first = 200 + LEAD
    assert slots(store, [low, *late]) == [first, first + 2, first + 1, None]
    row = store.jobs.get(low.id)
    assert (row.waiting_for, row.next_run_at) == ("pace", at(200))
    assert store.jobs.paced(SECOND, at=at(200.5)) == 0
    assert store.jobs.paced(SECOND, at=at(201)) == 1
    assert slots(store, [late[2]]) == [first + 3]


def test_a_slot_admits_from_its_lead_on(store: Store) -> None:
    """The sweep hints at it a lead before; the claim brings the slot with it, and no sooner."""
    first, second, third = admit(store), admit(store), admit(store)
    taken(store, first, SECOND)
    held(store, second, SECOND, "pace", 0.1)
    held(store, third, SECOND, "pace", 0.2)
    assert store.jobs.paced(SECOND, at=at(0.2)) == 2
    assert slots(store, [second, third]) == [1, 2]
    assert ask(store, second, SECOND, 0.3) is None
    due = store.jobs.due(at=at(0.4), limit=9, grace=GRACE, worker="s")
    assert [job.id for job in due] == [second.id]
    assert taken(store, second, SECOND, 0.45).slot_at == at(1)
    assert ask(store, third, SECOND, 0.45) is None


def test_nobody_overtakes(store: Store) -> None:
    """A free slot goes to nobody who comes while another that could go has waited for it."""
    taken(store, admit(store), SECOND)
    waits, comes = admit(store), admit(store, priority=0)
    held(store, waits, SECOND, "pace", 0.1)
    held(store, comes, SECOND, "pace", 5)
    assert slots(store, [waits, comes]) == [None, None]


def test_a_late_slot_is_changed(store: Store) -> None:
    """Slots that were missed together are not used together: each gets a fresh one, or waits for it."""
    jobs = [admit(store) for _ in range(6)]
    taken(store, jobs[0], SECOND)
    for number, job in enumerate(jobs[1:]):
        held(store, job, SECOND, "pace", 0.1 + number / 100)
    assert store.jobs.paced(SECOND, at=at(0.2)) == 3
    assert store.jobs.paced(SECOND, at=at(2.1)) == 2
    assert slots(store, jobs[1:]) == [1, 2, 3, 4, 5]
    late = [ask(store, job, SECOND, 20) for job in jobs[1:]]
    assert [one.job.slot_at for one in late[:4] if isinstance(one, Claimed)] == [at(20 + n) for n in range(4)]
    assert late[4] == Held(reason="pace", until=at(24 - LEAD))
    assert slots(store, jobs[5:]) == [24]


def test_slack(store: Store) -> None:
    """A slot of a slow limit is worth much, and still used when its hint came late by a share of the limit's period."""
    slow = Limit(provider="fal", interval=timedelta(minutes=30), slack=timedelta(seconds=100))
    taken(store, admit(store, deadline_at=at(9000)), slow)
    job = admit(store, deadline_at=at(9000))
    held(store, job, slow, "pace", 1)
    assert store.jobs.paced(slow, at=at(1798)) == 1
    assert taken(store, job, slow, 1899).slot_at == at(1800)


def test_generations_at_once(store: Store) -> None:
    """Processing and generating jobs count, and slots that were given; a failed or finished one makes room."""
    limit = Limit(provider="fal", in_flight=2)
    first, second, third, fourth = (admit(store) for _ in range(4))
    submitted(store, first)
    processing = taken(store, second, limit)
    held(store, third, limit, "in_flight", 1)
    held(store, fourth, limit, "in_flight", 2)
    assert store.jobs.paced(limit, at=at(3)) == 0
    moved(store, step(second, MoveName.FAIL, 4, held=processing.claim))
    held(store, admit(store), limit, "in_flight", 4)
    assert store.jobs.paced(limit, at=at(5)) == 1
    assert slots(store, [third, fourth]) == [5, None]
    assert store.jobs.paced(limit, at=at(6)) == 0
    assert taken(store, third, limit, 7).id == third.id
    assert store.jobs.paced(limit, at=at(8)) == 0


def test_a_parked_job_gives_its_slot_back(store: Store) -> None:
    """Submission, hold and a lost worker clear the slot."""
    held_back, sent, lost = (taken(store, admit(store), SECOND, n) for n in range(3))
    resting = {"held": held_back.claim, "parked": True, "waiting_for": "backoff"}
    assert moved(store, step(held_back, MoveName.HOLD, 3, stage=Stage.GENERATE, **resting)).slot_at is None
    assert moved(store, step(sent, MoveName.SUBMIT, 3, held=sent.claim, claim=sent.claim)).slot_at is None
    store.jobs.due(at=at(40), limit=9, grace=GRACE, worker="s")
    assert store.jobs.get(lost.id).slot_at is None


def test_a_cached_picture_waits_for_nothing(store: Store) -> None:
    """It costs nothing, so neither pace nor generations at once hold it; a fresh one is wanted: they do."""
    limit = Limit(provider="fal", interval=timedelta(hours=1), in_flight=1)
    completed(store, admit(store, fingerprint="fox"))
    taken(store, admit(store), limit, 1)
    found = ask(store, admit(store, fingerprint="fox"), limit, 2)
    assert isinstance(found, Claimed)
    assert found.cached is not None
    assert found.job.slot_at is None
    limit = replace(limit, in_flight=None)
    held(store, admit(store, fingerprint="fox", fresh=True), limit, "pace", 2)


def test_models_with_limits_of_their_own(store: Store) -> None:
    """A model's own limit has its own slots and its own order; the provider's total holds for all."""
    every = replace(SECOND, others=frozenset({"pro"}), in_flight=2)
    pro = Limit(provider="fal", model="pro", interval=timedelta(seconds=1), total=2)
    taken(store, admit(store), every)
    assert taken(store, admit(store, model="pro"), pro).slot_at == at(0)
    third, fourth = admit(store), admit(store, model="pro")
    held(store, third, every, "in_flight", 2)
    held(store, fourth, pro, "in_flight", 2)
    store.jobs.apply(step(store.jobs.get(admit(store).id), MoveName.CANCEL, 2))
    assert store.jobs.paced(replace(pro, in_flight=None, total=None), at=at(3)) == 1
    assert slots(store, [third, fourth]) == [None, 3 + LEAD]


def test_caps_below_a_providers_limit(store: Store) -> None:
    """A full model's jobs wait without holding up those of other models, which share the provider's slots."""
    limit = replace(SECOND, caps={"pro": 1})
    taken(store, admit(store, model="pro"), limit)
    full = [admit(store, model="pro", priority=0) for _ in range(2)]
    for job in full:
        held(store, job, limit, "in_flight", 1)
    assert taken(store, admit(store), limit, 1).slot_at == at(1)
    plain = admit(store)
    held(store, plain, limit, "pace", 1.5)
    assert store.jobs.paced(limit, at=at(1.5)) == 1
    assert slots(store, [*full, plain]) == [None, None, 1.5 + LEAD]


def test_a_job_of_another_limit_is_left_alone(store: Store) -> None:
    """A limit that does not govern the job (it was moved to another provider meanwhile) neither takes nor parks it."""
    job = admit(store, provider="gemini")
    assert ask(store, job, SECOND) is None
    assert store.jobs.get(job.id) == job


@pytest.mark.parametrize("end", ["cancelled", "claimed", "resting"])
def test_what_is_not_there_is_not_parked(store: Store, end: str) -> None:
    """Without a free slot an ended, a held and a resting job stay as they are."""
    taken(store, admit(store), SECOND)
    job = admit(store)
    if end == "cancelled":
        moved(store, step(job, MoveName.CANCEL, 0.1))
    else:
        busy = claimed(store, job)
        resting = {"held": busy.claim, "parked": True, "waiting_for": "backoff", "stage": Stage.GENERATE}
        if end == "resting":
            moved(store, step(job, MoveName.HOLD, 0.1, **resting))
    before = store.jobs.get(job.id)
    assert ask(store, job, SECOND, 0.2) is None
    assert store.jobs.get(job.id) == before


def test_time_that_is_over_needs_no_slot(store: Store) -> None:
    """Expired jobs get no slot and hold nobody up: the sweep ends them."""
    taken(store, admit(store), SECOND)
    over, waits = admit(store, deadline_at=at(5)), admit(store)
    held(store, over, SECOND, "pace", 0.1)
    assert store.jobs.paced(SECOND, at=at(6)) == 0
    assert taken(store, waits, SECOND, 6).slot_at == at(6)
    assert over.id in {job.id for job in store.jobs.due(at=at(6), limit=9, grace=GRACE, worker="s")}


def test_a_limit_that_was_lifted(store: Store) -> None:
    """Without interval and bounds, whoever still waits is released at once."""
    taken(store, admit(store), SECOND)
    jobs = [admit(store) for _ in range(3)]
    for job in jobs:
        held(store, job, SECOND, "pace", 0.1)
    free = Limit(provider="fal")
    assert store.jobs.paced(free, at=at(1)) == 3
    assert slots(store, jobs) == [1, 1, 1]
    due = store.jobs.due(at=at(1), limit=9, grace=GRACE, worker="s")
    assert [ask(store, job, None, 1) is not None for job in due] == [True] * 3
    assert store.jobs.paced(free, at=at(2)) == 0


def test_other_moves_know_no_limit(store: Store) -> None:
    """A download is claimed at once whatever its provider's limit is."""
    job = new_job()
    job = store.jobs.admit([replace(job, status=Status.UPLOADING, stage=Stage.DOWNLOAD)], None, worker="w1").jobs[0]
    fetching = step(job, MoveName.FETCH, claim=uuid4())
    assert isinstance(store.jobs.claim(fetching, None, Limit(provider="fal", in_flight=1)), Claimed)
