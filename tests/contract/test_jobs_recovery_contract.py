"""The port `Jobs`, in memory and on PostgreSQL: leases, wake-ups, stops, other ids, amended ends, crowded queues."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from imagegen import policies
from imagegen.errors import NotFound
from imagegen.jobs import Job
from imagegen.records import Entry, Holding, Move
from imagegen.states import MoveName, Stage, Status
from tests.jobs_kit import (
    CENTS,
    GRACE,
    Store,
    accepted,
    admit,
    at,
    attempt,
    claimed,
    completed,
    delivered,
    facts,
    known,
    moved,
    new_batch,
    step,
    submitted,
)

pytest_plugins = ["tests.stores"]

PATIENCE = policies.CROWDED_PATIENCE.total_seconds()


def due(store: Store, seconds: float, *crowded: Stage) -> list[UUID]:
    """The jobs that a sweep `seconds` after the beginning takes, while these stages' queues are long."""
    taken = store.jobs.due(at=at(seconds), limit=9, grace=GRACE, worker="sweep", crowded=frozenset(crowded))
    return [job.id for job in taken]


def holding(job: Job) -> Holding:
    """What its worker renews."""
    assert job.claim is not None
    return Holding(job_id=job.id, claim=job.claim, attempt_id=job.attempt_id)


def stopped(store: Store) -> Job:
    """A job whose owner stopped it during the paid call."""
    return moved(store, step(submitted(store, admit(store)), MoveName.STOP, 1))


def answer(job: Job, name: MoveName, **given: Any) -> Move:
    """What the paid call of this job came to."""
    usual: dict[str, Any] = {"stage": Stage.GENERATE, "facts": facts(job, "accepted", provider_job_id="p1")}
    return step(job, name, 2, **{**usual, **given})


# ── leases ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_sign_of_life_lengthens_every_lease_held(store: Store) -> None:
    """Claimed, bought and transferred jobs, all at once; a lease is never shortened, and nothing else changes."""
    held = [claimed(store, admit(store)), submitted(store, admit(store))]
    held.append(claimed(store, delivered(store, admit(store)), MoveName.PUBLISH))
    store.jobs.renew([holding(job) for job in held], until=at(50))
    store.jobs.renew([holding(job) for job in held], until=at(40))
    assert [store.jobs.get(job.id) for job in held] == [replace(job, next_run_at=at(50)) for job in held]
    assert due(store, 49) == []


def test_a_lost_claim_is_not_renewed(store: Store) -> None:
    """Freed by the sweep and taken by another, or ended: the first worker's sign of life means nothing."""
    first, ended = claimed(store, admit(store)), claimed(store, admit(store))
    moved(store, step(ended, MoveName.CANCEL, 1))
    assert due(store, 30) == [first.id]
    second = claimed(store, first, seconds=31)
    store.jobs.renew([holding(first), holding(ended)], until=at(500))
    assert store.jobs.get(first.id) == second
    assert store.jobs.get(ended.id).next_run_at is None
    store.jobs.renew([], until=at(500))


def test_a_worker_that_was_cut_off_puts_reconciling_off(store: Store) -> None:
    """Its lease ran out during the paid call, but it lives: by its attempt it puts the job's time off, no more."""
    job = submitted(store, admit(store))
    assert due(store, 30) == [job.id]
    rests = {"stage": Stage.RECONCILE, "parked": True, "waiting_for": "reconcile", "facts": facts(job, "unknown")}
    parked = moved(store, step(job, MoveName.DOUBT, 31, **rests))
    store.jobs.renew([holding(job)], until=at(90))
    assert store.jobs.get(job.id) == replace(parked, next_run_at=at(90))
    assert moved(store, answer(job, MoveName.ACCEPT, stage=Stage.POLL)).provider_job_id == parked.provider_job_id
    store.jobs.renew([holding(job)], until=at(500))
    assert store.jobs.get(job.id).next_run_at == at(32)


def test_another_attempt_is_not_renewed(store: Store) -> None:
    """The job is bought again by somebody else: the old attempt's worker holds nothing."""
    old = submitted(store, admit(store))
    moved(store, step(old, MoveName.REPEAT, 1, stage=Stage.GENERATE))
    newer = submitted(store, old, 2)
    store.jobs.renew([holding(old)], until=at(500))
    assert store.jobs.get(old.id) == newer


# ── callbacks ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_callback_makes_a_resting_job_due(store: Store) -> None:
    """At stage poll or reconcile it is taken at once; its time is never put off by being woken late."""
    polls = accepted(store, admit(store))
    doubts = moved(store, answer(submitted(store, admit(store)), MoveName.DOUBT, stage=Stage.RECONCILE))
    for job in (polls, doubts):
        woken = store.jobs.wake(job.id, at=at(3))
        assert woken == replace(job, woken=True, next_run_at=at(3))
        assert store.jobs.wake(job.id, at=at(4)) == woken
    assert set(due(store, 3)) == {polls.id, doubts.id}


