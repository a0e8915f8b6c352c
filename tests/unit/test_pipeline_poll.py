"""The stage `poll`: asked in chunks, ever more slowly, and what each answer comes to."""

from __future__ import annotations

from decimal import Decimal

import pytest

from imagegen import policies
from imagegen.errors import AuthError, GenerationFailed, ImagegenError, PartUnavailable, RateLimited, Temporary
from imagegen.jobs import Job
from imagegen.outcomes import Advance, Finish, Lost
from imagegen.pipeline import poll
from imagegen.providers.base import Accepted, Failed, Ready, Running
from imagegen.states import MoveName, Stage, Status
from tests.jobs_kit import CENTS, at
from tests.pipeline_doubles import PAID, strike
from tests.pipeline_parts import World, parked

pytest_plugins = ["tests.worlds"]


def bought(world: World, **fields: object) -> Job:
    """A job whose order was taken, due for its poll."""
    job = world.job(**fields)
    world.stage(job)
    world.clock.advance(2)
    return world.now(job)


def test_a_running_order_is_asked_again_later_and_later(world: World) -> None:
    """Each wait grows with the time already waited, within its bounds; no event is written for a mere rest."""
    world.shop.progresses = [Running() for _ in range(40)]
    job = bought(world)
    waits = []
    for _ in range(40):
        rest = parked(world.stage(job))
        waits.append((rest.until - world.clock.now()).total_seconds())
        world.clock.advance(waits[-1])
    assert waits == sorted(waits)
    assert (waits[0], waits[-1] <= policies.POLL_LONGEST.total_seconds()) == (0.4, True)
    assert world.moves(job) == ["admit", "claim", "submit", "accept"]
    assert world.live(job)[0].status is Status.COMPLETED
    world.closes()


def test_a_rest_is_respected(world: World) -> None:
    """A doubled hint asks nobody before the time; a woken job is asked at once."""
    world.shop.progresses = [Running()]
    job = bought(world)
    parked(world.stage(job))
    assert isinstance(world.stage(job), Lost)
    assert world.shop.polls == 1
    world.store.wake(job.id, world.clock.now())
    assert isinstance(world.stage(job), Advance)
    world.live(job)
    world.closes()


def test_a_chunk_is_asked_together(world: World) -> None:
    """One call for many jobs: each goes its own way, those that are not due are nobody's."""
    ready, running, failed, done = (bought(world) for _ in range(4))
    world.store.wake(done.id, world.clock.now())
    world.chain(done)
    world.live(done)
    world.store.wake(ready.id, world.clock.now())
    ids = [ready.id, running.id, failed.id, done.id]
    world.shop.told = {
        str(running.provider_job_id): Running(),
        str(failed.provider_job_id): Failed(error=GenerationFailed("no")),
    }
    world.sweep()
    outcomes = poll(ids, world.services)
    assert [type(outcomes[one]).__name__ for one in ids] == ["Advance", "Park", "Finish", "Lost"]
    world.live(ready, running)
    world.shop.charged -= 1
    world.closes()


@pytest.mark.parametrize(
    ("billed", "kind", "told"), [("no", "release", "no"), ("unknown", "uncertain", "unknown"), ("yes", "waste", "yes")]
)
def test_a_failed_order_closes_its_money(world: World, billed: str, kind: str, told: str) -> None:
    """The provider gives up: released, in doubt or waste, as it says of the charge."""
    world.shop.progresses = [Failed(error=GenerationFailed("no", {"billed": billed}))]
    job = bought(world)
    outcome = world.chain(job)
    assert isinstance(outcome, Finish)
    failed = outcome.job
    assert (failed.error_code, failed.billed, failed.failure_stage) == ("GENERATION_FAILED", told, "generating")
    assert failed.cost_wasted == (CENTS if kind == "waste" else None)
    assert failed.cost_credits == (None if kind == "uncertain" else Decimal(0))
    assert failed.cost_uncertain == (CENTS if kind == "uncertain" else None)
    assert world.kinds(job) == ["reserve", kind]
    world.shop.charged -= billed == "no"
    world.closes()


def test_a_failed_order_is_bought_again_where_allowed(world: World) -> None:
    """Another attempt with its own line in the books; a doubled poll of the old one ends nothing."""
    world.shop.progresses = [Failed(error=GenerationFailed("no", {"billed": "yes"}))]
    job = bought(world, max_paid_attempts=2)
    assert parked(world.stage(job)).reason == "another_attempt"
    assert isinstance(world.stage(job, Stage.POLL), Lost)
    (done,) = world.live(job)
    assert (done.status, done.attempts, world.shop.calls) == (Status.COMPLETED, 2, 2)
    assert world.kinds(job) == ["reserve", "waste", "reserve", "settle"]
    world.closes()


def test_two_workers_hear_the_same_failure(world: World) -> None:
    """Both polled at once: one sends the job back to be bought, the other finds it gone and ends nothing."""
    job = bought(world, max_paid_attempts=2)
    failure = Failed(error=GenerationFailed("no", {"billed": "yes"}))
    world.shop.progresses = [failure, failure]
    world.jobs.before[MoveName.REPEAT] = lambda: parked(world.stage(job, Stage.POLL)) and None
    assert isinstance(world.stage(job), Lost)
    assert world.now(job).status is Status.QUEUED
    assert world.live(job)[0].status is Status.COMPLETED
    world.closes()


