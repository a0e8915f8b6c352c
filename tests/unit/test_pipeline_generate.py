"""The stage `generate`: bought once, or found, or refused; and what each answer of a provider comes to."""

from __future__ import annotations

from decimal import Decimal

import pytest

from imagegen import layout, policies
from imagegen.errors import ContentRefused, PartUnavailable, RateLimited, StorageError, Temporary
from imagegen.outcomes import Advance, Finish, Lost
from imagegen.providers.base import Delivered, NotSent, Rejected
from imagegen.states import Status
from tests.jobs_kit import CENTS, at
from tests.pipeline_doubles import PAID
from tests.pipeline_parts import World, parked

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
    assert rest.until <= world.clock.now() + policies.LEASE / 10
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


def test_a_provider_without_a_key_is_waited_for(world: World) -> None:
    """Its key was taken away while jobs waited and while one was being drawn: they go on when it is back."""
    asked, waiting = world.job(), world.job()
    world.stage(asked)
    world.clock.advance(2)
    shops = dict(world.services.providers)
    object.__setattr__(world.services, "providers", {"gemini": world.studio})
    assert parked(world.stage(waiting)).reason == "provider"
    parked(world.stage(asked))
    assert (world.shop.calls, world.kinds(waiting)) == (1, [])
    assert world.breaker.state("nanobanana", "poll") == "closed"
    object.__setattr__(world.services, "providers", shops)
    assert [job.status for job in world.live(asked, waiting)] == [Status.COMPLETED] * 2
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
    assert (failed.status, failed.billed, failed.cost_wasted) == (Status.FAILED, "yes", Decimal("0.003"))
    assert world.store.ledger(job.id)[-1][:2] == ("waste", Decimal("0.003"))
    world.closes()


def test_a_refusal_that_may_have_been_charged_is_uncertain(world: World) -> None:
    """`billed: unknown`: neither released nor called waste."""
    world.studio.submissions = [Rejected(error=ContentRefused("no", {"billed": "unknown"}))]
    job = world.job("gemini")
    world.chain(job)
    failed = world.now(job)
    assert (failed.billed, failed.cost_uncertain, failed.cost_credits) == ("unknown", CENTS, None)
    assert world.kinds(job) == ["reserve", "uncertain"]
    world.closes()


def test_bytes_that_are_no_picture_are_waste(world: World) -> None:
    """A synchronous provider's page of HTML: billed, though nobody told its price."""
    world.studio.submissions = [Delivered(data=b"<html>")]
    job = world.job("gemini")
    world.chain(job)
    failed = world.now(job)
    assert (failed.error_code, failed.billed, failed.cost_wasted) == ("BAD_ARTIFACT", "yes", CENTS)
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
    assert first.startswith("https://us.test/api/webhooks/nano-banana?attempt=")
    assert first != second
    world.closes()