def test_a_callback_during_the_paid_call_is_remembered(store: Store) -> None:
    """The lease of the worker that buys stays; when it parks the job, it is due at once."""
    job = submitted(store, admit(store))
    assert store.jobs.wake(job.id, at=at(1)) == replace(job, woken=True)
    assert due(store, 29) == []
    parked = answer(job, MoveName.ACCEPT, stage=Stage.POLL, parked=True, waiting_for="provider")
    assert moved(store, parked).next_run_at == at(2)


def test_nobody_else_is_woken(store: Store) -> None:
    """Queued, held, transferring, ended or unknown: nothing waits for a provider there."""
    others = [
        admit(store),
        claimed(store, admit(store)),
        delivered(store, admit(store)),
        completed(store, admit(store)),
    ]
    for job in others:
        assert store.jobs.wake(job.id, at=at(1)) is None
        assert store.jobs.get(job.id) == job
    assert store.jobs.wake(uuid4(), at=at(1)) is None


# ── stopped by its owner during the paid call ────────────────────────────────────────────────────────────────────


def test_a_stop_leaves_the_worker_its_lease(store: Store) -> None:
    """STOP only marks the job, with a line of history: who holds it, its time and its hints stay."""
    job = submitted(store, admit(store))
    store.wake(job.id, at(20))
    before = store.jobs.get(job.id)
    assert moved(store, step(job, MoveName.STOP, 1)) == replace(before, stopped=True, updated_at=at(1))
    last = store.jobs.history(job.id)[-1]
    assert (last.move, last.status, last.at) == ("stop", "generating", at(1))
    for other in (accepted(store, admit(store)), claimed(store, admit(store)), completed(store, admit(store))):
        assert store.jobs.apply(step(other, MoveName.STOP, 1)) is None


@pytest.mark.parametrize(
    ("name", "given"),
    [
        (MoveName.ACCEPT, {"stage": Stage.POLL}),
        (MoveName.DELIVER, {"stage": Stage.UPLOAD}),
        (MoveName.REPEAT, {}),
        (MoveName.DOUBT, {"stage": Stage.RECONCILE}),
        (MoveName.FAIL, {}),
        (MoveName.STAND_IN, {}),
    ],
)
def test_an_answer_does_not_move_a_stopped_job(store: Store, name: MoveName, given: dict[str, Any]) -> None:
    """Whatever the paid call came to: its facts are kept, and the job waits for its worker to cancel it."""
    job = stopped(store)
    assert store.jobs.apply(answer(job, name, **given)) is None
    assert store.jobs.get(job.id) == job
    assert known(store, job).provider_job_id == "p1"
    assert attempt(store, job).collect_at is None
    told = facts(job, "accepted", collect=True)
    line = Entry(kind="waste", amount=CENTS, attempt_id=job.attempt_id)
    ended = moved(store, step(job, MoveName.CANCEL, 3, facts=told, entries=(line,)))
    assert (ended.status, ended.claim) == (Status.CANCELLED, None)
    assert attempt(store, job).collect_at == at(3)
    assert [kind for kind, _, _ in store.ledger(job.id)] == ["reserve", "waste"]


def test_a_stopped_job_whose_worker_died_is_reconciled(store: Store) -> None:
    """The sweep frees it, it stays marked, and no answer moves it on: it is to be cancelled."""
    job = stopped(store)
    assert due(store, 30) == [job.id]
    freed = store.jobs.get(job.id)
    assert (freed.stage, freed.stopped) == (Stage.RECONCILE, True)
    assert store.jobs.apply(answer(job, MoveName.DOUBT, stage=Stage.RECONCILE)) is None


def test_a_retried_job_is_stopped_no_more(store: Store) -> None:
    """RETRY and PROVE forget the stop with the end."""
    for name, given in ((MoveName.RETRY, {"target": Status.QUEUED}), (MoveName.PROVE, {"stage": Stage.UPLOAD})):
        job = stopped(store)
        assert due(store, 30) == [job.id]
        failed = moved(store, step(job, MoveName.FAIL, 31))
        assert failed.stopped
        assert not moved(store, step(job, name, 32, **given)).stopped


# ── ends that are amended ────────────────────────────────────────────────────────────────────────────────────────


def test_a_placeholder_is_replaced_where_it_stands(store: Store) -> None:
    """REPLACE changes what is shown and has it announced; the job ended when it ended."""
    job = completed(store, admit(store), 1, placeholder=True, public_url="https://x/placeholder.png")
    shown: dict[str, Any] = {"public_url": "https://x/real.png", "placeholder": False}
    replaced = moved(store, step(job, MoveName.REPLACE, 9, until=at(20), changes=shown))
    assert replaced == replace(job, **shown, announce_at=at(20), updated_at=at(9))
    assert list(store.jobs.unannounced(at=at(20), limit=9)) == [replaced]
    assert [event.move for event in store.jobs.history(job.id)][-2:] == ["complete", "replace"]
    assert store.jobs.apply(step(admit(store), MoveName.REPLACE, 9, changes=shown)) is None