def test_no_repeat_after_the_deadline(world: World) -> None:
    """A failed order whose job is over time is not bought again."""
    world.shop.progresses = [Failed(error=GenerationFailed("no", {"billed": "yes"}))]
    job = bought(world, max_paid_attempts=2, deadline_at=at(1))
    world.chain(job)
    assert (world.now(job).error_code, world.shop.calls) == ("GENERATION_FAILED", 1)
    world.closes()


@pytest.mark.parametrize("error", [Temporary("502"), RateLimited("slow", {"retryAfter": 20}), AuthError("no key")])
def test_a_question_that_failed_is_asked_again(world: World, error: ImagegenError) -> None:
    """The order goes on whatever became of the question; a provider's wish to wait is obeyed."""
    world.shop.progresses = [error]
    job = bought(world)
    rest = parked(world.stage(job))
    assert (rest.until - world.clock.now()).total_seconds() >= (error.retry_after or 0)
    assert world.live(job)[0].status is Status.COMPLETED
    world.closes()


def test_questions_open_their_own_circuit(world: World) -> None:
    """Polls that fail in a row stop the asking, not the buying."""
    world.shop.progresses = [Temporary("502") for _ in range(policies.BREAKER_FAILURES)]
    job = bought(world)
    for _ in range(policies.BREAKER_FAILURES + 1):
        rest = parked(world.stage(job))
        world.clock.advance((rest.until - world.clock.now()).total_seconds())
    assert world.shop.polls == policies.BREAKER_FAILURES
    assert world.breaker.state("nanobanana", "poll") != "closed"
    assert world.breaker.state("nanobanana", "submit") == "closed"
    assert world.live(job)[0].status is Status.COMPLETED
    world.closes()


def test_an_order_beyond_its_deadline_is_in_doubt(world: World) -> None:
    """Nobody knows whether it will be charged: DEADLINE_EXCEEDED, the amount uncertain."""
    world.shop.progresses = [Running() for _ in range(200)]
    job = bought(world)
    (failed,) = world.live(job, rounds=200)
    assert failed.completed_at is not None
    assert 0 <= (failed.completed_at - failed.deadline_at).total_seconds() < 1
    assert (failed.error_code, failed.billed, failed.cost_uncertain) == ("DEADLINE_EXCEEDED", "unknown", CENTS)
    assert world.kinds(job) == ["reserve", "uncertain"]
    world.closes()


def test_a_picture_that_comes_with_the_deadline_wins(world: World) -> None:
    """The sweep saw the job over time, but a worker's poll brought the picture first: it is finished."""
    job = bought(world, deadline_at=at(3))
    world.clock.advance(2)
    world.jobs.before[MoveName.FAIL] = lambda: world.stage(job, Stage.POLL) and None
    world.sweep()
    assert world.now(job).status is Status.UPLOADING
    assert world.live(job)[0].status is Status.COMPLETED
    world.closes()


def test_a_chunk_survives_postgresql(world: World) -> None:
    """Away when the answers are to be written: they are asked again, which costs nothing."""
    job = bought(world)
    world.jobs.strikes["polled"] = PartUnavailable("away")
    with pytest.raises(PartUnavailable):
        world.stage(job)
    assert world.live(job)[0].status is Status.COMPLETED
    world.closes()


def test_a_learnt_latency_that_cannot_be_read_costs_a_poll(world: World) -> None:
    """PostgreSQL away when a picture's time is to be guessed: the order is written down all the same."""
    world.jobs.strikes["latencies"] = PartUnavailable("away")
    job = world.job()
    rest = parked(world.stage(job))
    assert rest.until == world.clock.now() + policies.POLL_UNKNOWN
    world.live(job)
    world.closes()


def test_the_price_of_a_poll_wins_over_the_estimate(world: World) -> None:
    """Told at the order or with the picture, the actual price is what is settled; zero is a price too."""
    free = bought(world)
    world.shop.progresses = [Ready(url="https://p.test/free", actual=Decimal(0)), Ready(url="https://p.test/x")]
    world.live(free)
    assert (world.now(free).cost_credits, world.store.ledger(free.id)[-1][:2]) == (Decimal(0), ("settle", Decimal(0)))
    untold = bought(world)
    world.live(untold)
    assert world.now(untold).cost_credits == CENTS
    world.shop.submissions = [Accepted(provider_job_id="told", actual=PAID)]
    world.shop.progresses = [Ready(url="https://p.test/y")]
    told = bought(world)
    world.live(told)
    assert world.now(told).cost_credits == PAID
    world.closes()


def test_a_struck_deadline_writes_its_doubt_once(world: World) -> None:
    """The sweep's answer was lost after it was written: the next one finds nothing to end."""
    world.shop.progresses = [Running() for _ in range(200)]
    world.jobs.after[MoveName.FAIL] = strike(PartUnavailable("broken connection"))
    job = bought(world)
    world.live(job, rounds=200)
    assert world.moves(job).count("fail") == 1
    world.closes()
