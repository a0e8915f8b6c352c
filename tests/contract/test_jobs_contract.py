"""One suite for the port `Jobs`, in memory and on PostgreSQL: admission, claims, moves, money and history."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from imagegen.errors import IdempotencyConflict, InvalidRequest, NotFound
from imagegen.records import Entry, JobFilter
from imagegen.states import BatchStatus, MoveName, Stage, Status
from tests.jobs_kit import (
    CENTS,
    Store,
    accepted,
    admit,
    at,
    claimed,
    completed,
    delivered,
    facts,
    known,
    moved,
    new_batch,
    new_job,
    step,
    submitted,
)

pytest_plugins = ["tests.stores"]


def test_a_job_comes_back_as_it_was_admitted(store: Store) -> None:
    """Every field survives admission, with its history begun and no ledger line yet."""
    job = new_job(metadata={"a": [1, None, {"b": "é"}]}, scheduled_at=at(9), tried=("fal",), plan={"tier": "1K"})
    job = replace(job, aliases=(uuid4(), uuid4()), replaces=uuid4(), slot_at=at(3), stopped=True)
    admitted = store.jobs.admit([job], None, worker="w1")
    assert (admitted.created, list(admitted.jobs), admitted.batch) == (True, [job], None)
    assert store.jobs.get(job.id) == job
    assert [(event.move, event.status, event.worker) for event in store.jobs.history(job.id)] == [
        ("admit", "queued", "w1")
    ]
    assert store.ledger(job.id) == []


def test_what_is_not_there_is_said_so(store: Store) -> None:
    """Unknown ids: NotFound for jobs and batches, None or nothing elsewhere."""
    with pytest.raises(NotFound):
        store.jobs.get(uuid4())
    with pytest.raises(NotFound):
        store.jobs.get_batch(uuid4())
    unknown = new_job()
    assert store.jobs.apply(step(unknown, MoveName.FAIL)) is None
    assert store.jobs.claim(step(unknown, MoveName.CLAIM, claim=uuid4()), None) is None
    assert store.jobs.attempt(uuid4()) is None
    assert store.jobs.close_batch(uuid4(), at=at(0)) is None
    assert list(store.jobs.history(uuid4())) == []


def test_the_same_id_is_admitted_once(store: Store) -> None:
    """Resending an id gives the first row back as it stands; another body or owner under it is refused."""
    job = admit(store, body_sha256="one")
    claimed(store, job)
    again = store.jobs.admit([job], None, worker="w2")
    assert (again.created, again.jobs[0].status) == (False, Status.PROCESSING)
    for other in (replace(job, body_sha256="two"), replace(job, owner="eve")):
        with pytest.raises(IdempotencyConflict):
            store.jobs.admit([other], None, worker="w2")
    assert len(store.jobs.history(job.id)) == 2


def test_a_key_belongs_to_one_request_of_its_owner(store: Store) -> None:
    """The same owner and key find the first job under another id; another body conflicts; other owners are free."""
    job = admit(store, idempotency_key="k", body_sha256="one")
    again = store.jobs.admit([new_job(idempotency_key="k", body_sha256="one")], None, worker="w1")
    assert (again.created, again.jobs[0].id) == (False, job.id)
    with pytest.raises(IdempotencyConflict):
        admit(store, idempotency_key="k", body_sha256="two")
    assert admit(store, idempotency_key="k", body_sha256="two", owner="bob").owner == "bob"


def test_a_batch_is_admitted_whole_and_once(store: Store) -> None:
    """A batch's jobs come in input order; resent by id or by key it is the first one again, all of it."""
    batch, jobs = new_batch(3, idempotency_key="k", body_sha256="one", notify_task={"name": "n", "queue": "q"})
    batch = replace(batch, aliases=(uuid4(),))
    first = store.jobs.admit(list(reversed(jobs)), batch, worker="w1")
    assert first.created
    other, members = new_batch(3, idempotency_key="k", body_sha256="one")
    for resent, its_jobs in ((batch, jobs), (other, members)):
        again = store.jobs.admit(its_jobs, resent, worker="w1")
        assert (again.created, again.batch, list(again.jobs)) == (False, batch, jobs)
    assert store.jobs.get_batch(batch.id) == (batch, jobs)
    with pytest.raises(IdempotencyConflict):
        store.jobs.admit(jobs, replace(batch, body_sha256="two"), worker="w1")


