"""Identical jobs through the stages: one purchase, and nobody left behind, whatever becomes of the leader."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from hypothesis import given, settings
from hypothesis import strategies as st

from imagegen import cancelling, layout, policies
from imagegen.errors import ContentRefused, Temporary
from imagegen.jobs import Job
from imagegen.outcomes import Park
from imagegen.providers.base import Rejected, Unknown
from imagegen.records import Claimed
from imagegen.states import MoveName, Status
from imagegen.testing.memory import MemoryJobs
from tests.jobs_kit import MemoryStore, new_batch, step
from tests.pipeline_doubles import PAID, Killed
from tests.pipeline_parts import World, parked

pytest_plugins = ["tests.worlds"]


def same(world: World, **fields: Any) -> Job:
    """A job for the one picture of these tests, with time enough."""
    late = world.clock.now() + timedelta(hours=2)
    return world.job(**{"fingerprint": "fox", "deadline_at": late, "cost_estimated": PAID, **fields})


def waiting(world: World, *jobs: Job) -> None:
    """All of these are parked behind a leader."""
    for job in jobs:
        assert parked(world.stage(job)).reason == "flight"


def statuses(jobs: list[Job]) -> Counter[Status]:
    return Counter(job.status for job in jobs)


def test_identical_jobs_buy_one_picture(world: World) -> None:
    """Fifty at once: one call, one charge, forty-nine hits that cost nothing and save its price each."""
    jobs = [same(world) for _ in range(50)]
    world.stage(jobs[0])
    waiting(world, *jobs[1:])
    done = world.live(*jobs)
    assert statuses(done) == {Status.COMPLETED: 50}
    assert world.shop.charged == 1
    hits = [job for job in done if job.cache_hit]
    assert (len(hits), {job.cost_credits for job in hits}) == (49, {Decimal(0)})
    assert {tuple(world.moves(job)) for job in hits} == {("admit", "claim", "reuse", "publish", "complete")}
    stock = world.store.jobs.stock(emulated=True)
    assert (stock.hits, stock.saved) == (49, 49 * PAID)
    world.closes()


def test_a_refused_leader_is_asked_for_all(world: World) -> None:
    """The provider will not draw it: all that wait fail alike, not billed, after one call; their batch is closed."""
    refusal = Rejected(error=ContentRefused("no foxes"))
    world.shop.submissions = [refusal]
    leader = same(world)
    batch, members = new_batch(2)
    like = {"batch_id": batch.id, "fingerprint": "fox"}
    members = [world.new("nanobanana", batch_index=number, id=one.id, **like) for number, one in enumerate(members)]
    jobs = world.batch(batch, members)
    world.shop.meanwhile = lambda: waiting(world, *jobs)
    world.stage(leader)
    done = world.live(*jobs)
    assert {(job.status, job.error_code, job.billed) for job in done} == {(Status.FAILED, "CONTENT_REFUSED", "no")}
    assert {job.error_message for job in done} == {"no foxes"}
    assert world.shop.calls == 1
    assert world.document(jobs[0])["error"]["billed"] == "no"
    assert str(batch.id) in world.heard.documents
    world.closes()


def test_a_cancelled_leader_hands_over(world: World) -> None:
    """Stopped before it bought: another one leads, and the rest complete from its picture."""
    first, *others = [same(world) for _ in range(4)]
    assert isinstance(world.store.jobs.claim(step(first, MoveName.CLAIM, claim=uuid4()), None), Claimed)
    waiting(world, *others)
    cancelling.cancel(first.id, world.services)
    assert world.now(first).status is Status.CANCELLED
    done = world.live(*others)
    assert statuses(done) == {Status.COMPLETED: 3}
    assert world.shop.charged == 1
    world.closes()


def test_passing_failures_buy_once_in_the_end(world: World) -> None:
    """The provider is away for a while: the jobs try one after the other, and one charge serves all."""
    world.shop.submissions = [Rejected(error=Temporary("503")) for _ in range(4)]
    jobs = [same(world) for _ in range(6)]
    assert statuses(world.live(*jobs, rounds=200)) == {Status.COMPLETED: 6}
    assert world.shop.charged == 1
    world.closes()


def test_after_a_doubt_one_follower_buys(world: World) -> None:
    """The leader's answer never came: it fails in doubt, one of the others buys, and the rest are hits."""
    world.shop.submissions = [Unknown(error=Temporary("reset"))]
    jobs = [same(world) for _ in range(5)]
    done = world.live(*jobs)
    assert statuses(done) == {Status.FAILED: 1, Status.COMPLETED: 4}
    lost = next(job for job in done if job.status is Status.FAILED)
    assert (lost.error_code, lost.billed) == ("SUBMISSION_UNKNOWN", "unknown")
    assert world.shop.charged == 2
    assert sum(job.cache_hit for job in done) == 3


