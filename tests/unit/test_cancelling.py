"""Cancelling at every stage: who is stopped, what it cost, and what the books say of it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from uuid import uuid4

import pytest

from imagegen import cancelling, collecting, endings, layout, retrying
from imagegen.errors import Conflict, ContentRefused, NotFound, PartUnavailable, StorageError, Temporary
from imagegen.jobs import Job
from imagegen.outcomes import Advance, Finish, Lost
from imagegen.providers.base import Accepted, Delivered, NotSent, Rejected, Running, Submission, Unknown
from imagegen.states import BatchStatus, MoveName, Stage, Status
from tests.jobs_kit import CENTS, claimed, new_batch, submitted
from tests.pipeline_doubles import PAID, PICTURE
from tests.pipeline_parts import World

pytest_plugins = ["tests.worlds"]


def cancelled(world: World, job: Job) -> Job:
    """The job after its owner cancelled it."""
    return cancelling.cancel(job.id, world.services)


def done(_: Job) -> None:
    """A strike answers nothing."""


def due_for_collecting(world: World, job: Job) -> bool:
    """Whether the job's picture will be looked for."""
    attempt = world.store.jobs.attempt(world.now(job).attempt_id or uuid4())
    return attempt is not None and attempt.collect_at is not None


def polling(world: World) -> Job:
    """A job whose provider draws."""
    world.shop.progresses = [Running()] * 9
    job = world.job()
    world.stage(job)
    assert world.now(job).stage is Stage.POLL
    return job


def downloading(world: World) -> Job:
    """A job whose provider has the picture."""
    job = polling(world)
    world.shop.progresses = []
    world.clock.advance(60)
    assert isinstance(world.stage(job), Advance)
    assert world.now(job).stage is Stage.DOWNLOAD
    return job


def uploading(world: World) -> Job:
    """A job whose original is ours."""
    job = downloading(world)
    assert isinstance(world.stage(job), Advance)
    return job


def reconciling(world: World) -> Job:
    """A job whose worker died with its paid call."""
    job = submitted(world.store, world.job())
    world.clock.advance(60)
    world.sweep()
    assert world.now(job).stage is Stage.RECONCILE
    return job


@pytest.mark.parametrize("take", [False, True], ids=["queued", "processing"])
def test_nothing_bought_is_not_charged(world: World, take: bool) -> None:
    """Before the paid call it just ends: billed no, no ledger line, and its worker finds nothing to buy."""
    job = world.job()
    if take:
        claimed(world.store, job)
    ended = cancelled(world, job)
    assert (ended.status, ended.billed, ended.cost_credits) == (Status.CANCELLED, "no", Decimal(0))
    assert (ended.cost_wasted, ended.committed) == (None, Decimal(0))
    assert (world.kinds(job), world.shop.calls, world.document(job)["status"]) == ([], 0, "cancelled")
    assert (ended.next_run_at, ended.claim) == (None, None)
    assert isinstance(world.stage(job, Stage.GENERATE), Lost)


def test_a_worker_about_to_buy_buys_nothing(world: World) -> None:
    """Cancelled between the claim and the intent: the paid call is not made."""
    job = world.job()
    world.jobs.before[MoveName.SUBMIT] = lambda: done(cancelled(world, job))
    assert isinstance(world.stage(job), Lost)
    assert (world.now(job).status, world.shop.calls, world.kinds(job)) == (Status.CANCELLED, 0, [])


def test_an_earlier_charge_is_not_hidden(world: World) -> None:
    """Queued again after an attempt that was charged: billed stays yes."""
    job = world.job(billed="yes", paid_attempts=1)
    assert cancelled(world, job).billed == "yes"