def test_a_claim_takes_the_job_for_one_worker(store: Store) -> None:
    """The first claim wins and keeps the continuation; a second finds nothing to take."""
    job = admit(store)
    claim = uuid4()
    taken = store.jobs.claim(step(job, MoveName.CLAIM, claim=claim, changes={"started_at": at(0)}), {"chain": [1]})
    assert taken is not None
    assert (taken.job.status, taken.job.claim, taken.job.started_at) == (Status.PROCESSING, claim, at(0))
    assert (taken.job.continuation, taken.job.next_run_at, taken.cached) == ({"chain": [1]}, at(30), None)
    assert store.jobs.claim(step(job, MoveName.CLAIM, claim=uuid4()), None) is None


def test_the_first_start_stays(store: Store) -> None:
    """A job parked and claimed again keeps the time it was first started, and its stored continuation."""
    job = admit(store)
    first = store.jobs.claim(step(job, MoveName.CLAIM, claim=uuid4()), {"chain": [1]})
    assert first is not None
    moved(store, step(job, MoveName.HOLD, 1, stage=Stage.GENERATE, held=first.job.claim, waiting_for="backoff"))
    again = store.jobs.claim(step(job, MoveName.CLAIM, 31, claim=uuid4(), changes={"started_at": at(31)}), None)
    assert again is not None
    assert (again.job.started_at, again.job.continuation, again.job.waiting_for) == (at(0), {"chain": [1]}, None)


def test_a_transfer_is_taken_when_free_or_abandoned(store: Store) -> None:
    """A claimed upload is nobody else's until its lease runs out."""
    job = delivered(store, admit(store))
    held = claimed(store, job, MoveName.PUBLISH, 1)
    assert store.jobs.claim(step(job, MoveName.PUBLISH, 30, claim=uuid4()), None) is None
    taken = claimed(store, job, MoveName.PUBLISH, 31)
    assert taken.claim != held.claim
    late = step(job, MoveName.COMPLETE, 32, held=held.claim)
    assert store.jobs.apply(late) is None


def test_a_submission_commits_its_intent(store: Store) -> None:
    """SUBMIT writes the attempt, counts it, remembers the provider once and reserves its price."""
    job = submitted(store, admit(store, provider_job_id="old", result_url="https://old"))
    assert (job.status, job.attempts, job.tried) == (Status.GENERATING, 1, ("fal",))
    assert (job.provider_job_id, job.result_url) == (None, None)
    assert known(store, job) == facts(job, "submitting")
    assert store.ledger(job.id) == [("reserve", CENTS, job.attempt_id)]
    back = step(job, MoveName.REPEAT, 1, stage=Stage.GENERATE, facts=facts(job, "not_sent"))
    again = submitted(store, moved(store, back), 2)
    assert (again.attempts, again.tried, again.attempt_id != job.attempt_id) == (2, ("fal",), True)


def test_facts_outlive_a_lost_job(store: Store) -> None:
    """The answer to a paid call for a cancelled job: facts and `always` lines are kept, the job stays cancelled."""
    job = submitted(store, admit(store))
    moved(store, step(job, MoveName.CANCEL, 1))
    told = facts(job, "accepted", provider_job_id="p1", actual=Decimal("0.04"), usage={"n": 1})
    entries = (
        Entry(kind="waste", amount=Decimal("0.04"), attempt_id=job.attempt_id, always=True),
        Entry(kind="settle", amount=Decimal("0.04"), attempt_id=job.attempt_id),
    )
    late = step(job, MoveName.ACCEPT, 2, stage=Stage.POLL, facts=told, entries=entries)
    assert store.jobs.apply(late) is None
    assert known(store, job) == told
    assert [kind for kind, _, _ in store.ledger(job.id)] == ["reserve", "waste"]
    assert store.jobs.get(job.id).status is Status.CANCELLED


def test_a_repeated_commit_adds_no_second_line(store: Store) -> None:
    """A commit whose acknowledgement was lost may be sent again: each attempt has one line of a kind."""
    job = submitted(store, admit(store))
    release = Entry(kind="release", amount=CENTS, attempt_id=job.attempt_id, always=True)
    back = step(job, MoveName.REPEAT, 1, stage=Stage.GENERATE, facts=facts(job, "rejected"), entries=(release,))
    assert store.jobs.apply(back) is not None
    assert store.jobs.apply(back) is None
    assert [kind for kind, _, _ in store.ledger(job.id)] == ["reserve", "release"]


