"""The port `Jobs`, in memory and on PostgreSQL: paid pictures of ended jobs are looked for until they are had."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from imagegen import policies
from imagegen.jobs import Job
from imagegen.records import Attempt, Entry, Facts, Settled
from imagegen.states import MoveName, Stage, Status
from tests.jobs_kit import CENTS, Store, accepted, admit, at, attempt, facts, known, moved, step, submitted

pytest_plugins = ["tests.stores"]

EVERY = policies.COLLECT_EVERY.total_seconds()
BLOB = "d" * 64
PICTURE = {"width": 1344, "height": 768, "bytes": 4711, "content_type": "image/webp"}


def collectable(store: Store, seconds: float, limit: int = 9) -> list[Attempt]:
    """What a sweep `seconds` after the beginning hands out."""
    return list(store.jobs.collectable(at=at(seconds), limit=limit))


def given_up(store: Store, seconds: float = 1, **fields: Any) -> Job:
    """A job that ended in doubt, its picture to be looked for from then on."""
    job = submitted(store, admit(store, **fields))
    told = facts(job, "unknown", collect=True)
    return moved(store, step(job, MoveName.FAIL, seconds, facts=told, changes={"billed": "unknown"}))


@pytest.mark.parametrize("known", [{"provider_job_id": "p1"}, {"result_url": "https://p/1"}, {"blob_sha256": BLOB}])
def test_a_late_answer_is_collected(store: Store, known: dict[str, str]) -> None:
    """The job had ended when its answer named an order or a picture: the attempt is due from then on."""
    job = submitted(store, admit(store))
    moved(store, step(job, MoveName.CANCEL, 1))
    late = step(job, MoveName.ACCEPT, 2, stage=Stage.POLL, facts=facts(job, "accepted", **known))
    assert store.jobs.apply(late) is None
    assert collectable(store, 1) == []
    assert [one.id for one in collectable(store, 2)] == [job.attempt_id]


def test_a_late_answer_without_a_picture_is_not(store: Store) -> None:
    """Nothing was taken: there is nothing to look for."""
    job = submitted(store, admit(store))
    moved(store, step(job, MoveName.CANCEL, 1))
    assert store.jobs.apply(step(job, MoveName.REPEAT, 2, facts=facts(job, "rejected", error={"code": "X"}))) is None
    assert attempt(store, job).collect_at is None


def test_an_answer_that_moves_its_job_is_not_collected(store: Store) -> None:
    """The job goes on with the picture by itself, even out of its end; nor is one that a live job has no use for."""
    job = accepted(store, admit(store))
    assert attempt(store, job).collect_at is None
    again = step(job, MoveName.ACCEPT, 2, stage=Stage.POLL, facts=facts(job, "accepted", provider_job_id="p1"))
    assert store.jobs.apply(again) is None
    assert attempt(store, job).collect_at is None
    ended = moved(store, step(submitted(store, admit(store)), MoveName.FAIL, 3))
    proof = facts(ended, "succeeded", blob_sha256=BLOB)
    moved(store, step(ended, MoveName.PROVE, 4, stage=Stage.UPLOAD, facts=proof))
    assert attempt(store, ended).collect_at is None


def test_a_later_fact_keeps_the_time(store: Store) -> None:
    """What is learnt afterwards never ends the looking."""
    job = given_up(store)
    later = facts(job, "unknown", error={"code": "TEMPORARY"})
    assert store.jobs.apply(step(job, MoveName.ACCEPT, 2, stage=Stage.POLL, facts=later)) is None
    assert attempt(store, job).collect_at == at(1)


def test_only_ended_jobs_are_collected(store: Store) -> None:
    """Retried meanwhile: the job may bring the picture home itself; ended again, it is looked for once more."""
    job = given_up(store)
    moved(store, step(job, MoveName.RETRY, 2, target=Status.QUEUED, stage=Stage.GENERATE))
    assert collectable(store, 9) == []
    moved(store, step(job, MoveName.CANCEL, 10))
    assert [one.id for one in collectable(store, 11)] == [job.attempt_id]


def test_the_looking_grows_rarer_and_ends(store: Store) -> None:
    """Each handing out counts, and doubles the time to the next; the last one is the last."""
    job, seconds = given_up(store), 1.0
    for tries in range(policies.COLLECT_TRIES):
        assert collectable(store, seconds - 0.5) == []
        (found,) = collectable(store, seconds)
        seconds += EVERY * 2**tries
        again = None if tries + 1 == policies.COLLECT_TRIES else at(seconds)
        assert (found.id, found.collects, found.collect_at) == (job.attempt_id, tries + 1, again)
        assert attempt(store, job) == found
    assert collectable(store, 1e6) == []


def test_the_longest_due_come_first(store: Store) -> None:
    """No more than asked for, oldest first."""
    jobs = [given_up(store, seconds) for seconds in (3, 1, 2)]
    assert [one.job_id for one in collectable(store, 9, limit=2)] == [jobs[1].id, jobs[2].id]
    assert [one.job_id for one in collectable(store, 9)] == [jobs[0].id]


def test_what_was_collected_is_had_by_the_next(store: Store) -> None:
    """Facts, books and result cache at once; the job stays as it ended, and nothing is looked for any more."""
    job = given_up(store, fingerprint="f")
    told = facts(job, "succeeded", blob_sha256=BLOB, actual=Decimal("0.04"))
    lines = (Entry(kind="waste", amount=Decimal("0.04"), attempt_id=job.attempt_id),)
    for _ in range(2):
        store.jobs.collected(Settled(facts=told, entries=lines, picture=PICTURE), at=at(9))
    assert known(store, job) == told
    assert attempt(store, job).collect_at is None
    assert [(kind, amount) for kind, amount, _ in store.ledger(job.id)] == [
        ("reserve", CENTS),
        ("waste", Decimal("0.04")),
    ]
    assert store.jobs.get(job.id) == job
    found = store.jobs.cached("f", emulated=False)
    assert found is not None
    assert (found.blob_sha256, found.content_type) == (BLOB, "image/webp")
    assert (found.width, found.height, found.bytes) == (1344, 768, 4711)
    assert list(store.jobs.latencies("fal", "nano-banana")) == [9.0]


@pytest.mark.parametrize("picture", [None, PICTURE])
def test_nothing_to_be_had_ends_the_looking(store: Store, picture: dict[str, Any] | None) -> None:
    """Without a blob, or without a fingerprint, the cache learns nothing; the rest is written all the same."""
    job = given_up(store, fingerprint="f" if picture is None else "")
    told = facts(job, "failed", error={"code": "BAD"}, blob_sha256=None if picture is None else BLOB)
    line = Entry(kind="release", amount=CENTS, attempt_id=job.attempt_id)
    store.jobs.collected(Settled(facts=told, entries=(line,), picture=picture), at=at(9))
    assert known(store, job) == told
    assert attempt(store, job).collect_at is None
    assert [kind for kind, _, _ in store.ledger(job.id)] == ["reserve", "release"]
    assert store.jobs.cached("f" if picture is None else "", emulated=False) is None


def test_the_worlds_stay_apart(store: Store) -> None:
    """A cached picture of an emulated provider never stands for a real one."""
    job = given_up(store, fingerprint="f", emulated=True)
    told = facts(job, "succeeded", blob_sha256=BLOB)
    store.jobs.collected(Settled(facts=told, picture=PICTURE), at=at(9))
    assert store.jobs.cached("f", emulated=True) is not None
    assert store.jobs.cached("f", emulated=False) is None


def test_an_unknown_attempt_is_nothing(store: Store) -> None:
    """No row, no line, no error."""
    stranger = UUID(int=1)
    line = Entry(kind="waste", amount=CENTS, attempt_id=stranger, always=True)
    settled = Settled(facts=Facts(attempt_id=stranger, state="succeeded", blob_sha256=BLOB), entries=(line,))
    store.jobs.collected(replace(settled, picture=PICTURE), at=at(9))
    assert store.jobs.attempt(stranger) is None
    assert store.ledger(uuid4()) == []


def test_what_an_attempt_came_to_may_change_from_run_to_run(store: Store) -> None:
    """Each end adds its line unless the newest says so already; one that is sent again adds none, however late."""
    job, ends = submitted(store, admit(store)), []
    for number, kind in enumerate(("settle", "settle", "waste", "settle", "waste", "waste")):
        line = Entry(kind=kind, amount=CENTS, attempt_id=job.attempt_id, always=True, run=number + 1)
        ends.append(step(job, MoveName.FAIL, number, entries=(line,)))
        moved(store, ends[-1])
        assert store.jobs.apply(ends[-1]) is None
        moved(store, step(job, MoveName.RETRY, number, target=Status.QUEUED, stage=Stage.GENERATE))
    for end in ends:
        store.jobs.apply(end)
    assert [kind for kind, _, _ in store.ledger(job.id)] == ["reserve", "settle", "waste", "settle", "waste"]
