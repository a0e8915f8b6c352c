"""The outbox, on the double and on PostgreSQL alike: written by the end itself, handed out once, never forgotten."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from imagegen import policies
from imagegen.errors import InvalidRequest, NotFound
from imagegen.jobs import Batch, Job
from imagegen.outbox import Delivery, Sending, State, Target, Told
from imagegen.ports_deliveries import DeliveryFilter, Due
from imagegen.records import Move
from imagegen.states import MoveName, Stage, Status
from tests.jobs_kit import NOW, Store, admit, at, completed, facts, moved, new_batch, step, submitted

pytest_plugins = ["tests.stores"]
URL = "https://shop.example/hook?key=1"
TASK = {"name": "shop.pictures", "queue": "shop"}
WANTS = {"request": {"prompt": "a fox", "callbackUrl": URL, "notifyTask": TASK}}
HOOK = {"request": {"prompt": "a fox", "callbackUrl": URL}}
HELD, LEASE = policies.DELIVERY_HINT.total_seconds(), policies.DELIVERY_LEASE.total_seconds()


def outbox(store: Store, **where: Any) -> list[Delivery]:
    found, more = store.deliveries.list(DeliveryFilter(**where))
    assert more is None
    return sorted(found, key=lambda one: (one.at, one.event_id, one.target))


def failed(store: Store, job: Job, seconds: float = 1) -> Job:
    changes = {"error_code": "TEMPORARY", "error_message": "it rains", "error_retryable": True}
    return moved(store, step(job, MoveName.FAIL, seconds, changes=changes))


def due(store: Store, seconds: float, limit: int = 9) -> list[Due]:
    return list(store.deliveries.due(at=at(seconds), limit=limit))


def one(store: Store, **given: Any) -> Delivery:
    """The delivery of a job that failed a second after the beginning."""
    failed(store, admit(store, **{**HOOK, **given}))
    (found,) = outbox(store)
    return found


def sending(seconds: float, **given: Any) -> Sending:
    return Sending(at=at(seconds), ms=12, **given)


def test_an_end_is_written_for_each_target(store: Store) -> None:
    """A row for the URL and one for the task, due at once, with the document as the end left it."""
    job = admit(store, **WANTS, metadata={"order": 7}, tried=("fal",))
    end = completed(store, job, 3, public_url="https://cdn.example/a.png")
    task, hook = outbox(store)
    assert (hook.target, hook.address, task.target, task.address) == (Target.WEBHOOK, URL, Target.TASK, TASK)
    for row in (hook, task):
        assert (row.event_id, row.kind) == (f"job_{job.id}_1_completed", "image.job.completed")
        assert (row.owner, row.job_id, row.batch_id, row.attempts, row.log) == ("ada", job.id, None, 0, ())
        assert (row.state, row.at, row.since, row.due_at, row.held_until) == (State.DUE, at(3), at(3), at(3), None)
        assert row.document == end.document().json_document()
        assert store.deliveries.get(row.id) == row
    assert hook.task_id == task.task_id


def test_nobody_is_told_who_did_not_ask(store: Store) -> None:
    """A job without targets leaves no row, nor does a move that ends nothing."""
    completed(store, admit(store))
    submitted(store, admit(store, **WANTS))
    assert outbox(store) == []


def test_an_end_that_did_not_happen_is_not_told(store: Store) -> None:
    """Only the winner of an end writes the row, however many tried."""
    job = admit(store, **HOOK)
    failed(store, job)
    assert store.jobs.apply(step(job, MoveName.CANCEL, 2)) is None
    assert [row.kind for row in outbox(store)] == ["image.job.failed"]


def test_each_run_has_its_own_end(store: Store) -> None:
    """A retried job is told of again, under another id; the first document stays what it was."""
    job = failed(store, admit(store, **HOOK))
    again = moved(store, step(job, MoveName.RETRY, 2, target=Status.QUEUED, stage=Stage.GENERATE))
    moved(store, step(again, MoveName.CANCEL, 4))
    first, second = outbox(store)
    assert (first.event_id, second.event_id) == (f"job_{job.id}_1_failed", f"job_{job.id}_2_cancelled")
    assert (first.document["error"]["code"], first.document["run"]) == ("TEMPORARY", 1)
    assert (second.document["status"], second.document["run"]) == ("cancelled", 2)


def test_the_same_end_again_is_the_same_event(store: Store) -> None:
    """A job that late proof reopened and that fails once more in the same run is not told of twice."""
    job = submitted(store, admit(store, **HOOK))
    failed(store, job)
    proof = facts(job, "succeeded", blob_sha256="b" * 64)
    again = moved(store, step(job, MoveName.PROVE, 5, stage=Stage.UPLOAD, facts=proof))
    failed(store, again, 6)
    assert len(outbox(store)) == 1


def test_a_replaced_placeholder_is_told(store: Store) -> None:
    """The job's own targets hear of the picture that took the placeholder's place."""
    job = admit(store, **HOOK)
    moved(store, step(job, MoveName.STAND_IN, 1, changes={"placeholder": True}))
    moved(store, step(job, MoveName.REPLACE, 9, changes={"placeholder": False, "public_url": "https://cdn/x.png"}))
    first, second = outbox(store)
    assert (first.kind, second.kind) == ("image.job.completed", "image.job.replaced")
    assert (first.document["placeholder"], second.document["placeholder"]) == (True, False)
    assert second.event_id == f"job_{job.id}_1_replaced"


def ended_batch(store: Store, **given: Any) -> tuple[Batch, list[Job]]:
    """A closed batch of three: one with its picture, one cancelled, one failed."""
    batch, jobs = new_batch(3, **given)
    good, gone, bad = store.jobs.admit(jobs, batch, worker="w1").jobs
    completed(store, good)
    moved(store, step(gone, MoveName.CANCEL))
    failed(store, bad)
    closed = store.jobs.close_batch(batch.id, at=at(7))
    assert closed is not None
    return closed, [good, gone, bad]


def test_a_batch_is_told_of_once(store: Store) -> None:
    """Its own targets hear of the whole, with its members in input order; the members tell nobody."""
    batch, jobs = ended_batch(store, callback_url=URL, notify_task=TASK)
    task, hook = outbox(store)
    assert (hook.address, task.address) == (URL, TASK)
    for row in (hook, task):
        assert (row.event_id, row.kind) == (f"batch_{batch.id}_1_partial", "image.batch.partial")
        assert (row.at, row.batch_id, row.job_id, row.owner) == (at(7), batch.id, None, "ada")
        assert row.document == batch.document(store.jobs.get_batch(batch.id)[1]).json_document()
        assert [one["jobId"] for one in row.document["jobs"]] == [str(job.id) for job in jobs]
    assert store.jobs.close_batch(batch.id, at=at(8)) is None
    assert len(outbox(store, batch_id=batch.id)) == 2


def test_a_batch_without_targets_tells_nobody(store: Store) -> None:
    """No row."""
    ended_batch(store)
    assert outbox(store) == []


def test_a_reopened_batch_ends_under_another_id(store: Store) -> None:
    """A member's retry reopens the batch: its second end is an event of its own."""
    batch, (_, _, bad) = ended_batch(store, callback_url=URL)
    again = moved(store, step(bad, MoveName.RETRY, 8, target=Status.QUEUED, stage=Stage.GENERATE))
    completed(store, again, 9)
    assert store.jobs.close_batch(batch.id, at=at(10)) is not None
    assert [row.event_id for row in outbox(store)] == [f"batch_{batch.id}_{run}_partial" for run in (1, 2)]