def test_not_knowing_undoes_no_knowledge(store: Store) -> None:
    """Facts add up: nulls keep what is there, and `unknown` never hides that the provider accepted."""
    job = accepted(store, admit(store))
    doubt = facts(job, "unknown", error={"code": "TEMPORARY"})
    moved(store, step(job, MoveName.FAIL, 1, facts=doubt, changes={"error_code": "DEADLINE_EXCEEDED"}))
    assert known(store, job) == facts(job, "accepted", provider_job_id="p1", error={"code": "TEMPORARY"})


def test_a_late_answer_never_moves_a_newer_attempt(store: Store) -> None:
    """Facts about an old attempt are kept, but the job, now at its second attempt, stays where it is."""
    job = submitted(store, admit(store))
    old = facts(job, "accepted", provider_job_id="late")
    moved(store, step(job, MoveName.REPEAT, 1, stage=Stage.GENERATE, facts=facts(job, "unknown")))
    newer = submitted(store, job, 2)
    assert store.jobs.apply(step(job, MoveName.ACCEPT, 3, stage=Stage.POLL, facts=old)) is None
    assert known(store, replace(job, attempt_id=old.attempt_id)) == old
    assert store.jobs.get(job.id) == newer


def test_completion_feeds_the_cache(store: Store) -> None:
    """The next claim of the same fingerprint finds the picture; a fresh job, or one of the other world, does not."""
    job = completed(store, admit(store, fingerprint="f"), 1)
    assert (job.status, job.completed_at, job.next_run_at, job.claim) == (Status.COMPLETED, at(1), None, None)
    assert [kind for kind, _, _ in store.ledger(job.id)] == ["reserve", "settle"]
    found = store.jobs.claim(step(admit(store, fingerprint="f"), MoveName.CLAIM, claim=uuid4()), None)
    assert found is not None
    assert found.cached is not None
    assert (found.cached.blob_sha256, found.cached.content_type) == ("b" * 64, "image/png")
    assert (found.cached.width, found.cached.height, found.cached.bytes) == (1344, 768, 4711)
    assert store.jobs.cached("f", emulated=False) == found.cached
    assert store.jobs.cached("f", emulated=True) is None
    for other in ({"fresh": True}, {"emulated": True}):
        taken = store.jobs.claim(step(admit(store, fingerprint="f", **other), MoveName.CLAIM, claim=uuid4()), None)
        assert taken is not None
        assert taken.cached is None


@pytest.mark.parametrize("changes", [{"placeholder": True}, {"cache_hit": True}])
def test_only_bought_pictures_are_cached(store: Store, changes: dict[str, bool]) -> None:
    """A placeholder or a cache hit never becomes the cached picture of a fingerprint."""
    completed(store, admit(store, fingerprint="f"), 1, **changes)
    assert store.jobs.cached("f", emulated=False) is None


def test_a_failure_says_what_was_being_done(store: Store) -> None:
    """`failure_stage` follows from where the job stood, unless the move knows better."""
    error = {"error_code": "TEMPORARY", "error_message": "m", "error_retryable": True, "billed": "unknown"}
    queued = moved(store, step(admit(store), MoveName.FAIL, changes=error))
    assert (queued.failure_stage, queued.error_code, queued.billed) == ("processing", "TEMPORARY", "unknown")
    assert moved(store, step(submitted(store, admit(store)), MoveName.FAIL)).failure_stage == "generating"
    assert moved(store, step(delivered(store, admit(store)), MoveName.FAIL)).failure_stage == "uploading"
    known = step(delivered(store, admit(store)), MoveName.FAIL, changes={"failure_stage": "persisting"})
    assert moved(store, known).failure_stage == "persisting"


def test_a_retry_goes_on_where_it_failed(store: Store) -> None:
    """RETRY forgets the error, counts the run, and starts at the given status and stage."""
    job = moved(store, step(delivered(store, admit(store)), MoveName.FAIL, 1, changes={"error_code": "STORAGE_ERROR"}))
    again = moved(store, step(job, MoveName.RETRY, 2, target=Status.UPLOADING, stage=Stage.UPLOAD))
    assert (again.status, again.stage, again.run) == (Status.UPLOADING, Stage.UPLOAD, 2)
    assert (again.error_code, again.failure_stage, again.completed_at) == (None, None, None)
    assert again.next_run_at == at(32)
    assert store.jobs.apply(step(job, MoveName.RETRY, 2, target=Status.QUEUED)) is None
    assert [event.run for event in store.jobs.history(job.id)][-1] == 2


