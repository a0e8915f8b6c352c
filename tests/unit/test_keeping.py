"""Where paid bytes cannot be kept none are bought: one process's memory of its object store."""

from __future__ import annotations

from datetime import timedelta

import pytest

from imagegen import keeping
from imagegen.errors import ImagegenError, PartUnavailable, StorageError
from imagegen.states import Status
from tests.jobs_kit import at
from tests.pipeline_parts import World, parked

pytest_plugins = ["tests.worlds"]

AWAY, DENIED, FULL = PartUnavailable("away"), StorageError("denied"), StorageError("no space", {"retryable": False})
EVERY_REFUSAL = pytest.mark.parametrize("refusal", [AWAY, DENIED, FULL])


def lost(world: World, refusal: ImagegenError) -> None:
    """One paid picture that could not be kept."""
    world.blobs.refused["attempts"] = refusal
    job = world.job("gemini")
    world.chain(job)
    job = world.now(job)
    assert (job.status, job.billed, job.failure_stage) == (Status.FAILED, "yes", "persisting")


@EVERY_REFUSAL
def test_nothing_is_bought_that_cannot_be_kept(world: World, refusal: ImagegenError) -> None:
    """The store refuses for an hour: one picture is paid and lost, those behind it wait and are bought once."""
    lost(world, refusal)
    waiting = [world.job("gemini", deadline_at=at(2 * 3600)) for _ in range(3)]
    end = world.clock.now() + timedelta(hours=1)
    while world.clock.now() < end:
        for job_id in world.sweep():
            world.chain(world.store.jobs.get(job_id))
        world.clock.advance(5)
    assert world.studio.charged == 1
    assert {world.now(job).waiting_for for job in waiting} == {"storage"}
    assert {world.now(job).failures for job in waiting} == {0}
    world.blobs.refused.clear()
    assert {job.status for job in world.live(*waiting)} == {Status.COMPLETED}
    assert world.studio.charged == 4
    assert world.files.head(keeping.PROBE) is None


def test_a_store_that_was_away_for_a_moment_stops_nothing(world: World) -> None:
    """Ten seconds without: the paid bytes are held on to, and what comes after is bought without a question."""
    away = [10.0, 0.0]
    world.studio.meanwhile = lambda: world.blobs.go_away(away.pop(0))
    first = world.job("gemini")
    world.chain(first)
    assert world.now(first).status is Status.COMPLETED
    second = world.job("gemini")
    world.chain(second)
    assert world.now(second).status is Status.COMPLETED
    assert world.studio.charged == 2


def test_a_store_that_refuses_for_a_moment_loses_nothing(world: World) -> None:
    """Credentials that are good again within the patience: the bytes were waited with, as for a store that is away."""
    world.blobs.refused["attempts"] = DENIED
    sleep = world.clock.sleep

    def better(seconds: float) -> None:
        sleep(seconds)
        world.blobs.refused.clear()

    world.clock.sleep = better  # type: ignore[method-assign]
    job = world.job("gemini")
    world.chain(job)
    assert (world.now(job).status, world.studio.charged) == (Status.COMPLETED, 1)
    world.closes()


def test_an_order_is_placed_all_the_same(world: World) -> None:
    """Its picture stays with its provider until it can be kept."""
    lost(world, AWAY)
    job = world.job("nanobanana")
    world.chain(job)
    assert world.shop.charged == 1


def test_the_store_is_asked_seldom_and_with_as_much(world: World) -> None:
    """Between two looks nobody asks; a look puts as many bytes as could not be kept, and takes them away again."""
    lost(world, AWAY)
    puts: list[tuple[str, int]] = []
    put = world.blobs.put

    def noted(key: str, data: bytes, content_type: str, **more: str | None) -> None:
        puts.append((key, len(data)))
        put(key, data, content_type, **more)  # type: ignore[arg-type]

    world.blobs.put = noted  # type: ignore[method-assign,assignment]
    job = world.job("gemini", deadline_at=at(3600))
    rests = parked(world.stage(job)).until - world.clock.now()
    assert puts == []
    assert timedelta(0) < rests <= keeping.LOOK
    world.clock.advance(rests.total_seconds())
    world.stage(job)
    assert [key for key, _ in puts] == [keeping.PROBE]
    assert puts[0][1] > 100
    assert world.studio.charged == 1


def test_a_job_without_the_time_to_wait_ends_unpaid(world: World) -> None:
    """Its deadline comes before the next look: it fails for nothing, and says what is away."""
    lost(world, AWAY)
    job = world.job("gemini", deadline_at=world.clock.now() + keeping.LOOK / 2)
    world.chain(job)
    failed = world.now(job)
    assert (failed.status, failed.error_code, failed.billed) == (Status.FAILED, "PART_UNAVAILABLE", "no")
    assert world.studio.charged == 1
