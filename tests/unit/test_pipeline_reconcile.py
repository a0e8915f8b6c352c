"""Paid calls that go wrong: a kill, a lost answer, a part that is away. One call, and the truth in the books."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from imagegen import layout, policies
from imagegen.errors import NotFound, PartUnavailable, StorageError, Temporary
from imagegen.jobs import Job
from imagegen.outcomes import Finish, Lost
from imagegen.providers.base import Accepted, Rejected, Unknown
from imagegen.states import MoveName, Stage, Status
from tests.jobs_kit import CENTS
from tests.pipeline_doubles import PAID, PICTURE, Killed, strike
from tests.pipeline_parts import World, parked

pytest_plugins = ["tests.worlds"]
PROVIDERS = pytest.mark.parametrize("provider", ["nanobanana", "gemini"])


def test_a_lost_answer_without_proof_is_the_end(world: World) -> None:
    """Unknown, and nowhere to look: SUBMISSION_UNKNOWN, the amount uncertain, never sent again."""
    world.shop.submissions = [Unknown(error=Temporary("reset"))]
    job = world.job(max_paid_attempts=3)
    world.chain(job)
    failed = world.now(job)
    assert (failed.status, failed.error_code, failed.billed) == (Status.FAILED, "SUBMISSION_UNKNOWN", "unknown")
    assert (failed.cost_uncertain, failed.cost_credits, world.shop.calls) == (CENTS, None, 1)
    assert world.kinds(job) == ["reserve", "uncertain"]
    world.closes()


@pytest.mark.parametrize("proof", [True, False])
def test_a_lost_answer_waits_for_its_proof(world: World, proof: bool) -> None:
    """With a window: the job rests, whoever hints; then the bytes are found and used, or the job ends in doubt."""
    world.studio.reconcile_window = 45
    object.__setattr__(world.services, "callback_base_url", "https://us.test")
    world.studio.submissions = [Unknown(error=Temporary("reset"))]
    job = world.job("gemini")
    rest = parked(world.stage(job))
    assert (rest.reason, world.now(job).stage) == ("reconcile", Stage.RECONCILE)
    assert (rest.until - world.clock.now()).total_seconds() == 45
    assert isinstance(world.stage(job), Lost)
    if proof:
        world.files.put(layout.attempt_key(world.now(job).attempt_id or job.id), PICTURE, "image/png")
    (done,) = world.live(job)
    assert done.status is (Status.COMPLETED if proof else Status.FAILED)
    assert world.kinds(job) == ["reserve", "settle" if proof else "uncertain"]
    assert world.studio.calls == 1
    world.closes()


def strike_of(error: BaseException) -> Callable[[float], None]:
    """A clock's `sleep` that the worker does not outlive."""

    def sleep(seconds: float) -> None:
        raise error

    return sleep


@PROVIDERS
def test_a_worker_killed_before_its_call(world: World, provider: str) -> None:
    """Between intent and call: nobody can know, so it ends in doubt and is not sent."""
    world.jobs.after[MoveName.SUBMIT] = strike(Killed())
    job = world.job(provider)
    with pytest.raises(Killed):
        world.stage(job)
    (failed,) = world.live(job)
    assert (failed.error_code, failed.billed) == ("SUBMISSION_UNKNOWN", "unknown")
    assert world.shop.calls + world.studio.calls == 0
    world.closes(unsent=1)


def test_a_worker_killed_during_its_call(world: World) -> None:
    """The call left, the worker died: its lease runs out, it is reconciled and never repeated."""
    world.shop.submissions = [Killed()]
    job = world.job()
    with pytest.raises(Killed):
        world.stage(job)
    assert world.sweep() == []
    assert isinstance(world.stage(job), Lost)
    (failed,) = world.live(job)
    assert (failed.error_code, world.shop.calls) == ("SUBMISSION_UNKNOWN", 1)
    world.closes()


