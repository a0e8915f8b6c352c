"""The stage `generate` and its reconciliation: a paid call is made once, whatever breaks around it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from imagegen import layout, policies
from imagegen.errors import ContentRefused, NotFound, PartUnavailable, RateLimited, StorageError, Temporary
from imagegen.outcomes import Advance, Finish, Lost
from imagegen.providers.base import Accepted, Delivered, NotSent, Rejected, Unknown
from imagegen.states import MoveName, Stage, Status
from tests.jobs_kit import CENTS, at
from tests.pipeline_parts import PAID, PICTURE, Killed, World, parked, strike

pytest_plugins = ["tests.worlds"]
PROVIDERS = pytest.mark.parametrize("provider", ["nanobanana", "gemini"])


@PROVIDERS
def test_a_job_becomes_a_picture(world: World, provider: str) -> None:
    """From queued to completed: exact size, thumbnail, one paid call, its price settled, its document published."""
    job = world.job(provider)
    world.chain(job)
    (done,) = world.live(job)
    assert (done.status, done.cost_credits, done.billed, done.attempts) == (Status.COMPLETED, PAID, "yes", 1)
    assert world.kinds(job) == ["reserve", "settle"]
    keys = layout.picture_keys(done)
    assert {keys.picture, keys.thumbnail, layout.blob_key(done.blob_sha256 or "")} <= set(world.files.keys)
    assert world.document(job)["publicUrl"] == done.public_url
    world.closes()


def test_a_synchronous_picture_needs_no_sweep(world: World) -> None:
    """Bought and published by its own chain, its bytes kept under the attempt before anything else."""
    job = world.job("gemini")
    assert isinstance(world.chain(job), Finish)
    assert layout.attempt_key(world.now(job).attempt_id or job.id) in world.files.keys
    world.closes()


def test_a_fast_model_is_polled_at_once(world: World) -> None:
    """Where pictures come within moments, the chain's own next link asks; where nobody knows, the job rests."""
    first = world.job()
    rest = parked(world.chain(first))
    assert (rest.reason, rest.until) == ("provider", world.clock.now() + policies.POLL_UNKNOWN)
    world.clock.advance(0.2)
    world.store.wake(first.id, world.clock.now())
    world.live(first)
    second = world.job()
    assert isinstance(world.stage(second), Advance)
    assert world.now(second).waiting_for is None
    assert isinstance(world.chain(second), Finish)
    world.closes()


def test_what_was_bought_before_is_not_bought_again(world: World) -> None:
    """The same fingerprint: the same original, nothing reserved, nothing paid, though the provider is gone."""
    first = world.job(fingerprint="f")
    world.chain(first)
    world.live(first)
    second = world.job(fingerprint="f")
    outcome = world.chain(second)
    assert isinstance(outcome, Finish)
    assert (outcome.job.cache_hit, outcome.job.cost_credits, outcome.job.billed) == (True, Decimal(0), "no")
    assert world.kinds(second) == []
    assert world.shop.calls == 1
    world.closes()


def test_a_picture_lost_from_the_cache_is_bought(world: World) -> None:
    """The books know a picture, the store does not: it is drawn again."""
    first = world.job(fingerprint="f")
    world.chain(first)
    (done,) = world.live(first)
    world.files.delete(layout.blob_key(done.blob_sha256 or ""))
    second = world.job(fingerprint="f")
    world.chain(second)
    (again,) = world.live(second)
    assert (again.status, again.cache_hit, world.shop.calls) == (Status.COMPLETED, False, 2)
    world.closes()


@pytest.mark.parametrize("error", [PartUnavailable("away"), StorageError("denied")])
def test_a_store_that_cannot_be_asked_for_the_cache_only_delays(world: World, error: Exception) -> None:
    """Nothing is bought on a guess, and the job does not wait for its lease."""
    first = world.job(fingerprint="f")
    world.chain(first)
    world.live(first)
    second = world.job(fingerprint="f")
    world.blobs.strikes["head"] = error
    rest = parked(world.stage(second))
    assert rest.until <= world.clock.now() + policies.LEASES["generate"] / 10
    (done,) = world.live(second)
    assert (done.cache_hit, world.shop.calls) == (True, 1)
    world.closes()


def test_an_open_circuit_sends_nothing(world: World) -> None:
    """The job rests as long as the circuit does; no attempt, no reservation."""
    for _ in range(policies.BREAKER_FAILURES):
        with world.breaker.call("nanobanana", "submit") as report:
            report(False)
    job = world.job()
    rest = parked(world.stage(job))
    assert (rest.reason, world.shop.calls, world.now(job).attempts) == ("breaker", 0, 0)
    assert world.kinds(job) == []
    assert world.live(job)[0].status is Status.COMPLETED
    world.closes()


