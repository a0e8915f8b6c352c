"""The stories of cancelling and of going on again, on real PostgreSQL; and a cancel that races with its worker."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from imagegen import cancelling, layout
from imagegen.errors import Conflict, ContentRefused
from imagegen.jobs import Job
from imagegen.providers.base import Unknown
from imagegen.states import Status
from tests.door import served
from tests.jobs_kit import PostgresStore
from tests.pipeline_parts import World
from tests.unit import test_cancelling, test_retry_keys, test_retrying, test_retrying_batches

pytest_plugins = ["tests.stores"]

for stories in (test_cancelling, test_retrying, test_retrying_batches, test_retry_keys):
    for name, story in vars(stories).items():
        if name.startswith("test_"):
            globals()[name] = story


@pytest.fixture
def world(postgres: PostgresStore) -> World:
    """The jobs in PostgreSQL, the rest in memory."""
    return World(postgres)


@pytest.mark.parametrize("provider", ["nanobanana", "gemini"])
def test_a_cancel_that_races_with_its_worker_tells_the_truth(world: World, provider: str) -> None:
    """Both at once, ten times: the job ends once, completed or cancelled, and the books agree with the charges."""
    for _ in range(10):
        job = world.job(provider)
        with ThreadPoolExecutor(2) as both:
            working, cancelling_ = both.submit(worked, world, job), both.submit(cancelled, world, job)
            working.result()
            cancelling_.result()
        (ended,) = world.live(job)
        assert ended.status in {Status.COMPLETED, Status.CANCELLED}
        published = world.files.head(layout.picture_keys(job).picture) is not None
        assert published is (ended.status is Status.COMPLETED)
        bought = world.kinds(job)[-1:] in (["settle"], ["waste"])
        assert (ended.billed == "yes") is bought
    world.closes()


def test_buying_again_twice_at_once_buys_once(world: World) -> None:
    """The owner's word arrives eight times over HTTP: one run more, one purchase more, and each answer is that run."""
    world.shop.submissions = [Unknown(error=ContentRefused("reset"))]
    (job,) = world.live(world.job())
    assert job.billed == "unknown"
    with served(world.services) as door, ThreadPoolExecutor(8) as clicks:
        caller, path = door.as_(job.owner), f"/api/images/jobs/{job.id}/retry"
        sent = [clicks.submit(caller.post, path, {"buy": True}) for _ in range(8)]
        answers = [one.result() for one in sent]
    assert {(reply.status_code, reply.json()["run"]) for reply in answers} == {(202, 2)}
    (done,) = world.live(job)
    assert (done.status, done.paid_attempts, world.shop.calls) == (Status.COMPLETED, 2, 2)
    world.closes()


def worked(world: World, job: Job) -> None:
    """The worker's part, as far as it comes."""
    world.chain(job)


def cancelled(world: World, job: Job) -> None:
    """The owner's part."""
    try:
        cancelling.cancel(job.id, world.services)
    except Conflict:
        assert world.now(job).status is Status.COMPLETED
