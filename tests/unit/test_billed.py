"""What a job costs and whether it was charged tell one story, at every moment of its life."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from imagegen import cancelling
from imagegen.errors import BadArtifact, Billed, DeadlineExceeded, GenerationFailed, StorageError
from imagegen.jobs import Job
from imagegen.outcomes import Park
from imagegen.providers.base import Accepted, Failed, Running
from imagegen.retrying import retry
from imagegen.states import Status
from tests.jobs_kit import CENTS
from tests.pipeline_doubles import PAID
from tests.pipeline_parts import World

pytest_plugins = ["tests.worlds"]

PRICE = PAID


def agrees(job: Job) -> None:
    """The row, and the document made from it: charged where a price or a loss is told, in doubt where a doubt is."""
    lost = job.cost_wasted or job.cost_credits
    expected: Billed = "yes" if lost else "unknown" if job.cost_uncertain else "no"
    assert job.billed == expected, (job.status, job.stage, job.cost_credits, job.cost_wasted, job.cost_uncertain)
    document = job.document()
    assert (document.cost.actual or document.cost.waste or 0) == float(lost or 0)
    assert document.billed == expected


@pytest.fixture(autouse=True)
def every_row(world: World, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Every row that a move leaves behind, checked."""
    seen: list[Job] = []

    def watched(name: str) -> Callable[..., Any]:
        inner = getattr(world.store.jobs, name)

        def call(*given: Any, **named: Any) -> Any:
            found = inner(*given, **named)
            for job in [found] if isinstance(found, Job) else found or ():
                agrees(job)
                seen.append(job)
            return found

        return call

    for name in ("apply", "reserve", "polled"):
        monkeypatch.setattr(world.store.jobs, name, watched(name))
    return seen


@pytest.fixture(autouse=True)
def a_price_at_once(world: World) -> None:
    """The provider tells its price as it takes an order."""
    world.shop.submissions = [Accepted(provider_job_id=f"p{index}", actual=PRICE) for index in range(3)]


def drawing(world: World, **fields: Any) -> Job:
    """A job whose order was taken for a price that is told."""
    job = world.job(**fields)
    assert isinstance(world.stage(job), Park)
    now = world.now(job)
    assert (now.status, now.cost_credits, now.billed) == (Status.GENERATING, PRICE, "yes")
    return job


def test_an_order_that_is_taken_for_a_price_is_charged(world: World) -> None:
    """From then on, while it is drawn and transferred, to its end."""
    (done,) = world.live(drawing(world))
    assert (done.status, done.cost_credits, done.billed) == (Status.COMPLETED, PRICE, "yes")
    world.closes()


@pytest.mark.parametrize(("told", "left"), [("no", (0, None, None)), ("unknown", (None, None, CENTS)),
                                            ("yes", (0, PRICE, None))])  # fmt: skip
def test_an_order_that_fails_costs_what_its_provider_says(
    world: World, told: Billed, left: tuple[Decimal | None, ...]
) -> None:
    """A price that was told with the order is no charge where the provider says that it took nothing."""
    world.shop.progresses = [Failed(error=GenerationFailed("no", {"billed": told, "retryable": False}))]
    (ended,) = world.live(drawing(world))
    assert (ended.cost_credits, ended.cost_wasted, ended.cost_uncertain) == left
    assert (ended.status, ended.billed) == (Status.FAILED, told)


def test_a_free_failure_leaves_room_for_a_placeholder(world: World) -> None:
    """Nothing was charged in the end: the placeholder that was asked for stands in."""
    world.shop.progresses = [Failed(error=GenerationFailed("no", {"billed": "no", "retryable": False}))]
    asked = {"prompt": "a fox", "provider": "nanobanana", "referenceImages": [], "placeholder": "on_failure"}
    (shown,) = world.live(drawing(world, request=asked))
    assert (shown.status, shown.placeholder, shown.billed, shown.cost_credits) == (Status.COMPLETED, True, "no", 0)


def test_a_free_failure_is_tried_again_unbilled(world: World) -> None:
    """The next attempt begins without the first one's price, and ends with its own."""
    world.shop.progresses = [Failed(error=GenerationFailed("no", {"billed": "no"}))]
    job = drawing(world, max_paid_attempts=2)
    (done,) = world.live(job)
    assert (done.status, done.attempts, done.billed, done.cost_credits) == (Status.COMPLETED, 2, "yes", PRICE)


def test_an_order_out_of_time_is_in_doubt(world: World) -> None:
    """The price is withdrawn with the certainty, and told again when the picture comes after all."""
    world.shop.progresses = [Running()] * 200
    (failed,) = world.live(drawing(world), rounds=300)
    assert (failed.error_code, failed.billed, failed.cost_credits) == (DeadlineExceeded.code, "unknown", None)
    world.shop.progresses = []
    retry(failed.id, world.services)
    (done,) = world.live(failed)
    assert (done.status, done.billed) == (Status.COMPLETED, "yes")


def test_a_cancelled_order_is_charged(world: World) -> None:
    """Its price is waste."""
    job = drawing(world)
    ended = cancelling.cancel(job.id, world.services)
    assert (ended.billed, ended.cost_wasted, ended.cost_credits) == ("yes", PRICE, 0)


def test_a_bad_file_is_waste_and_asked_for_again(world: World) -> None:
    """The owner's retry turns it back into the price of the order."""
    world.web.answers = [BadArtifact("x"), BadArtifact("y")]
    job = drawing(world)
    (failed,) = world.live(job)
    assert (failed.billed, failed.cost_wasted) == ("yes", PRICE)
    again = retry(job.id, world.services)
    assert (again.billed, again.cost_credits, again.cost_wasted) == ("yes", PRICE, None)
    (done,) = world.live(job)
    assert (done.status, done.cost_credits) == (Status.COMPLETED, PRICE)


def test_a_price_may_be_waste_and_a_price_again(world: World) -> None:
    """Paid and not kept, then no good, then had after all: the books follow, and agree at each end."""
    full = StorageError("no space", {"retryable": False})
    job = drawing(world)
    kinds = ["reserve"]
    for bad in (False, True, False):
        kinds.append("waste" if bad else "settle")
        world.web.answers = [BadArtifact("x"), BadArtifact("y")] if bad else []
        world.blobs.refused = {} if bad else {"blobs": full}
        (failed,) = world.live(job)
        assert (failed.cost_credits, failed.cost_wasted) == ((0, PRICE) if bad else (PRICE, None))
        assert world.kinds(job) == kinds
        retry(job.id, world.services)
    world.blobs.refused = {}
    world.web.answers = [BadArtifact("x"), BadArtifact("y")]
    (failed,) = world.live(job)
    assert (failed.cost_wasted, world.kinds(job)) == (PRICE, [*kinds, "waste"])