def test_a_worker_killed_before_it_wrote_the_answer(world: World) -> None:
    """The provider took the order, the id was never written: in doubt, paid once."""
    world.jobs.before[MoveName.ACCEPT] = strike(Killed())
    job = world.job()
    with pytest.raises(Killed):
        world.stage(job)
    (failed,) = world.live(job)
    assert (failed.error_code, world.shop.calls) == ("SUBMISSION_UNKNOWN", 1)
    world.closes()


@pytest.mark.parametrize("where", ["attempts", "blobs", "move"])
def test_bytes_that_arrived_are_found_again(world: World, where: str) -> None:
    """Killed after the picture reached the store: reconcile finds it, and the job completes with one call."""
    if where == "move":
        world.jobs.before[MoveName.DELIVER] = strike(Killed())
    else:
        world.blobs.kills.add(where)
    job = world.job("gemini")
    with pytest.raises(Killed):
        world.stage(job)
    (done,) = world.live(job)
    assert (done.status, world.studio.calls, done.cost_credits) == (Status.COMPLETED, 1, PAID)
    world.closes()


@PROVIDERS
def test_an_outcome_waits_for_postgresql(world: World, provider: str) -> None:
    """PostgreSQL goes away for a minute during the call: the worker waits, and what it learnt is written."""
    world.shop.meanwhile = world.studio.meanwhile = lambda: world.jobs.go_away(60)
    job = world.job(provider)
    assert not isinstance(world.stage(job), Lost)
    assert world.clock.monotonic() >= 60
    assert world.live(job)[0].status is Status.COMPLETED
    assert world.shop.calls + world.studio.calls == 1
    world.closes()


@PROVIDERS
def test_postgresql_away_for_longer_is_reconciled(world: World, provider: str) -> None:
    """Away beyond the worker's patience: a kept picture is found again, an order's number too; never bought twice."""
    world.shop.meanwhile = world.studio.meanwhile = lambda: world.jobs.go_away(200)
    job = world.job(provider)
    with pytest.raises(PartUnavailable):
        world.stage(job)
    world.clock.advance(200)
    assert isinstance(world.stage(job, Stage.GENERATE), Lost)
    (done,) = world.live(job)
    assert (done.status, done.billed) == (Status.COMPLETED, "yes")
    assert world.shop.calls + world.studio.calls == 1
    world.closes()


def test_a_worker_killed_while_postgresql_is_away(world: World) -> None:
    """The order was taken and could not be written down: its number is found in the store, and the picture fetched."""
    world.shop.meanwhile = lambda: world.jobs.go_away(60)
    world.clock.sleep = strike_of(Killed())  # type: ignore[method-assign]
    job = world.job()
    with pytest.raises(Killed):
        world.stage(job)
    del world.clock.sleep
    (done,) = world.live(job)
    assert (done.status, done.provider_job_id, world.shop.calls) == (Status.COMPLETED, "o1", 1)
    assert world.kinds(job) == ["reserve", "settle"]
    world.closes()


def test_an_order_that_nobody_could_write_down(world: World) -> None:
    """PostgreSQL and the store away together, for too long: the job ends in doubt, and is not sent again."""

    def all_away() -> None:
        world.jobs.go_away(200)
        world.blobs.go_away(200)

    world.shop.meanwhile = all_away
    job = world.job()
    with pytest.raises(PartUnavailable):
        world.stage(job)
    world.clock.advance(200)
    (failed,) = world.live(job)
    assert (failed.error_code, failed.billed, world.shop.calls) == ("SUBMISSION_UNKNOWN", "unknown", 1)
    world.closes()


