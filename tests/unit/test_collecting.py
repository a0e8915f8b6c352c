"""Paid pictures of jobs that ended without them: looked for, kept, and used where that is right (law 3)."""

from __future__ import annotations

import pytest

from imagegen import cancelling, collecting, layout, policies
from imagegen.errors import ArtifactExpired, AuthError, BadArtifact, GenerationFailed, ImagegenError, Temporary
from imagegen.jobs import Job
from imagegen.keepsakes import Keepsake
from imagegen.outcomes import Park
from imagegen.providers.base import Accepted, Failed, Running, Unknown
from imagegen.states import Stage, Status
from tests.pipeline_doubles import PAID, PICTURE
from tests.pipeline_parts import World

pytest_plugins = ["tests.worlds"]


def test_a_cancelled_job_s_picture_is_kept_for_the_next(world: World) -> None:
    """Cancelled while its provider drew: billed, waste; the picture is fetched, and the next request pays nothing."""
    job = world.job()
    assert isinstance(world.stage(job), Park)
    cancelling.cancel(job.id, world.services)
    world.sweep()
    again = world.live(world.job(fingerprint=job.fingerprint))[0]
    assert (again.status, again.cache_hit, world.shop.calls) == (Status.COMPLETED, True, 1)
    assert (world.now(job).status, world.now(job).billed, world.kinds(job)) == (
        Status.CANCELLED, "yes", ["reserve", "waste"],
    )  # fmt: skip
    world.closes()


def test_a_job_out_of_time_goes_on_when_its_picture_comes(world: World) -> None:
    """The deadline passed while the provider drew: ended in doubt, then proven, completed, settled at its price."""
    job = world.job()
    world.shop.progresses = [Running()] * 200
    (failed,) = world.live(job, rounds=300)
    assert (failed.error_code, failed.billed) == ("DEADLINE_EXCEEDED", "unknown")
    world.shop.progresses = []
    wait(world)
    (done,) = world.live(job)
    assert (done.status, done.billed, done.cost_uncertain) == (Status.COMPLETED, "yes", None)
    assert world.kinds(job) == ["reserve", "uncertain", "settle"]
    assert str(job.id) in world.heard.withdrawn
    world.closes()


def test_bytes_that_could_not_be_kept_in_time_are_found(world: World) -> None:
    """A worker died with the picture in `attempts/`, its job was given up: the picture is used all the same."""
    world.studio.submissions = [Unknown(error=Temporary("reset"))]
    job = world.job("gemini")
    world.chain(job)
    attempt_id = world.now(job).attempt_id
    assert attempt_id is not None
    world.files.put(layout.attempt_key(attempt_id), PICTURE, "image/png")
    wait(world)
    assert world.live(job)[0].status is Status.COMPLETED
    assert world.studio.calls == 1
    world.closes()


def test_an_order_that_was_kept_in_the_store_alone_is_asked_for(world: World) -> None:
    """Neither PostgreSQL nor a reconciliation heard of the order in time: its number is found, and its picture used."""
    world.shop.submissions = [Unknown(error=Temporary("reset"))]
    job = world.job()
    world.chain(job)
    attempt_id = world.now(job).attempt_id
    assert attempt_id is not None
    world.files.put(layout.attempt_key(attempt_id), Keepsake(order="o9").packed(), "application/octet-stream")
    wait(world)
    (done,) = world.live(job)
    assert (done.status, done.billed, world.shop.calls, world.shop.polls) == (Status.COMPLETED, "yes", 1, 1)
    world.closes()


def test_a_question_that_is_refused_says_nothing_of_the_order(world: World) -> None:
    """The key was withdrawn: nothing is released, and once there is another the picture is fetched and settled."""
    job = given_up_with_an_order(world)
    world.shop.progresses = [AuthError("key withdrawn")]
    world.sweep()
    assert (world.now(job).billed, world.kinds(job)) == ("unknown", ["reserve", "uncertain"])
    wait(world)
    (done,) = world.live(job)
    assert (done.status, world.kinds(job)) == (Status.COMPLETED, ["reserve", "uncertain", "settle"])
    world.closes()


@pytest.mark.parametrize("spoilt", [ArtifactExpired("gone"), b"<html>"])
def test_a_file_that_is_gone_is_no_release(world: World, spoilt: ImagegenError | bytes) -> None:
    """The provider drew, and its file cannot be had: what is uncertain stays so, or was charged; never nothing."""
    job = given_up_with_an_order(world)
    world.web.answers = [spoilt]
    world.sweep()
    assert world.now(job).billed != "no"
    assert "release" not in world.kinds(job)