def test_a_members_replacement_is_told_to_its_batch(store: Store) -> None:
    """The batch's targets heard of a placeholder, so they hear of the picture too."""
    batch, jobs = new_batch(1, callback_url=URL)
    (job,) = store.jobs.admit(jobs, batch, worker="w1").jobs
    moved(store, step(job, MoveName.STAND_IN, 1, changes={"placeholder": True}))
    assert store.jobs.close_batch(batch.id, at=at(2)) is not None
    moved(store, step(job, MoveName.REPLACE, 9, changes={"placeholder": False}))
    first, second = outbox(store)
    assert (first.kind, second.kind, second.address) == ("image.batch.completed", "image.job.replaced", URL)


def test_due_ones_are_handed_out_once(store: Store) -> None:
    """The longest due first, each left alone while its hint may be under way, and out again after it."""
    jobs = [failed(store, admit(store, **HOOK), seconds) for seconds in (2, 1, 3)]
    by_job = {row.job_id: row.id for row in outbox(store)}
    second, first, third = (by_job[job.id] for job in jobs)
    assert due(store, 0.5) == []
    assert due(store, 2) == [Due(first, 1), Due(second, 1)]
    assert due(store, 3) == [Due(third, 1)]
    assert due(store, 2 + HELD) == [Due(first, 1), Due(second, 1)]


def test_no_more_than_the_limit_are_out(store: Store) -> None:
    """What was handed out or taken counts until it is settled."""
    for seconds in range(4):
        failed(store, admit(store, **HOOK), seconds)
    (first, _) = due(store, 5, limit=2)
    taken = store.deliveries.take(first.id, 1, at=at(6))
    assert taken is not None
    assert due(store, 6, limit=2) == []
    assert len(due(store, 6, limit=3)) == 1
    store.deliveries.settle(taken, sending(7, status=200), Told(State.DELIVERED))
    assert len(due(store, 7, limit=3)) == 1