@PROVIDERS
@pytest.mark.parametrize("name", [MoveName.SUBMIT, MoveName.ACCEPT, MoveName.DELIVER, MoveName.COMPLETE])
def test_a_commit_whose_answer_is_lost(world: World, provider: str, name: MoveName) -> None:
    """Written, but nobody said so: the worker writes again, nothing happens twice, the picture comes."""
    world.jobs.after[name] = strike(PartUnavailable("broken connection"))
    job = world.job(provider)
    world.chain(job)
    (done,) = world.live(job)
    assert (done.status, world.shop.calls + world.studio.calls) == (Status.COMPLETED, 1)
    assert world.moves(job).count("submit") == 1
    world.closes()


@pytest.mark.parametrize("billed", ["no", "yes"])
def test_a_lost_answer_to_a_repeat_ends_nothing(world: World, billed: str) -> None:
    """Back in the queue, written, but nobody said so: the job stays there and is tried again."""
    world.shop.submissions = [Rejected(error=Temporary("busy", {"billed": billed}))]
    world.jobs.after[MoveName.REPEAT] = strike(PartUnavailable("broken connection"))
    job = world.job(max_paid_attempts=2)
    assert isinstance(world.stage(job), Lost)
    assert world.now(job).status is Status.QUEUED
    assert world.live(job)[0].status is Status.COMPLETED
    world.closes()


def test_a_lease_that_ran_out_before_the_intent(world: World) -> None:
    """PostgreSQL answers again after the lease, another worker has the job: this one sends nothing, ends nothing."""
    job = world.job()

    def meanwhile() -> None:
        world.clock.advance(31)
        world.sweep()
        world.stage(job)

    world.jobs.before[MoveName.SUBMIT] = meanwhile
    assert isinstance(world.stage(job), Lost)
    assert world.shop.calls == 1
    assert world.live(job)[0].status is Status.COMPLETED
    world.closes()


@pytest.mark.parametrize("error", [NotFound("erased"), StorageError("denied", {"retryable": False})])
def test_a_late_failure_does_not_end_another_worker_s_job(world: World, error: Exception) -> None:
    """A worker without its lease finds its input gone: the job belongs to the one who is buying."""
    source = {"key": "inputs/x", "contentType": "image/png"}
    job = world.job(plan={"ratio": "1:1", "tier": "1K", "format": "png", "source": source})
    world.files.put("inputs/x", PICTURE, "image/png")

    def meanwhile() -> None:
        world.clock.advance(31)
        world.sweep()
        world.stage(job)

    world.blobs.strikes["get"] = error
    world.blobs.meanwhile = meanwhile
    assert isinstance(world.stage(job), Lost)
    assert world.live(job)[0].status is Status.COMPLETED
    world.closes()


def test_a_full_store_before_the_picture_is_kept(world: World) -> None:
    """Paid, and nowhere to put it: waste, billed, failed while persisting; not bought again into the same store."""
    world.blobs.refused["attempts"] = StorageError("full")
    job = world.job("gemini", max_paid_attempts=3)
    world.chain(job)
    failed = world.now(job)
    assert (failed.status, failed.error_code, failed.failure_stage) == (Status.FAILED, "STORAGE_ERROR", "persisting")
    assert (failed.billed, failed.cost_wasted, world.studio.calls) == ("yes", PAID, 1)
    assert world.store.ledger(job.id)[-1][:2] == ("waste", PAID)
    world.closes()


def test_a_store_that_fills_up_later(world: World) -> None:
    """The attempt's own copy is kept: the job waits until the store takes the blob, with the price that was told."""
    world.blobs.refused["blobs"] = StorageError("full")
    job = world.job("gemini")
    assert parked(world.stage(job)).reason == "reconcile"
    world.clock.advance(policies.RECONCILE_AGAIN)
    world.sweep()
    assert parked(world.stage(job)).reason == "reconcile"
    world.blobs.refused.clear()
    (done,) = world.live(job)
    assert (done.status, done.cost_credits, world.studio.calls) == (Status.COMPLETED, PAID, 1)
    world.closes()


