"""The pipeline's stories again, on real PostgreSQL; and what only a real database can show: two workers at once."""

from __future__ import annotations

import threading

import pytest

from imagegen.jobs import Job
from imagegen.outcomes import Finish, Lost, Outcome
from imagegen.states import Stage, Status
from tests.jobs_kit import PostgresStore
from tests.pipeline_parts import World
from tests.unit import (
    test_pipeline_generate,
    test_pipeline_poll,
    test_pipeline_reconcile,
    test_pipeline_sweep,
    test_pipeline_transfers,
)

pytest_plugins = ["tests.stores"]

# Hypothesis runs many examples per test, each on a store of its own: in memory alone.
IN_MEMORY = {"test_any_order_of_doubled_messages_buys_what_is_allowed", "test_a_batch_closes_once_whatever_the_order"}
# Reaches behind the port.
IN_MEMORY |= {"test_a_worker_without_its_lease_ends_nothing"}

STORIES = (
    test_pipeline_generate,
    test_pipeline_reconcile,
    test_pipeline_poll,
    test_pipeline_transfers,
    test_pipeline_sweep,
)
for stories in STORIES:
    for name, story in vars(stories).items():
        if name.startswith("test_") and name not in IN_MEMORY:
            globals()[name] = story


@pytest.fixture
def world(postgres: PostgresStore) -> World:
    """The jobs in PostgreSQL, the rest in memory."""
    return World(postgres)


@pytest.mark.parametrize("provider", ["nanobanana", "gemini"])
def test_many_workers_at_once_buy_once(world: World, provider: str) -> None:
    """Each message of each stage eight times at the same moment: one wins each stage, one call, one COMPLETE."""
    job = world.job(provider)
    ends = 0
    for _ in range(6):
        now = world.now(job)
        if now.terminal:
            break
        if now.waiting_for is not None:
            world.clock.advance(5)
        outcomes = at_once(8, world, now)
        # Polls are free and may be doubled; what they find is written once.
        assert sum(not isinstance(one, Lost) for one in outcomes) <= (8 if now.stage is Stage.POLL else 1)
        ends += sum(isinstance(one, Finish) for one in outcomes)
    assert (world.now(job).status, ends) == (Status.COMPLETED, 1)
    assert world.shop.calls + world.studio.calls == 1
    world.closes()


def at_once(workers: int, world: World, job: Job) -> list[Outcome]:
    """What each of so many workers makes of the same message."""
    together, outcomes = threading.Barrier(workers), list[Outcome]()

    def work() -> None:
        together.wait(10)
        outcomes.append(world.stage(job, job.stage))

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(outcomes) == workers
    return outcomes
