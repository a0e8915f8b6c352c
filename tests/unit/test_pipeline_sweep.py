"""The sweep: nothing that was accepted is forgotten, whatever was lost, and nothing happens twice."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from itertools import permutations
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from imagegen import endings, policies
from imagegen.errors import ContentRefused, GenerationFailed, PartUnavailable, Temporary
from imagegen.jobs import Batch, Job
from imagegen.providers.base import Delivered, Failed, NotSent, Rejected, Running, Unknown
from imagegen.records import Move
from imagegen.states import BatchStatus, MoveName, Stage, Status
from imagegen.testing.memory import MemoryJobs
from tests.jobs_kit import MemoryStore, at, new_batch
from tests.pipeline_doubles import Killed, strike
from tests.pipeline_parts import World, parked

pytest_plugins = ["tests.worlds"]


def test_a_job_without_any_message_is_done(world: World) -> None:
    """Its row is enough: the sweep hints at it until somebody works."""
    job = world.job()
    assert world.live(job)[0].status is Status.COMPLETED
    world.closes()


def test_lost_hints_are_sent_again_ever_more_slowly(world: World) -> None:
    """Nobody listens: the grace between two hints doubles, 10, 20, 40 seconds, and no further: whatever was lost with
    all of Redis, no job waits for a minute."""
    job = world.job()
    heard = []
    for _ in range(160):
        heard += [world.clock.monotonic() for _ in world.sweep()]
        world.clock.advance(1)
    assert heard == [0, 10, 30, 70, 110, 150]
    world.live(job)
    world.closes()


def test_a_worker_killed_right_after_its_claim(world: World) -> None:
    """Nothing was bought: the lease runs out, the job is queued again and bought once."""
    world.blobs.strikes["head"] = Killed()
    first = world.job(fingerprint="f")
    world.chain(first)
    world.live(first)
    second = world.job(fingerprint="f")
    with pytest.raises(Killed):
        world.stage(second)
    assert world.now(second).status is Status.PROCESSING
    assert world.live(second)[0].cache_hit
    assert "hold" in world.moves(second)
    world.closes()


def test_a_broker_away_loses_no_hint(world: World) -> None:
    """The sweep could not send: the rows stay due, the next sweep sends."""
    job = world.job()
    hinting = world.heard.jobs
    world.heard.jobs = lambda jobs: (_ for _ in ()).throw(PartUnavailable("away"))  # type: ignore[method-assign]
    world.sweep()
    world.heard.jobs = hinting  # type: ignore[method-assign]
    assert world.live(job)[0].status is Status.COMPLETED
    world.closes()


@pytest.mark.parametrize("ends", ["completed", "failed"])
def test_an_end_that_could_not_be_told_is_told_later(world: World, ends: str) -> None:
    """Redis away when the job ends: it ends all the same, and is told when Redis is back."""
    if ends == "failed":
        world.studio.submissions = [Rejected(error=ContentRefused("no"))]
    job = world.job("gemini")
    world.redis.go_away(30)
    world.chain(job)
    assert (world.now(job).status.value, world.heard.documents) == (ends, {})
    for _ in range(20):
        world.clock.advance(5)
        world.sweep()
    assert [document["status"] for document in world.heard.documents[str(job.id)]] == [ends]
    world.closes()


def test_each_end_is_told_twice_and_no_more(world: World) -> None:
    """Once by the worker, once by the sweep: the worker may have died before it told."""
    job = world.job("gemini")
    world.chain(job)
    for _ in range(10):
        world.clock.advance(5)
        world.sweep()
    assert len(world.heard.documents[str(job.id)]) == 2


def test_a_queued_job_over_time_ends(world: World) -> None:
    """Before anything was bought: DEADLINE_EXCEEDED, failed while processing, nothing in the books."""
    job = world.job(deadline_at=at(3))
    world.clock.advance(4)
    assert world.sweep() == []
    failed = world.now(job)
    assert (failed.error_code, failed.billed, failed.failure_stage) == ("DEADLINE_EXCEEDED", "no", "processing")
    assert world.kinds(job) == []
    world.closes()


def test_the_sweep_does_not_end_what_a_worker_just_took(world: World) -> None:
    """Over time in the sweep's eyes, claimed in between: the worker's claim decides."""
    job = world.job(deadline_at=at(3))
    world.clock.advance(4)
    claim = Move(
        job_id=job.id, name=MoveName.CLAIM, at=world.clock.now(), cause="test", worker="w2", claim=UUID(int=7),
        until=world.clock.now() + timedelta(seconds=30),
    )  # fmt: skip
    world.jobs.before[MoveName.FAIL] = lambda: world.store.jobs.claim(claim, None) and None
    world.sweep()
    assert world.now(job).claim == UUID(int=7)
    assert world.live(job)[0].error_code == "DEADLINE_EXCEEDED"
    world.closes()


def a_batch(world: World, size: int) -> tuple[Batch, list[UUID]]:
    """An admitted batch of synchronous jobs that can be drawn."""
    batch, plain = new_batch(size)
    jobs = [world.new("gemini", batch_id=batch.id, batch_index=one.batch_index) for one in plain]
    return batch, [job.id for job in world.batch(batch, jobs)]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_batch_closes_once_with_its_last_member(world: World, order: tuple[int, ...]) -> None:
    """Whatever the order: open while a member lives, closed once, partial where one failed, told at once."""
    batch, ids = a_batch(world, 3)
    world.studio.submissions = [Rejected(error=ContentRefused("no"))]
    for nth in order:
        assert str(batch.id) not in world.heard.documents
        world.chain(world.store.jobs.get(ids[nth]))
    closed, _ = world.store.jobs.get_batch(batch.id)
    assert closed.status is BatchStatus.PARTIAL
    assert len(world.heard.documents[str(batch.id)]) == 1
    assert endings.finish_batch(batch.id, world.services) is False
    world.closes()


def test_a_batch_whose_closing_was_lost(world: World) -> None:
    """The last worker died before it closed the batch: the sweep closes it and tells."""
    batch, ids = a_batch(world, 2)
    first, last = map(world.store.jobs.get, ids)
    world.chain(first)
    world.jobs.strikes["close_batch"] = Killed()
    with pytest.raises(Killed):
        world.chain(last)
    assert str(batch.id) not in world.heard.documents
    world.sweep()
    assert [one["status"] for one in world.heard.documents[str(batch.id)]] == ["completed"]
    world.closes()


def test_a_batch_is_told_again_until_somebody_heard(world: World) -> None:
    """Redis went away between a member's announcement and its batch's: both are told again."""
    batch, ids = a_batch(world, 1)
    job = world.store.jobs.get(ids[0])
    world.redis.go_away(9)
    world.chain(job)
    world.clock.advance(policies.ANNOUNCE_AGAIN.total_seconds())
    publish = world.heard.publish

    def away_for_batches(identity: str, document: object) -> None:
        if identity == str(batch.id):
            raise PartUnavailable("away")
        publish(identity, document)  # type: ignore[arg-type]

    world.heard.publish = away_for_batches  # type: ignore[method-assign,assignment]
    world.sweep()
    world.heard.publish = publish  # type: ignore[method-assign]
    assert str(batch.id) not in world.heard.documents
    world.sweep()
    assert [one["status"] for one in world.heard.documents[str(batch.id)]] == ["completed"]


ANSWERS = {
    "well": None,
    "not sent": NotSent(error=Temporary("no route")),
    "busy": Rejected(error=Temporary("busy")),
    "refused": Rejected(error=ContentRefused("no")),
    "unknown": Unknown(error=Temporary("reset")),
    "killed": Killed(),
    "rubbish": Delivered(data=b"<html>"),
}
POLLS = {"ready": None, "running": Running(), "failed": Failed(error=GenerationFailed("no", {"billed": "yes"}))}
STRIKES = [MoveName.SUBMIT, MoveName.ACCEPT, MoveName.DELIVER, MoveName.FETCHED, MoveName.COMPLETE, MoveName.FAIL]
Call = tuple[str, str, int]
CALLS = some.lists(
    some.tuples(
        some.sampled_from(["stage", "stage", "stage", "sweep"]), some.sampled_from(list(Stage)), some.integers(0, 40)
    ),
    max_size=25,
)


@settings(max_examples=250)
@given(
    provider=some.sampled_from(["nanobanana", "gemini"]),
    answer=some.sampled_from(list(ANSWERS)),
    told=some.sampled_from(list(POLLS)),
    struck=some.none() | some.sampled_from(STRIKES),
    written=some.booleans(),
    dead=some.booleans(),
    paid=some.integers(1, 2),
    calls=CALLS,
    during=some.lists(some.sampled_from([*Stage, "sweep", "lease"]), max_size=6),
)
def test_any_order_of_doubled_messages_buys_what_is_allowed(
    provider: str,
    answer: str,
    told: str,
    struck: MoveName | None,
    written: bool,
    dead: bool,
    paid: int,
    calls: list[Call],
    during: list[str],
) -> None:
    """Every stage doubled, in any order, with sweeps, waits, a kill or a broken commit in between and during a call.

    No more charged calls than the job may pay, one end (but for late proof), one COMPLETE at most, books that close.
    """
    world = World(MemoryStore(MemoryJobs()))
    shop = world.studio if provider == "gemini" else world.shop
    shop.submissions = [one for one in [ANSWERS[answer]] if one is not None]
    shop.progresses = [one for one in [POLLS[told]] if one is not None]
    if struck is not None:
        place = world.jobs.after if written else world.jobs.before
        place[struck] = strike(Killed() if dead else PartUnavailable("broken connection"))
    job = world.job(provider, max_paid_attempts=paid)

    def meanwhile() -> None:
        for one in during:
            world.clock.advance(policies.LEASE.total_seconds() + 1 if one == "lease" else 0)
            _mixed_in(world, job, one)

    shop.meanwhile = meanwhile
    for call, stage, wait in calls:
        world.clock.advance(wait)
        _mixed_in(world, job, stage if call == "stage" else call)
    assert _to_the_end(world, job).terminal
    moves = world.moves(job)
    assert shop.charged <= paid
    assert moves.count("complete") + moves.count("fail") == 1 + moves.count("prove")
    world.closes(unsent=None)


def _mixed_in(world: World, job: Job, call: str) -> None:
    """Another worker's stage, or a sweep; its end is not this one's."""
    with suppress(Killed, PartUnavailable):
        world.stage(job, Stage(call)) if call in set(Stage) else world.sweep()


def _to_the_end(world: World, job: Job) -> Job:
    """Lives on, also where workers are killed on the way."""
    for _ in range(5):
        try:
            return world.live(job)[0]
        except Killed:
            continue
    raise AssertionError("killed again and again")


@settings(max_examples=100)
@given(order=some.permutations([0, 0, 1, 1, 2, 2, 3, 3]), refused=some.sets(some.integers(0, 3)))
def test_a_batch_closes_once_whatever_the_order(order: list[int], refused: set[int]) -> None:
    """Members doubled and mixed: exactly one closing, the right end, one document told at the close."""
    world = World(MemoryStore(MemoryJobs()))
    batch, ids = a_batch(world, 4)
    for nth in order:
        if nth in refused:
            world.studio.submissions = [Rejected(error=ContentRefused("no"))]
        world.chain(world.store.jobs.get(ids[nth]))
        world.studio.submissions.clear()
    closed, jobs = world.store.jobs.get_batch(batch.id)
    whole = {0: BatchStatus.COMPLETED, 4: BatchStatus.FAILED}
    assert closed.status is whole.get(len(refused), BatchStatus.PARTIAL)
    assert len(world.heard.documents[str(batch.id)]) == 1
    assert all(job.terminal for job in jobs)
    world.closes()


def test_a_job_that_rests_is_not_hurried(world: World) -> None:
    """Messages for every stage while it is parked change nothing."""
    world.shop.submissions = [NotSent(error=Temporary("no route"))]
    job = world.job()
    parked(world.stage(job))
    before = world.now(job)
    for stage in Stage:
        world.stage(job, stage)
    assert world.now(job) == before
    world.live(job)
    world.closes()