def test_what_never_left_is_sent_again(world: World) -> None:
    """Not sent: the reservation is released, the job backs off ever longer, and its one paid attempt is still free."""
    world.shop.submissions = [NotSent(error=Temporary("no route")) for _ in range(3)]
    job = world.job()
    first = parked(world.stage(job))
    assert first.reason == "backoff"
    assert world.kinds(job) == ["reserve", "release"]
    (done,) = world.live(job)
    assert (done.status, done.attempts, done.paid_attempts, world.shop.calls) == (Status.COMPLETED, 4, 1, 4)
    assert world.kinds(job) == ["reserve", "release"] * 3 + ["reserve", "settle"]
    world.closes()


def test_a_provider_s_wish_to_wait_is_obeyed(world: World) -> None:
    """429 with Retry-After: no call before that, however many hints come."""
    world.shop.submissions = [Rejected(error=RateLimited("slow down", {"retryAfter": 33}))]
    job = world.job()
    rest = parked(world.stage(job))
    assert (rest.until - world.clock.now()).total_seconds() == 33
    world.clock.advance(32)
    assert isinstance(world.stage(job), Lost)
    assert world.sweep() == []
    world.clock.advance(1)
    assert world.sweep() == [job.id]
    world.chain(job)
    assert world.shop.calls == 2
    world.live(job)
    world.closes()


def test_a_refused_prompt_is_the_end(world: World) -> None:
    """CONTENT_REFUSED: failed at once, nothing charged, told to whoever waits."""
    world.shop.submissions = [Rejected(error=ContentRefused("no"))]
    job = world.job()
    outcome = world.chain(job)
    assert isinstance(outcome, Finish)
    assert (outcome.job.error_code, outcome.job.billed, outcome.job.failure_stage) == (
        "CONTENT_REFUSED",
        "no",
        "generating",
    )
    assert world.kinds(job) == ["reserve", "release"]
    assert world.document(job)["error"]["code"] == "CONTENT_REFUSED"
    world.closes()


def test_a_charged_refusal_is_waste(world: World) -> None:
    """A refusal with a price: the books show it, the job says billed."""
    world.studio.submissions = [Rejected(error=ContentRefused("no", {"billed": "yes"}), actual=Decimal("0.003"))]
    job = world.job("gemini")
    world.chain(job)
    failed = world.now(job)
    assert (failed.status, failed.billed, failed.cost_credits) == (Status.FAILED, "yes", Decimal("0.003"))
    assert world.store.ledger(job.id)[-1][:2] == ("waste", Decimal("0.003"))
    world.closes()


def test_a_refusal_that_may_have_been_charged_is_uncertain(world: World) -> None:
    """`billed: unknown`: neither released nor called waste."""
    world.studio.submissions = [Rejected(error=ContentRefused("no", {"billed": "unknown"}))]
    job = world.job("gemini")
    world.chain(job)
    failed = world.now(job)
    assert (failed.billed, failed.cost_uncertain, failed.cost_credits) == ("unknown", CENTS, Decimal(0))
    assert world.kinds(job) == ["reserve", "uncertain"]
    world.closes()


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
    assert (done.status, world.studio.calls, done.cost_credits) == (Status.COMPLETED, 1, CENTS)
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
    """Away beyond the worker's patience: a kept picture is found again, an order's id is lost; never bought twice."""
    world.shop.meanwhile = world.studio.meanwhile = lambda: world.jobs.go_away(200)
    job = world.job(provider)
    with pytest.raises(PartUnavailable):
        world.stage(job)
    world.clock.advance(200)
    assert isinstance(world.stage(job, Stage.GENERATE), Lost)
    (done,) = world.live(job)
    assert done.status is (Status.COMPLETED if provider == "gemini" else Status.FAILED)
    assert world.shop.calls + world.studio.calls == 1
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
    assert (failed.billed, failed.cost_credits, world.studio.calls) == ("yes", PAID, 1)
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


def test_bytes_that_are_no_picture_are_waste(world: World) -> None:
    """A synchronous provider's page of HTML: billed, though nobody told its price."""
    world.studio.submissions = [Delivered(data=b"<html>")]
    job = world.job("gemini")
    world.chain(job)
    failed = world.now(job)
    assert (failed.error_code, failed.billed, failed.cost_credits) == ("BAD_ARTIFACT", "yes", CENTS)
    assert world.store.ledger(job.id)[-1][:2] == ("waste", CENTS)
    world.closes()