def test_an_attempt_is_begun_once(store: Store) -> None:
    """The second message of the same attempt finds it begun; one that comes before its time finds nothing."""
    row = one(store)
    take = store.deliveries.take
    assert take(row.id, 1, at=at(0)) is None
    assert take(uuid4(), 1, at=at(2)) is None
    taken = take(row.id, 1, at=at(2))
    assert taken == replace(row, attempts=1, held_until=at(2 + LEASE))
    assert take(row.id, 1, at=at(2)) is None


def test_a_lost_courier_s_delivery_comes_back(store: Store) -> None:
    """Begun and never settled, it is handed out again after its lease, as the next attempt."""
    row = one(store)
    assert store.deliveries.take(row.id, 1, at=at(2)) is not None
    assert due(store, 2 + LEASE - 1) == []
    assert due(store, 2 + LEASE) == [Due(row.id, 2)]


def test_attempts_are_noted(store: Store) -> None:
    """State, time of the next attempt, and a line for each in the log, oldest first."""
    row = one(store)
    first = store.deliveries.take(row.id, 1, at=at(2))
    assert first is not None
    refused = sending(3, status=500, error="the receiver answers 500")
    store.deliveries.settle(first, refused, Told(State.DUE, at(8)))
    assert due(store, 7) == []
    assert due(store, 8) == [Due(row.id, 2)]
    second = store.deliveries.take(row.id, 2, at=at(8))
    assert second is not None
    store.deliveries.settle(second, sending(9, status=204), Told(State.DELIVERED))
    end = store.deliveries.get(row.id)
    assert (end.state, end.due_at, end.held_until, end.attempts) == (State.DELIVERED, None, None, 2)
    assert end.log == (refused, sending(9, status=204))
    assert due(store, 9999) == []


@pytest.mark.parametrize("told", [Told(State.DUE, at(99)), Told(State.DELIVERED)], ids=["failed", "delivered"])
def test_a_late_courier_undoes_nothing(store: Store, told: Told) -> None:
    """Who was given up for lost adds his line; only if he did deliver does it change how the delivery stands."""
    row = one(store)
    late = store.deliveries.take(row.id, 1, at=at(2))
    newer = store.deliveries.take(row.id, 2, at=at(2 + LEASE))
    assert late is not None
    assert newer is not None
    store.deliveries.settle(late, sending(50), told)
    end = store.deliveries.get(row.id)
    expected = replace(newer, log=(sending(50),))
    delivered = replace(expected, state=State.DELIVERED, due_at=None)
    assert end == (delivered if told.state is State.DELIVERED else expected)


def test_a_delivery_is_made_again_by_hand(store: Store) -> None:
    """Due at once under the same event id, with another day to go; what was logged stays."""
    row = one(store)
    taken = store.deliveries.take(row.id, 1, at=at(2))
    assert taken is not None
    store.deliveries.settle(taken, sending(3, status=410), Told(State.DISABLED))
    again = store.deliveries.redeliver(row.id, at=at(99))
    assert (again.state, again.due_at, again.since, again.at) == (State.DUE, at(99), at(99), at(1))
    assert (again.event_id, again.log) == (row.event_id, (sending(3, status=410),))
    assert due(store, 99) == [Due(row.id, 2)]
    for call in (store.deliveries.get, lambda key: store.deliveries.redeliver(key, at=NOW)):
        with pytest.raises(NotFound):
            call(uuid4())


def test_lists_go_page_by_page(store: Store) -> None:
    """Newest first, filtered, each once over the pages; a cursor of somebody else's is refused."""
    for seconds in range(5):
        failed(store, admit(store, **HOOK, owner="ada" if seconds % 2 else "bob"), seconds)
    whole = outbox(store)[::-1]
    page, cursor = store.deliveries.list(DeliveryFilter(), limit=2)
    rest, end = store.deliveries.list(DeliveryFilter(), limit=3, cursor=cursor)
    assert ([*page, *rest], end) == (whole, None)
    assert [row.owner for row in outbox(store, owner="ada")] == ["ada", "ada"]
    assert outbox(store, state=State.FAILED) == []
    assert outbox(store, job_id=whole[0].job_id) == [whole[0]]
    with pytest.raises(InvalidRequest):
        store.deliveries.list(DeliveryFilter(), cursor="nonsense")


def test_the_outbox_writes_for_moves_made_at_the_same_time(store: Store) -> None:
    """The row's time is the end's own, with microseconds and zone."""
    moment = NOW + timedelta(microseconds=1)
    job = admit(store, **HOOK)
    move: Move = replace(step(job, MoveName.CANCEL), at=moment)
    moved(store, move)
    assert [row.at for row in outbox(store)] == [moment]
