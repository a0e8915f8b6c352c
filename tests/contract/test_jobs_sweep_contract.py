"""One suite for the port `Jobs`, in memory and on PostgreSQL: what is due, and what a chunk of polls finds."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

from imagegen.jobs import Job
from imagegen.records import Polled
from imagegen.states import MoveName, Stage, Status
from tests.jobs_kit import CENTS, GRACE, Store, accepted, admit, at, attempt, claimed, delivered, moved, step, submitted

pytest_plugins = ["tests.stores"]


def due(store: Store, seconds: float, limit: int = 9) -> list[Job]:
    """What a sweep `seconds` after the beginning takes."""
    return list(store.jobs.due(at=at(seconds), limit=limit, grace=GRACE, worker="sweep"))


def seen(job: Job, seconds: float, url: str | None = None, actual: Decimal | None = None) -> Polled:
    """What a poll found: a picture at `url`, or nothing yet and to be asked again after `seconds`."""
    assert job.attempt_id is not None
    usage = {"images": 1} if url else None
    return Polled(
        job_id=job.id, attempt_id=job.attempt_id, until=at(seconds), result_url=url, actual=actual, usage=usage
    )


def polled(store: Store, *found: Polled, seconds: float = 31) -> list[Job]:
    """The jobs that these polls moved to their download."""
    return list(store.jobs.polled(found, at=at(seconds), worker="w1", grace=GRACE))


def test_a_lost_hint_is_sent_again_ever_more_slowly(store: Store) -> None:
    """Each taking doubles the pause until the next, twice at most, counted until the job moves."""
    job = admit(store)
    for seconds, pause in ((0, 5), (5, 10), (15, 20), (35, 20), (55, 20)):
        (taken,) = due(store, seconds)
        assert (taken.id, taken.next_run_at) == (job.id, at(seconds + pause))
        assert due(store, seconds) == []
    assert claimed(store, job, seconds=56).hints == 0
    assert [event.move for event in store.jobs.history(job.id)] == ["admit", "claim"]


def test_the_next_hint_never_waits_beyond_the_deadline(store: Store) -> None:
    """However many hints were lost, the sweep sees the job at its deadline, to end it."""
    job = admit(store, deadline_at=at(12), hints=6)
    assert due(store, 0)[0].next_run_at == at(12)
    assert [taken.id for taken in due(store, 12)] == [job.id]
    assert due(store, 13) == []
    assert due(store, 17)[0].next_run_at == at(22)


def test_what_is_not_due_is_left_alone(store: Store) -> None:
    """Scheduled jobs, live claims and ended jobs are not taken."""
    admit(store, next_run_at=at(60))
    claimed(store, admit(store))
    moved(store, step(admit(store), MoveName.CANCEL))
    assert due(store, 29) == []


def test_a_lost_workers_claim_goes_back_to_the_queue(store: Store) -> None:
    """Processing with its lease run out is queued again (HOLD), and the lost worker's claim is worth nothing."""
    held = claimed(store, admit(store))
    (freed,) = due(store, 30)
    assert (freed.status, freed.claim, freed.hints, freed.next_run_at) == (Status.QUEUED, None, 1, at(35))
    last = store.jobs.history(held.id)[-1]
    assert (last.move, last.status, last.worker) == ("hold", "queued", "sweep")
    claimed(store, held, seconds=31)
    assert store.jobs.apply(step(held, MoveName.REUSE, 32, held=held.claim, stage=Stage.UPLOAD)) is None


def test_a_lost_submission_is_reconciled_never_repeated(store: Store) -> None:
    """Generating at stage generate with its lease run out goes to reconcile (DOUBT), once; nobody can claim it."""
    job = submitted(store, admit(store))
    (doubted,) = due(store, 30)
    assert (doubted.status, doubted.stage, doubted.claim) == (Status.GENERATING, Stage.RECONCILE, None)
    assert store.jobs.claim(step(job, MoveName.CLAIM, 31, claim=uuid4()), None) is None
    assert [taken.stage for taken in due(store, 35)] == [Stage.RECONCILE]
    assert [event.move for event in store.jobs.history(job.id)][-2:] == ["submit", "doubt"]


def test_an_abandoned_transfer_is_freed_where_it_stands(store: Store) -> None:
    """Uploading with its lease run out keeps its stage, and another worker may take it."""
    job = delivered(store, admit(store))
    claimed(store, job, MoveName.PUBLISH, 1)
    (freed,) = due(store, 31)
    assert (freed.status, freed.stage, freed.claim) == (Status.UPLOADING, Stage.UPLOAD, None)
    assert claimed(store, job, MoveName.PUBLISH, 32).claim is not None


def test_the_urgent_come_first_and_the_patient_soon_after(store: Store) -> None:
    """High before normal before low; a minute of waiting lifts by one, so that a low job never starves."""
    low = admit(store, priority=9, next_run_at=at(0))
    high = admit(store, priority=0, next_run_at=at(0))
    normal = admit(store, priority=5, next_run_at=at(0))
    assert [job.id for job in due(store, 1, limit=2)] == [high.id, normal.id]
    newer = admit(store, priority=0, next_run_at=at(600))
    assert [job.id for job in due(store, 600, limit=9)][-2:] == [low.id, newer.id]