ANSWERS: dict[str, tuple[Submission, str, Decimal | None, str, bool]] = {
    "taken": (Accepted(provider_job_id="o1"), "yes", CENTS, "waste", True),
    "taken at a price": (Accepted(provider_job_id="o1", actual=PAID), "yes", PAID, "waste", True),
    "delivered": (Delivered(data=PICTURE, actual=PAID), "yes", PAID, "waste", True),
    "no picture": (Delivered(data=b"<html>", actual=PAID), "yes", PAID, "waste", True),
    "refused": (Rejected(error=ContentRefused("no")), "no", None, "release", False),
    "not sent": (NotSent(error=Temporary("down")), "no", None, "release", False),
    "lost": (Unknown(error=Temporary("reset")), "unknown", None, "uncertain", True),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_paid_call_under_way_decides_by_its_answer(world: World, answer: str) -> None:
    """The owner is told that it is being stopped; the answer ends it and says whether it was charged."""
    submission, billed, spent, kind, collected = ANSWERS[answer]
    stopped: list[Job] = []
    job = world.job("gemini" if isinstance(submission, Delivered) else "nanobanana")
    shop = world.studio if isinstance(submission, Delivered) else world.shop
    shop.submissions = [submission]
    shop.meanwhile = lambda: stopped.extend([cancelled(world, job), cancelled(world, job)])
    assert isinstance(world.stage(job), Finish)
    assert [(one.status, one.stopped) for one in stopped] == [(Status.GENERATING, True)] * 2
    ended = world.now(job)
    assert (ended.status, ended.billed, ended.cost_wasted) == (Status.CANCELLED, billed, spent)
    assert ended.cost_credits == (None if billed == "unknown" else Decimal(0))
    assert world.kinds(job) == ["reserve", kind]
    assert due_for_collecting(world, job) is collected
    assert world.moves(job)[-2:] == ["stop", "cancel"]


def test_a_worker_lost_with_a_stopped_call_ends_in_doubt(world: World) -> None:
    """Its lease runs out: cancelled, billed unknown, the estimate uncertain, and its picture is looked for."""
    job = submitted(world.store, world.job())
    assert cancelled(world, job).stopped
    (ended,) = world.live(job)
    assert (ended.status, ended.billed, ended.cost_uncertain) == (Status.CANCELLED, "unknown", CENTS)
    assert world.kinds(job) == ["reserve", "uncertain"]
    assert due_for_collecting(world, job)


def test_a_lost_answer_is_cancelled_in_doubt(world: World) -> None:
    """At reconcile nobody knows: billed unknown, and the books agree."""
    job = reconciling(world)
    ended = cancelled(world, job)
    assert (ended.status, ended.billed, ended.cost_uncertain) == (Status.CANCELLED, "unknown", CENTS)
    assert world.kinds(job) == ["reserve", "uncertain"]
    assert due_for_collecting(world, job)


@pytest.mark.parametrize("reach", [polling, downloading, uploading])
def test_what_was_paid_is_waste_and_kept(world: World, reach: Callable[[World], Job]) -> None:
    """From the order on it is charged: waste in the books, and the picture feeds the cache for the next request."""
    job = reach(world)
    world.shop.progresses = []
    ended = cancelled(world, job)
    price = CENTS if reach is polling else PAID
    assert (ended.status, ended.billed, ended.cost_wasted) == (Status.CANCELLED, "yes", price)
    assert (ended.cost_credits, ended.committed) == (Decimal(0), price)
    assert world.kinds(job) == ["reserve", "waste"]
    assert due_for_collecting(world, job)
    assert ended.attempt_id is not None
    collecting.collect(ended.attempt_id, world.services)
    again = world.job(fingerprint=ended.fingerprint)
    (hit,) = world.live(again)
    assert (hit.status, hit.cache_hit, world.shop.calls) == (Status.COMPLETED, True, 1)
    assert world.now(job).status is Status.CANCELLED


def test_a_picture_from_the_cache_costs_nothing(world: World) -> None:
    """A cache hit on its way is cancelled for nothing."""
    (first,) = world.live(world.job())
    job = world.job(fingerprint=first.fingerprint)
    assert isinstance(world.stage(job), Advance)
    ended = cancelled(world, job)
    assert (ended.billed, ended.cost_credits, world.kinds(job)) == ("no", Decimal(0), [])


def test_a_published_picture_is_taken_back(world: World) -> None:
    """Cancelled while it is being published: nothing stays at its address, whoever is first."""
    job = uploading(world)
    key = layout.picture_keys(job).picture
    world.jobs.before[MoveName.COMPLETE] = lambda: done(cancelled(world, job))
    assert isinstance(world.stage(job), Lost)
    assert [info.key for info in world.files.list("project_")] == []
    assert world.files.head(key) is None
    assert world.now(job).status is Status.CANCELLED


@pytest.mark.parametrize("trouble", [PartUnavailable("away"), StorageError("no permission")])
def test_a_store_that_refuses_does_not_stop_the_cancelling(
    world: World, trouble: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be taken back is logged with its key; the job is cancelled."""
    job = uploading(world)
    world.blobs.strikes["delete"] = trouble
    assert cancelled(world, job).status is Status.CANCELLED
    assert layout.picture_keys(job).picture in caplog.text


def test_a_settled_attempt_stays_settled(world: World) -> None:
    """Failed at the upload (settled), continued, then cancelled: no waste beside the settlement."""
    job = uploading(world)
    endings.fail(world.now(job), StorageError("full"), world.services, entries=endings.settlement(world.now(job)))
    retrying.retry(job.id, world.services)
    ended = cancelled(world, job)
    assert (ended.status, ended.billed, world.kinds(job)) == (Status.CANCELLED, "yes", ["reserve", "settle"])


def test_ends_are_respected(world: World) -> None:
    """Cancelling twice is fine; a completed or failed job is not touched; an unknown id is not found."""
    job = world.job()
    assert cancelled(world, job) == cancelled(world, job)
    (done,) = world.live(world.job())
    failed = world.job()
    endings.fail(failed, ContentRefused("no"), world.services)
    for one in (done, failed):
        before = world.now(one)
        with pytest.raises(Conflict, match=rf"{one.id} has {before.status}"):
            cancelled(world, one)
        assert world.now(one) == before
    with pytest.raises(NotFound):
        cancelling.cancel(uuid4(), world.services)


def test_a_job_that_moves_on_meanwhile_is_looked_at_again(world: World) -> None:
    """Seen queued, claimed and bought before the move: the truth is told of where it was found at last."""
    job = world.job()

    def bought() -> None:
        world.stage(job)

    world.shop.progresses = [Running()] * 9
    world.jobs.before[MoveName.CANCEL] = bought
    ended = cancelled(world, job)
    assert (ended.status, ended.billed, world.kinds(job)) == (Status.CANCELLED, "yes", ["reserve", "waste"])


def test_a_batch_is_cancelled_but_for_what_has_ended(world: World) -> None:
    """Members on their way end, a finished one keeps its picture, the batch closes once and is announced."""
    batch, _ = new_batch(3)
    jobs = world.batch(batch, [world.new("gemini", batch_id=batch.id, batch_index=at) for at in range(3)])
    world.chain(jobs[0])
    closed, members = cancelling.cancel_batch(batch.id, world.services)
    assert [job.status for job in members] == [Status.COMPLETED, Status.CANCELLED, Status.CANCELLED]
    assert closed.status is BatchStatus.PARTIAL
    assert world.heard.documents[str(batch.id)][-1]["status"] == "partial"
    with pytest.raises(Conflict):
        cancelling.cancel_batch(batch.id, world.services)


def test_a_whole_batch_cancelled_is_cancelled(world: World) -> None:
    """All members cancelled: the batch too, and cancelling it again is fine."""
    batch, _ = new_batch(2)
    world.batch(batch, [world.new("nanobanana", batch_id=batch.id, batch_index=at) for at in range(2)])
    assert cancelling.cancel_batch(batch.id, world.services)[0].status is BatchStatus.CANCELLED
    assert cancelling.cancel_batch(batch.id, world.services)[0].status is BatchStatus.CANCELLED


def test_other_ids_are_told_the_same_end(world: World) -> None:
    """Who asked under another id gets the first job's document there."""
    job, other = world.job(), uuid4()
    world.store.jobs.alias(other, job.id, batch=False)
    cancelled(world, job)
    assert world.heard.documents[str(other)][-1]["jobId"] == str(job.id)
    batch, _ = new_batch(1)
    world.batch(batch, [world.new("nanobanana", batch_id=batch.id, batch_index=0)])
    world.store.jobs.alias(other, batch.id, batch=True)
    cancelling.cancel_batch(batch.id, world.services)
    assert world.heard.documents[str(other)][-1]["batchId"] == str(batch.id)