def test_what_came_since_the_claim_is_not_bought(world: World) -> None:
    """The picture is cached between a claim and its intent: the job is claimed anew, and is a hit."""
    job, other = same(world, provider="gemini"), same(world, provider="gemini", fresh=True)

    def meanwhile() -> None:
        world.chain(other)

    world.jobs.before[MoveName.SUBMIT] = meanwhile
    assert parked(world.stage(job)).reason == "flight"
    assert statuses(world.live(job, other)) == {Status.COMPLETED: 2}
    assert (world.now(job).cache_hit, world.studio.calls) == (True, 1)


def test_a_picture_that_is_gone_is_bought_once(world: World) -> None:
    """The cached original is gone from the object store: of all that would have used it, one buys a new one."""
    world.live(same(world))
    found = world.store.jobs.cached("fox", emulated=True)
    assert found is not None
    world.files.delete(layout.blob_key(found.blob_sha256))
    jobs = [same(world) for _ in range(4)]
    assert statuses(world.live(*jobs)) == {Status.COMPLETED: 4}
    assert world.shop.charged == 2
    assert sum(world.now(job).cache_hit for job in jobs) == 3


def test_a_rotten_picture_is_bought_once(world: World) -> None:
    """Found out at the upload of several hits at the same time: one buys, the others have its picture."""
    world.live(same(world))
    found = world.store.jobs.cached("fox", emulated=True)
    assert found is not None
    jobs = [same(world) for _ in range(3)]
    for job in jobs:
        world.stage(job)
    world.files.put(layout.blob_key(found.blob_sha256), b"rotten", "image/png")
    assert [parked(world.stage(job)).reason for job in jobs] == ["cache"] * 3
    world.shop.meanwhile = lambda: world.files.delete(layout.blob_key(found.blob_sha256))
    assert statuses(world.live(*jobs)) == {Status.COMPLETED: 3}
    assert world.shop.charged == 2


def test_a_purged_picture_is_bought_anew(world: World) -> None:
    """The row is gone, the original stays: the next job buys, and the one after is a hit again."""
    world.live(same(world))
    world.store.jobs.purge(emulated=True)
    jobs = [same(world), same(world)]
    world.live(*jobs)
    assert (world.shop.charged, sum(world.now(job).cache_hit for job in jobs)) == (2, 1)


FATES = st.sampled_from(["well", "well", "killed", "unknown", "temporary", "cancelled", "deaf"])


@settings(max_examples=200)
@given(fates=st.lists(FATES, min_size=0, max_size=6), count=st.integers(2, 6), sweeps=st.integers(0, 2))
def test_nobody_is_left_behind(fates: list[str], count: int, sweeps: int) -> None:
    """However leaders die, one charge per call that may have been one, and every job ends."""
    world = World(MemoryStore(MemoryJobs()))
    jobs = [same(world) for _ in range(count)]
    for fate in fates:
        _befall(world, jobs, fate)
    for _ in range(sweeps):
        world.sweep()
    done = world.live(*jobs, rounds=300)
    assert all(job.terminal for job in done)
    doubts = sum(job.error_code == "SUBMISSION_UNKNOWN" for job in done)
    cancelled = sum(job.status is Status.CANCELLED for job in done)
    bought = sum(job.status is Status.COMPLETED and not job.cache_hit for job in done)
    assert bought <= 1
    assert world.shop.charged <= bought + doubts + cancelled
    assert statuses(done)[Status.COMPLETED] == count - doubts - cancelled
    assert not world.store.jobs.flights  # type: ignore[attr-defined]
    world.closes(unsent=None)


def _befall(world: World, jobs: list[Job], fate: str) -> None:
    """The next job that can be claimed is, and this becomes of it."""
    job = next((one for one in jobs if world.now(one).status is Status.QUEUED), None)
    if job is None:
        return
    answers = {
        "killed": Killed(), "unknown": Unknown(error=Temporary("reset")), "temporary": Rejected(error=Temporary("503")),
    }  # fmt: skip
    world.shop.submissions = [answers[fate]] if fate in answers else []
    try:
        outcome = world.stage(job)
    except Killed:
        return
    finally:
        world.shop.submissions = []
    if fate == "cancelled":
        cancelling.cancel(job.id, world.services)
    elif fate == "deaf" and not isinstance(outcome, Park):
        world.clock.advance(policies.LEASE.total_seconds() + 1)
