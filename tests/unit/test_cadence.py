"""When a provider is asked: learnt per model, a little early at first, then backing off."""

from __future__ import annotations

from datetime import timedelta

import pytest

from imagegen import policies
from imagegen.cadence import EARLIER, LEARN_EVERY, PATIENCE, first_poll, next_poll
from tests.jobs_kit import new_job
from tests.pipeline_parts import World

pytest_plugins = ["tests.worlds"]


class Latencies:
    """Answers the query for latencies, and counts it."""

    def __init__(self, *seconds: float) -> None:
        self.seconds, self.asked = list(seconds), 0

    def __call__(self, provider: str, model: str, *, limit: int = 50) -> list[float]:
        self.asked += 1
        return list(self.seconds)


def taught(world: World, *seconds: float) -> Latencies:
    latencies = Latencies(*seconds)
    world.jobs.latencies = latencies  # type: ignore[attr-defined]
    return latencies


def test_an_unmeasured_model_is_asked_after_a_while(world: World) -> None:
    """Nothing known: two seconds, and it is looked up anew each time."""
    latencies = taught(world)
    job = new_job(model="m")
    assert [first_poll(job, world.services) for _ in range(2)] == [policies.POLL_UNKNOWN] * 2
    assert latencies.asked == 2


def test_the_first_poll_comes_before_most_pictures(world: World) -> None:
    """A share of a low quantile, whatever the order of the measurements and however slow a few were."""
    taught(world, 90.0, 10.0, 12.0, 11.0, 14.0, 13.0, 15.0)
    assert first_poll(new_job(model="m"), world.services) == timedelta(seconds=11.0 * EARLIER)


def test_a_model_that_became_faster_is_noticed(world: World) -> None:
    """Polls measure no less than their own first wait: each round of learning comes down all the same."""
    latencies = taught(world, *[20.0] * 20)
    job, firsts = new_job(model="m"), []
    for _ in range(5):
        firsts.append(first_poll(job, world.services).total_seconds())
        latencies.seconds = [firsts[-1]] * 20
        world.clock.advance(LEARN_EVERY)
    assert firsts == sorted(firsts, reverse=True)
    assert firsts[-1] < 2


def test_a_process_remembers_for_a_while(world: World) -> None:
    """One query per model and twenty seconds, however many jobs."""
    latencies = taught(world, 10.0)
    for _ in range(30):
        first_poll(new_job(model="m"), world.services)
    assert latencies.asked == 1
    first_poll(new_job(model="other"), world.services)
    assert latencies.asked == 2
    world.clock.advance(LEARN_EVERY)
    first_poll(new_job(model="m"), world.services)
    assert latencies.asked == 3


@pytest.mark.parametrize(("waited", "seconds"), [(0, 0.4), (5, 0.4), (20, 20 * PATIENCE), (3600, 15)])
def test_the_next_poll_keeps_step_with_the_waiting(world: World, waited: float, seconds: float) -> None:
    """A share of the time waited since the submission, between 0.4 and 15 seconds."""
    submitted = world.clock.now() - timedelta(seconds=waited)
    job = new_job(submitted_at=submitted, updated_at=world.clock.now())
    assert next_poll(job, world.services).total_seconds() == pytest.approx(seconds)
    untold = new_job(submitted_at=None, updated_at=submitted)
    assert next_poll(untold, world.services) == next_poll(job, world.services)