def test_a_resting_job_is_pollable_when_its_turn_comes(store: Store) -> None:
    """A poll asks only about jobs at stage poll that do not rest: never parked, hinted by the sweep, or woken."""
    job = accepted(store, admit(store))
    rests = accepted(store, admit(store), seconds=600)
    other = submitted(store, admit(store))
    assert list(store.jobs.pollable([], at=at(31))) == []
    store.wake(rests.id, at(900))
    assert list(store.jobs.pollable([rests.id, other.id, uuid4()], at=at(31))) == []
    assert {taken.id for taken in due(store, 31)} == {job.id, other.id}
    assert [found.id for found in store.jobs.pollable([job.id, rests.id, other.id], at=at(31))] == [job.id]
    store.wake(rests.id, at(0))
    assert [found.id for found in store.jobs.pollable([rests.id], at=at(31))] == [rests.id]


def test_a_running_job_rests_until_the_next_poll(store: Store) -> None:
    """Still running: due again at `until`, its hints forgotten, and no line of history for it."""
    job = accepted(store, admit(store))
    due(store, 30)
    assert polled(store, seen(job, 40)) == []
    rests = store.jobs.get(job.id)
    assert (rests.next_run_at, rests.hints, rests.waiting_for) == (at(40), 0, "provider")
    assert store.jobs.history(job.id)[-1].move == "accept"


def test_a_callback_during_a_poll_is_not_lost(store: Store) -> None:
    """Woken while the poll was on its way: due at once instead of at `until`."""
    job = accepted(store, admit(store))
    due(store, 30)
    store.wake(job.id, at(30.5))
    polled(store, seen(job, 90))
    rests = store.jobs.get(job.id)
    assert (rests.next_run_at, rests.woken) == (at(31), False)


def test_a_found_picture_moves_its_job_to_the_download(store: Store) -> None:
    """DELIVER for those with a picture, in one chunk with those without: URL, cost and facts written."""
    ready, running = accepted(store, admit(store)), accepted(store, admit(store))
    (job,) = polled(store, seen(ready, 40, "https://p/1.png", Decimal("0.05")), seen(running, 40))
    assert (job.id, job.status, job.stage) == (ready.id, Status.UPLOADING, Stage.DOWNLOAD)
    assert (job.next_run_at, job.result_url, job.waiting_for) == (at(31) + GRACE, "https://p/1.png", None)
    assert (job.cost_credits, job.billed, job.updated_at) == (Decimal("0.05"), "yes", at(31))
    bought = attempt(store, ready)
    assert (bought.state, bought.result_url, bought.provider_job_id) == ("succeeded", "https://p/1.png", "p1")
    assert (bought.actual, bought.usage, bought.collect_at) == (Decimal("0.05"), {"images": 1}, None)
    assert store.jobs.history(job.id)[-1].move == "deliver"
    assert list(store.jobs.latencies("fal", "nano-banana")) == [31.0]
    assert store.jobs.get(running.id).status is Status.GENERATING


def test_a_picture_found_after_the_end_is_remembered(store: Store) -> None:
    """The job was cancelled during the poll: it stays so, the attempt knows its picture, which is to be collected."""
    job = accepted(store, admit(store))
    moved(store, step(job, MoveName.CANCEL, 30))
    assert polled(store, seen(job, 40, "https://p/1.png", CENTS)) == []
    bought = attempt(store, job)
    assert (bought.state, bought.result_url, bought.actual) == ("succeeded", "https://p/1.png", CENTS)
    assert bought.collect_at == at(31)
    assert store.jobs.get(job.id).status is Status.CANCELLED


def test_an_answer_about_an_old_attempt_moves_nothing(store: Store) -> None:
    """The job bought again meanwhile: the old attempt's picture does not end the new one's wait."""
    job = accepted(store, admit(store))
    moved(store, step(job, MoveName.REPEAT, 1, stage=Stage.GENERATE))
    newer = accepted(store, job, seconds=2)
    assert polled(store, seen(job, 40, "https://p/1.png")) == []
    assert store.jobs.get(job.id) == newer


def test_a_chunk_may_name_a_job_twice(store: Store) -> None:
    """Two answers about one job in one chunk: the one with the picture counts, once."""
    job = accepted(store, admit(store))
    found = polled(store, seen(job, 40), seen(job, 40, "https://p/1.png"), seen(job, 50))
    assert [one.id for one in found] == [job.id]
    assert store.jobs.history(job.id)[-1].move == "deliver"
    assert store.jobs.get(job.id).next_run_at == at(31) + timedelta(seconds=5)


def test_an_empty_chunk_is_fine(store: Store) -> None:
    """Nothing found, nothing written."""
    assert polled(store) == []