def test_an_order_that_came_to_nothing_is_released(world: World) -> None:
    """The provider says that it drew and charged nothing: what was uncertain is released, nothing is looked for."""
    job = given_up_with_an_order(world)
    world.shop.progresses = [Failed(error=GenerationFailed("no", {"billed": "no"}))]
    world.sweep()
    ended = world.now(job)
    assert (ended.status, ended.billed, ended.cost_uncertain) == (Status.FAILED, "no", None)
    assert world.kinds(job) == ["reserve", "uncertain", "release"]
    polls = world.shop.polls
    wait(world)
    assert world.shop.polls == polls
    world.shop.charged = 0
    world.closes()


def test_an_order_of_unknown_charge_stays_uncertain(world: World) -> None:
    """Failed at the provider, which does not say whether it charged: neither do we."""
    job = given_up_with_an_order(world)
    world.shop.progresses = [Failed(error=GenerationFailed("no", {"billed": "unknown"}))]
    world.sweep()
    assert (world.now(job).billed, world.kinds(job)) == ("unknown", ["reserve", "uncertain"])
    world.closes()


@pytest.mark.parametrize("trouble", [Temporary("busy"), BadArtifact("half a picture")])
def test_a_passing_trouble_is_looked_at_again(world: World, trouble: ImagegenError) -> None:
    """Neither a busy provider nor a bad download gives a paid picture up."""
    job = given_up_with_an_order(world)
    if isinstance(trouble, BadArtifact):
        world.web.answers = [trouble]
    else:
        world.shop.progresses = [trouble]
    world.sweep()
    assert world.now(job).status is Status.FAILED
    wait(world)
    assert world.live(job)[0].status is Status.COMPLETED
    world.closes()


def test_the_looking_ends(world: World) -> None:
    """A picture that never comes is asked for a bounded number of times."""
    given_up_with_an_order(world)
    world.shop.progresses = [Running()] * 50
    for _ in range(policies.COLLECT_TRIES + 5):
        wait(world)
        world.clock.advance(3600)
    assert 50 - len(world.shop.progresses) == policies.COLLECT_TRIES


def test_a_job_that_goes_on_is_left_alone(world: World) -> None:
    """A message about an attempt whose job is live, completed or unknown does no harm."""
    job = world.job()
    world.stage(job)
    attempt_id = world.now(job).attempt_id
    assert attempt_id is not None
    assert collecting.collect(attempt_id, world.services) == "its job goes on"
    world.live(job)
    assert collecting.collect(attempt_id, world.services) == "its job has it"
    assert collecting.collect(job.id, world.services) == "there is no such attempt"
    assert world.now(job).cost_credits == PAID
    world.closes()


def given_up_with_an_order(world: World) -> Job:
    """A job that ended in doubt before its order's number came."""

    def late() -> None:
        world.clock.advance(policies.LEASE.total_seconds() + 1)
        world.sweep()
        world.stage(job)
        world.clock.advance(policies.SETTLING + 1)
        world.sweep()
        world.stage(job)

    world.shop.meanwhile = late
    world.shop.submissions = [Accepted(provider_job_id="late")]
    job = world.job()
    world.stage(job, Stage.GENERATE)
    assert world.now(job).error_code == "SUBMISSION_UNKNOWN"
    world.shop.meanwhile = lambda: None
    return job


def wait(world: World) -> None:
    """Until the next look."""
    world.clock.advance(policies.COLLECT_EVERY.total_seconds() * 2**6)
    world.sweep()


def test_a_doubt_after_a_charge_is_resolved_too(world: World) -> None:
    """An earlier attempt was charged for nothing, the newest ended in doubt: its late proof counts all the same."""
    world.shop.progresses = [Failed(error=GenerationFailed("no", {"billed": "yes"})), *[Running()] * 200]
    job = world.job(max_paid_attempts=2)
    (failed,) = world.live(job, rounds=300)
    assert (failed.error_code, failed.attempts, failed.billed) == ("DEADLINE_EXCEEDED", 2, "yes")
    assert None not in (failed.cost_wasted, failed.cost_uncertain)
    world.shop.progresses = []
    wait(world)
    (done,) = world.live(job)
    assert (done.status, done.cost_wasted, done.cost_uncertain) == (Status.COMPLETED, failed.cost_wasted, None)
    assert world.kinds(job) == ["reserve", "waste", "reserve", "uncertain", "settle"]
    world.closes()