def test_a_second_purchase_where_it_is_allowed(world: World) -> None:
    """max_paid_attempts=2: after a useless picture another is bought; the books show both."""
    world.studio.submissions = [Delivered(data=b"<html>", actual=PAID)]
    job = world.job("gemini", max_paid_attempts=2)
    assert parked(world.chain(job)).reason == "another_attempt"
    (done,) = world.live(job)
    assert (done.status, done.attempts, done.paid_attempts, world.studio.calls) == (Status.COMPLETED, 2, 2, 2)
    assert world.kinds(job) == ["reserve", "waste", "reserve", "settle"]
    world.closes()


def test_a_free_end_does_not_hide_an_earlier_charge(world: World) -> None:
    """First a charged failure, then a free refusal: the job was billed."""
    world.studio.submissions = [Delivered(data=b"<html>", actual=PAID), Rejected(error=ContentRefused("no"))]
    job = world.job("gemini", max_paid_attempts=2)
    world.chain(job)
    (failed,) = world.live(job)
    assert (failed.error_code, failed.billed) == ("CONTENT_REFUSED", "yes")
    world.closes()


def test_a_late_order_number_still_counts(world: World) -> None:
    """The lease ran out during the call, the job went to reconcile: the answer takes it from there."""

    def slow() -> None:
        world.clock.advance(policies.LEASES["submit"].total_seconds() + 1)
        assert world.sweep() == [job.id]

    world.shop.meanwhile = slow
    job = world.job()
    parked(world.stage(job))
    assert world.live(job)[0].status is Status.COMPLETED
    world.closes()


def test_a_late_picture_reopens_a_job_that_was_given_up(world: World) -> None:
    """Given up in doubt while the call was under way: the paid picture is used, the doubt becomes a settlement."""

    def slow() -> None:
        world.clock.advance(policies.LEASES["submit"].total_seconds() + 1)
        world.sweep()
        assert isinstance(world.stage(job), Finish)

    world.studio.meanwhile = slow
    job = world.job("gemini")
    assert isinstance(world.chain(job), Finish)
    done = world.now(job)
    assert (done.status, done.error_code, done.cost_uncertain) == (Status.COMPLETED, None, None)
    assert world.kinds(job) == ["reserve", "uncertain", "settle"]
    world.closes()


def test_a_late_order_number_is_kept_for_a_job_that_ended(world: World) -> None:
    """What the call taught us is written to its attempt, though the job was given up."""

    def slow() -> None:
        world.clock.advance(policies.LEASES["submit"].total_seconds() + 1)
        world.sweep()
        world.stage(job)

    world.shop.meanwhile = slow
    world.shop.submissions = [Accepted(provider_job_id="late")]
    job = world.job()
    assert isinstance(world.stage(job), Lost)
    failed = world.now(job)
    known = world.store.jobs.attempt(failed.attempt_id or job.id)
    assert known is not None
    assert (failed.status, known.state, known.provider_job_id) == (Status.FAILED, "accepted", "late")
    world.closes()


def test_nothing_is_bought_after_the_deadline(world: World) -> None:
    """A job claimed too late ends without a call."""
    job = world.job(deadline_at=at(1))
    world.clock.advance(2)
    world.chain(job)
    failed = world.now(job)
    assert (failed.error_code, failed.billed, world.shop.calls) == ("DEADLINE_EXCEEDED", "no", 0)
    world.closes()


def test_a_wait_beyond_the_deadline_is_the_end(world: World) -> None:
    """The provider wants an hour: the job says so instead of waiting in vain."""
    world.shop.submissions = [Rejected(error=RateLimited("an hour", {"retryAfter": 3600}))]
    job = world.job()
    world.chain(job)
    assert world.now(job).error_code == "RATE_LIMIT"
    world.closes()


def test_the_callback_address_names_the_attempt(world: World) -> None:
    """Committed before the call: the attempt's id and a token nobody can guess, different each time."""
    services = world.services
    object.__setattr__(services, "callback_base_url", "https://us.test")
    world.shop.submissions = [NotSent(error=Temporary("x"))]
    job = world.job()
    world.stage(job)
    world.live(job)
    first, second = world.shop.callback_urls
    assert first is not None
    assert first.startswith("https://us.test/api/webhooks/nanobanana?attempt=")
    assert first != second
    world.closes()
