"""Going on with the failed members of a batch: whole or not at all, the good pictures never bought again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imagegen import endings
from imagegen.budgets import SMALLEST
from imagegen.errors import BudgetExceeded, Conflict, ContentRefused, PurchaseNeeded, StorageError
from imagegen.money import NOTHING
from imagegen.providers.base import Delivered, Rejected, Unknown
from imagegen.retrying import retry_batch
from imagegen.states import BatchStatus, Status
from tests.pipeline_doubles import PAID
from tests.pipeline_parts import World

pytest_plugins = ["tests.worlds"]

FULL = StorageError("no space", {"retryable": False})


def test_of_a_batch_the_failed_member_alone_goes_on(world: World) -> None:
    """The batch opens again, the good pictures are not touched, and it closes as completed."""
    batch, jobs = world.batch_of(3)
    world.studio.submissions = [Rejected(error=ContentRefused("no"))]
    world.live(*jobs)
    endings.finish_batch(batch.id, world.services)
    before = [world.now(job) for job in jobs]
    assert world.store.jobs.get_batch(batch.id)[0].status is BatchStatus.PARTIAL
    opened, _ = retry_batch(batch.id, world.services)
    assert (opened.status, opened.run, opened.completed_at) == (BatchStatus.RUNNING, 2, None)
    assert str(batch.id) in world.heard.withdrawn
    world.live(*jobs)
    closed, members = world.store.jobs.get_batch(batch.id)
    good = [replace(job, announce_at=None) for job in before if job.status is Status.COMPLETED]
    assert (closed.status, sorted(job.run for job in members)) == (BatchStatus.COMPLETED, [1, 1, 2])
    assert [replace(job, announce_at=None) for job in members if job.run == 1] == good
    assert world.studio.charged == 3
    with pytest.raises(Conflict):
        retry_batch(batch.id, world.services)


def test_a_batch_goes_on_whole_or_not_at_all(world: World) -> None:
    """One member would have to be bought again: the dollars are told and no member moves; with `buy` all go on."""
    batch, jobs = world.batch_of(3)
    world.studio.submissions = [
        Rejected(error=ContentRefused("no")), Delivered(data=b"<html>", actual=PAID), Unknown(error=FULL)
    ]  # fmt: skip
    world.live(*jobs)
    before = [world.now(job) for job in jobs]
    with pytest.raises(PurchaseNeeded, match=r"2 of 3 .*\$0\.078"):
        retry_batch(batch.id, world.services)
    assert [world.now(job) for job in jobs] == before
    retry_batch(batch.id, world.services, buy=True)
    assert {job.status for job in world.live(*jobs)} == {Status.COMPLETED}


def test_a_batch_fits_its_budget_whole_or_not_at_all(world: World) -> None:
    """Two refused members and room for one: neither goes on, and what both ask for is told; with room both do."""
    batch, jobs = world.batch_of(3)
    world.studio.submissions = [Rejected(error=ContentRefused("no")), Rejected(error=ContentRefused("no"))]
    world.live(*jobs)
    before = [world.now(job) for job in jobs]
    price = next(job.cost_estimated for job in before if job.status is Status.FAILED) or NOTHING
    spent = sum((job.committed for job in before), NOTHING)
    room = spent + price * 3 / 2
    world.services.budgets.set("project:demo", "total", room.quantize(SMALLEST), True, at=world.clock.now())
    with pytest.raises(BudgetExceeded) as refused:
        retry_batch(batch.id, world.services)
    assert refused.value.details["requested"] == float(2 * price)
    assert [world.now(job) for job in jobs] == before
    world.services.budgets.set("project:demo", "total", spent + 2 * price, True, at=world.clock.now())
    retry_batch(batch.id, world.services)
    assert {job.status for job in world.live(*jobs)} == {Status.COMPLETED}