def test_a_wake_up_during_work_is_not_lost(store: Store) -> None:
    """A callback that comes while the order is being placed makes the parked job due at once, and only once."""
    job = submitted(store, admit(store))
    store.wake(job.id, at(1))
    parked = step(job, MoveName.ACCEPT, 2, stage=Stage.POLL, parked=True, waiting_for="provider")
    woken = moved(store, parked)
    assert (woken.next_run_at, woken.woken) == (at(2), False)
    calm = accepted(store, admit(store))
    assert calm.next_run_at == at(30)


def test_an_end_is_told_until_it_is_acknowledged(store: Store) -> None:
    """An ended job with `until` is unannounced from then on, until `announced`."""
    job = moved(store, step(admit(store), MoveName.CANCEL, 1, until=at(20)))
    assert job.announce_at == at(20)
    moved(store, step(admit(store), MoveName.CANCEL, 1))
    assert list(store.jobs.unannounced(at=at(19), limit=9)) == []
    assert list(store.jobs.unannounced(at=at(20), limit=9)) == [job]
    store.jobs.announced([job.id])
    assert list(store.jobs.unannounced(at=at(99), limit=9)) == []


def test_a_live_job_always_has_a_next_time(store: Store) -> None:
    """A move that leaves a job live without `until` is a programming error, and changes nothing."""
    job = admit(store)
    with pytest.raises(ValueError, match="until"):
        store.jobs.claim(step(job, MoveName.CLAIM, claim=uuid4(), until=None), None)
    assert store.jobs.get(job.id) == job


def test_a_retry_needs_its_target(store: Store) -> None:
    """RETRY without a target is a programming error, and changes nothing."""
    job = moved(store, step(admit(store), MoveName.FAIL))
    with pytest.raises(ValueError, match="target"):
        store.jobs.apply(step(job, MoveName.RETRY))
    assert store.jobs.get(job.id) == job


@pytest.mark.parametrize("changes", [{"status": "completed"}, {"claim": None}, {"stage": "upload"}])
def test_a_move_decides_its_own_columns(store: Store, changes: dict[str, Any]) -> None:
    """What the guard protects cannot come in through `changes`."""
    with pytest.raises(ValueError, match=next(iter(changes))):
        store.jobs.apply(step(admit(store), MoveName.CANCEL, changes=changes))


def test_history_tells_every_move_in_order(store: Store) -> None:
    """The events of one job, oldest first, each with its cause and detail."""
    job = completed(store, admit(store))
    told = store.jobs.history(job.id)
    assert [event.move for event in told] == ["admit", "claim", "submit", "deliver", "publish", "complete"]
    assert [event.status for event in told][-2:] == ["uploading", "completed"]
    assert told[-1].detail["picture"]["width"] == 1344
    assert sorted(event.id for event in told) == [event.id for event in told]


