"""The port `Jobs`, in memory and on PostgreSQL: what keeps hints and late decisions from moving a job."""

from __future__ import annotations

from uuid import uuid4

from imagegen.states import MoveName, Stage, Status
from tests.jobs_kit import Store, accepted, admit, at, claimed, delivered, moved, step

pytest_plugins = ["tests.stores"]


def test_a_parked_job_is_left_alone_until_its_time(store: Store) -> None:
    """However many hints ask for it: a job that rests is taken when its time has come, or when it was woken."""
    job = admit(store)
    held = claimed(store, job)
    moved(store, step(job, MoveName.HOLD, 1, stage=Stage.GENERATE, held=held.claim, waiting_for="rate_limit"))
    assert store.jobs.claim(step(job, MoveName.CLAIM, 30, claim=uuid4()), None) is None
    store.wake(job.id, at(2))
    assert claimed(store, job, seconds=2).status is Status.PROCESSING
    arrived = delivered(store, admit(store))
    held = claimed(store, arrived, MoveName.PUBLISH, 1)
    moved(store, step(arrived, MoveName.BACKOFF, 2, stage=Stage.UPLOAD, held=held.claim, waiting_for="storage"))
    assert store.jobs.claim(step(arrived, MoveName.PUBLISH, 31, claim=uuid4()), None) is None
    assert claimed(store, arrived, MoveName.PUBLISH, 32).claim is not None


def test_a_move_may_insist_on_where_it_saw_the_job(store: Store) -> None:
    """An end decided on an older look at the job finds nothing once the job has moved on."""
    job = accepted(store, admit(store))
    elsewhere = [(Status.QUEUED, None), (Status.GENERATING, Stage.RECONCILE), (Status.UPLOADING, Stage.POLL)]
    for seen in elsewhere:
        assert store.jobs.apply(step(job, MoveName.FAIL, 1, seen=seen)) is None
    there = store.jobs.apply(step(job, MoveName.FAIL, 1, seen=(Status.GENERATING, Stage.POLL)))
    assert there is not None
    other = accepted(store, admit(store))
    assert store.jobs.apply(step(other, MoveName.FAIL, 1, seen=(Status.GENERATING, None))) is not None


def test_a_move_may_insist_on_the_run_that_it_saw(store: Store) -> None:
    """What was decided on an earlier run finds nothing, though the job stands as it stood then."""
    job = accepted(store, admit(store))
    assert store.jobs.apply(step(job, MoveName.FAIL, 1, run=2)) is None
    failed = store.jobs.apply(step(job, MoveName.FAIL, 1, run=1))
    assert failed is not None
    again = {"stage": Stage.GENERATE, "target": Status.QUEUED, "seen": (Status.FAILED, failed.stage), "run": 1}
    assert store.jobs.apply(step(failed, MoveName.RETRY, 2, **again)) is not None
    second = accepted(store, job)
    failed = store.jobs.apply(step(second, MoveName.FAIL, 3, run=2))
    assert failed is not None
    assert store.jobs.apply(step(failed, MoveName.RETRY, 4, **again)) is None