def test_an_ended_job_learns_what_it_cost(store: Store) -> None:
    """SETTLE changes the money of a failed or cancelled job, and books it; completed and live ones stay as they are."""
    job = moved(store, step(submitted(store, admit(store)), MoveName.FAIL, 1, changes={"billed": "unknown"}))
    line = Entry(kind="release", amount=CENTS, attempt_id=job.attempt_id)
    settled = moved(store, step(job, MoveName.SETTLE, 5, until=at(9), changes={"billed": "no"}, entries=(line,)))
    assert settled == replace(job, billed="no", announce_at=at(9), updated_at=at(5))
    assert [kind for kind, _, _ in store.ledger(job.id)] == ["reserve", "release"]
    for other in (admit(store), completed(store, admit(store))):
        assert store.jobs.apply(step(other, MoveName.SETTLE, 5)) is None


# ── other ids ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_another_id_stands_for_a_job_or_a_batch(store: Store) -> None:
    """Written once however often it is said, in order, and back with the row; the job's own progress is untouched."""
    batch, jobs = new_batch(1)
    store.jobs.admit(jobs, batch, worker="w1")
    one, two = uuid4(), uuid4()
    for alias in (one, two, one):
        row = store.jobs.alias(alias, jobs[0].id, batch=False)
    assert row == store.jobs.get(jobs[0].id) == replace(jobs[0], aliases=(one, two))
    assert store.jobs.alias(two, batch.id, batch=True) == replace(batch, aliases=(two,))
    assert store.jobs.get_batch(batch.id)[0].aliases == (two,)
    for identity, of_batch in ((uuid4(), False), (uuid4(), True), (batch.id, False), (jobs[0].id, True)):
        with pytest.raises(NotFound):
            store.jobs.alias(one, identity, batch=of_batch)


# ── attempts ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_attempt_is_told_whole(store: Store) -> None:
    """The intent with its token, and what was learnt; found by its order too, the newest first."""
    job = accepted(store, admit(store), 3)
    found = attempt(store, job)
    assert (found.job_id, found.number, found.provider, found.model) == (job.id, 1, "fal", "nano-banana")
    assert (found.state, found.provider_job_id, found.submitted_at) == ("accepted", "p1", at(3))
    assert (found.estimate, found.emulated, found.collects, len(found.token)) == (CENTS, False, 0, 32)
    assert found.token not in repr(found)
    assert store.jobs.ordered("fal", "p1") == found
    newer = accepted(store, admit(store), 4)
    assert store.jobs.ordered("fal", "p1") == attempt(store, newer)
    assert store.jobs.ordered("kie", "p1") is None
    assert store.jobs.ordered("fal", "p2") is None


# ── slots and queues ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", [MoveName.SUBMIT, MoveName.HOLD, MoveName.REUSE, MoveName.FAIL, MoveName.CANCEL])
def test_a_slot_is_used_once(store: Store, name: MoveName) -> None:
    """Bought, parked, not needed or ended: the job has no slot any more."""
    job = claimed(store, admit(store, slot_at=at(0)))
    assert job.slot_at == at(0)
    assert moved(store, step(job, name, 1)).slot_at is None


def test_a_lost_workers_slot_is_lost(store: Store) -> None:
    """The sweep queues its job again, to wait for another slot."""
    job = claimed(store, admit(store, slot_at=at(0)))
    assert due(store, 30) == [job.id]
    assert store.jobs.get(job.id).slot_at is None


@pytest.mark.parametrize("reason", ["pace", "in_flight"])
def test_who_waits_for_a_slot_is_not_hinted_at(store: Store, reason: str) -> None:
    """Taken by the sweep only with its slot given, or to end it at its deadline."""
    waits = admit(store, waiting_for=reason, deadline_at=at(60))
    given = admit(store, waiting_for="pace", slot_at=at(5), next_run_at=at(4))
    paused = admit(store, waiting_for="paused")
    assert set(due(store, 4)) == {given.id, paused.id}
    assert waits.id not in due(store, 59)
    assert waits.id in due(store, 60)


def test_a_crowded_queue_gets_no_second_hint(store: Store) -> None:
    """First hints are sent, repeated ones not for a while: the first most likely waits in the queue."""
    job, other = admit(store), accepted(store, admit(store))
    assert due(store, 30, Stage.GENERATE) == [job.id, other.id]
    assert due(store, 35, Stage.GENERATE) == [other.id]
    assert due(store, 34 + PATIENCE, Stage.GENERATE, Stage.POLL) == []
    assert due(store, 35 + PATIENCE, Stage.GENERATE, Stage.POLL) == [job.id]


def test_a_crowded_queue_keeps_no_lost_workers_job(store: Store) -> None:
    """Leases that ran out and deadlines that passed are seen to, however long the queue."""
    crowded = frozenset(Stage)
    held, bought = claimed(store, admit(store)), submitted(store, admit(store))
    upload = claimed(store, delivered(store, admit(store)), MoveName.PUBLISH)
    over = admit(store, deadline_at=at(20), hints=3)
    paid = admit(store, status=Status.UPLOADING, stage=Stage.UPLOAD, deadline_at=at(20), hints=3)
    assert set(due(store, 30, *crowded)) == {held.id, bought.id, upload.id, over.id}
    assert paid.id in due(store, PATIENCE, *crowded)