def test_a_store_that_stays_full_ends_with_the_deadline(world: World) -> None:
    """Not for ever: after the deadline the job ends in doubt, and later proof may still come."""
    world.blobs.refused["blobs"] = StorageError("full")
    job = world.job("gemini")
    world.chain(job)
    (failed,) = world.live(job, rounds=100)
    assert (failed.status, failed.billed, failed.error_code) == (Status.FAILED, "unknown", "SUBMISSION_UNKNOWN")
    assert world.clock.now() >= failed.deadline_at
    world.closes()


def test_a_store_away_during_the_purchase_is_waited_for(world: World) -> None:
    """The bytes are paid: the worker keeps them in hand for as long as for PostgreSQL."""
    world.studio.meanwhile = lambda: world.blobs.go_away(60)
    job = world.job("gemini")
    assert isinstance(world.chain(job), Finish)
    assert world.studio.calls == 1
    world.closes()


def test_a_late_order_number_still_counts(world: World) -> None:
    """The lease ran out during the call, the job went to reconcile: the answer takes it from there."""

    def slow() -> None:
        world.clock.advance(policies.LEASE.total_seconds() + 1)
        assert world.sweep() == [job.id]

    world.shop.meanwhile = slow
    job = world.job()
    parked(world.stage(job))
    assert world.live(job)[0].status is Status.COMPLETED
    world.closes()


def test_a_late_picture_reopens_a_job_that_was_given_up(world: World) -> None:
    """Given up in doubt while the call was under way: the paid picture is used, the doubt becomes a settlement."""

    world.studio.meanwhile = lambda: given_up(world, job)
    job = world.job("gemini")
    assert isinstance(world.chain(job), Lost)
    assert world.now(job).error_code == "SUBMISSION_UNKNOWN"
    world.sweep()
    (done,) = world.live(job)
    assert (done.status, done.error_code, done.cost_uncertain) == (Status.COMPLETED, None, None)
    assert world.kinds(job) == ["reserve", "uncertain", "settle"]
    world.closes()


def test_a_late_order_number_is_kept_for_a_job_that_ended(world: World) -> None:
    """What the call taught us is written to its attempt, though the job was given up; its picture is then asked for."""
    world.shop.meanwhile = lambda: given_up(world, job)
    world.shop.submissions = [Accepted(provider_job_id="late")]
    job = world.job()
    assert isinstance(world.stage(job), Lost)
    failed = world.now(job)
    known = world.store.jobs.attempt(failed.attempt_id or job.id)
    assert known is not None
    assert (failed.status, known.state, known.provider_job_id) == (Status.FAILED, "accepted", "late")
    world.sweep()
    assert world.live(job)[0].status is Status.COMPLETED
    world.closes()


def given_up(world: World, job: Job) -> None:
    """The lease runs out without a sign of life, so does the time for proof, and the job ends in doubt."""
    world.clock.advance(policies.LEASE.total_seconds() + 1)
    world.sweep()
    assert parked(world.stage(job)).reason == "reconcile"
    world.clock.advance(policies.SETTLING + 1)
    world.sweep()
    assert isinstance(world.stage(job), Finish)


def test_a_sign_of_life_puts_reconciliation_off(world: World) -> None:
    """A worker cut off from the database for longer than its lease shows that it is alive: its answer is waited for."""

    def cut_off() -> None:
        world.clock.advance(policies.LEASE.total_seconds() + 1)
        world.sweep()
        assert parked(world.stage(job)).reason == "reconcile"
        for _ in range(10):
            world.store.jobs.renew(world.services.heartbeat.held, until=world.clock.now() + policies.LEASE)
            world.clock.advance(policies.HEARTBEAT)
            assert world.sweep() == []
            assert isinstance(world.stage(job), Lost)

    world.shop.meanwhile = cut_off
    job = world.job()
    assert parked(world.stage(job)).reason == "provider"
    assert world.live(job)[0].status is Status.COMPLETED
    world.closes()