def test_pages_follow_each_other_without_gaps(store: Store) -> None:
    """Newest first; the cursor gives the next page, the last page none; filters narrow."""
    jobs = [admit(store, created_at=at(n // 2), owner="ada" if n < 5 else "bob") for n in range(7)]
    seen, cursor = [], None
    for _ in range(9):
        page, cursor = store.jobs.list(JobFilter(), limit=3, cursor=cursor)
        seen += page
        if cursor is None:
            break
    assert [job.id for job in seen] == [
        job.id for job in sorted(jobs, key=lambda job: (job.created_at, job.id), reverse=True)
    ]
    owned, _ = store.jobs.list(JobFilter(owner="bob", status="queued", since=at(1), until=at(9)))
    assert {job.owner for job in owned} == {"bob"}
    assert list(store.jobs.list(JobFilter(status="completed"))[0]) == []
    moved(store, step(jobs[0], MoveName.FAIL, changes={"error_code": "TEMPORARY"}))
    other = admit(store, replaces=jobs[0].id)
    assert [job.id for job in store.jobs.list(JobFilter(replaces=jobs[0].id))[0]] == [other.id]
    assert [job.id for job in store.jobs.list(JobFilter(code="TEMPORARY", job_type="master_asset"))[0]] == [jobs[0].id]


@pytest.mark.parametrize("cursor", ["", "x", "WyJub3ciXQ", "e30", "bnVsbA", "ÿ", "AAAA===="])
def test_a_bad_cursor_is_named(store: Store, cursor: str) -> None:
    """A cursor that is not ours is the caller's mistake: InvalidRequest on `cursor`."""
    with pytest.raises(InvalidRequest) as raised:
        store.jobs.list(JobFilter(), cursor=cursor)
    assert [problem["field"] for problem in raised.value.problems] == ["cursor"]


def test_latencies_are_the_newest_attempts(store: Store) -> None:
    """Seconds from submission to picture, newest first, of one provider and model."""
    for seconds in (1, 2):
        job = accepted(store, admit(store), seconds)
        told = facts(job, "succeeded", result_url="https://p/1.png")
        move = step(job, MoveName.DELIVER, seconds + 4 * seconds, stage=Stage.DOWNLOAD, facts=told)
        moved(store, move)
    accepted(store, admit(store))
    assert list(store.jobs.latencies("fal", "nano-banana")) == [8.0, 4.0]
    assert list(store.jobs.latencies("fal", "nano-banana", limit=1)) == [8.0]
    assert list(store.jobs.latencies("kie", "nano-banana")) == []


@pytest.mark.parametrize(
    ("ends", "outcome"),
    [
        ([MoveName.COMPLETE, MoveName.COMPLETE], BatchStatus.COMPLETED),
        ([MoveName.COMPLETE, MoveName.FAIL], BatchStatus.PARTIAL),
        ([MoveName.COMPLETE, MoveName.CANCEL], BatchStatus.PARTIAL),
        ([MoveName.FAIL, MoveName.CANCEL], BatchStatus.FAILED),
        ([MoveName.CANCEL, MoveName.CANCEL], BatchStatus.CANCELLED),
    ],
)
def test_a_batch_ends_as_its_members_did(store: Store, ends: list[MoveName], outcome: BatchStatus) -> None:
    """A batch closes once, when its last member has ended, with the status its members give it."""
    batch, jobs = new_batch(2)
    store.jobs.admit(jobs, batch, worker="w1")
    assert store.jobs.get_batch(batch.id)[0].status is BatchStatus.QUEUED
    for number, (job, end) in enumerate(zip(jobs, ends, strict=True)):
        assert store.jobs.close_batch(batch.id, at=at(5)) is None
        if end is MoveName.COMPLETE:
            completed(store, job)
        else:
            moved(store, step(job, end))
        status = store.jobs.get_batch(batch.id)[0].status
        assert number == 1 or status is BatchStatus.RUNNING
    assert list(store.jobs.unclosed_batches(limit=5)) == [batch.id]
    closed = store.jobs.close_batch(batch.id, at=at(6))
    assert closed is not None
    assert (closed.status, closed.completed_at) == (outcome, at(6))
    assert store.jobs.close_batch(batch.id, at=at(7)) is None
    assert list(store.jobs.unclosed_batches(limit=5)) == []
    assert store.jobs.get_batch(batch.id)[0] == closed


def test_a_retry_reopens_its_batch(store: Store) -> None:
    """Retrying a member of a closed batch opens the batch again, as its next run; then it closes again."""
    batch, jobs = new_batch(1)
    store.jobs.admit(jobs, batch, worker="w1")
    moved(store, step(jobs[0], MoveName.FAIL))
    store.jobs.close_batch(batch.id, at=at(1))
    moved(store, step(jobs[0], MoveName.RETRY, 2, target=Status.QUEUED, stage=Stage.GENERATE))
    reopened = store.jobs.get_batch(batch.id)[0]
    assert (reopened.status, reopened.completed_at, reopened.run) == (BatchStatus.RUNNING, None, 2)
    assert store.jobs.close_batch(batch.id, at=at(3)) is None
    completed(store, jobs[0], 3)
    closed = store.jobs.close_batch(batch.id, at=at(4))
    assert closed is not None
    assert closed.status is BatchStatus.COMPLETED


def test_a_proof_revives_an_ended_job(store: Store) -> None:
    """A paid picture that turns up after the end leads to the upload, and the job's end is forgotten."""
    job = moved(store, step(submitted(store, admit(store)), MoveName.CANCEL, 1, until=at(9)))
    told = facts(job, "succeeded", blob_sha256="c" * 64)
    back = moved(store, step(job, MoveName.PROVE, 2, stage=Stage.UPLOAD, facts=told, changes={"blob_sha256": "c" * 64}))
    assert (back.status, back.completed_at, back.announce_at, back.run) == (Status.UPLOADING, None, None, 1)
    assert back.next_run_at == at(2) + timedelta(seconds=30)
