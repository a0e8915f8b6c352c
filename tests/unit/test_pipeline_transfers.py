"""The stages `download` and `upload`: a paid picture is kept, whatever its address and the object store do."""

from __future__ import annotations

from decimal import Decimal

import pytest

from imagegen import layout, policies
from imagegen.errors import (
    ArtifactExpired,
    BadArtifact,
    ImagegenError,
    NotFound,
    PartUnavailable,
    RateLimited,
    StorageError,
    Temporary,
)
from imagegen.jobs import Job
from imagegen.outcomes import Advance, Finish, Lost
from imagegen.providers.base import Rejected, Running
from imagegen.states import MoveName, Stage, Status
from tests.jobs_kit import at
from tests.pipeline_doubles import PAID, PICTURE, Killed, strike
from tests.pipeline_parts import World, parked

pytest_plugins = ["tests.worlds"]


def arrived(world: World, **fields: object) -> Job:
    """A job whose picture waits at the provider."""
    job = world.job(**fields)
    world.stage(job)
    world.clock.advance(2)
    assert isinstance(world.stage(job), Advance)
    return world.now(job)


def fetched(world: World, **fields: object) -> Job:
    """A job whose original is ours."""
    job = arrived(world, **fields)
    assert isinstance(world.stage(job), Advance)
    return world.now(job)


@pytest.mark.parametrize("first", [b"<html>", PICTURE[:-9], BadArtifact("truncated"), ArtifactExpired("410")])
def test_a_bad_file_is_asked_for_once_more(world: World, first: bytes | ImagegenError) -> None:
    """Not a picture, cut off or gone: the provider is asked for a fresh address, nothing is bought again."""
    world.web.answers = [first]
    job = arrived(world)
    rest = parked(world.stage(job))
    assert (rest.reason, world.now(job).stage) == ("fresh_url", Stage.POLL)
    (done,) = world.live(job)
    assert (done.status, world.shop.calls, len(set(world.web.fetched))) == (Status.COMPLETED, 1, 2)
    world.closes()


@pytest.mark.parametrize("second", [b"<html>", ArtifactExpired("410")])
def test_a_file_that_stays_bad_is_waste(world: World, second: bytes | ImagegenError) -> None:
    """Twice no picture: failed, billed, its price in the books as waste."""
    world.web.answers = [b"<html>", second]
    job = arrived(world)
    (failed,) = world.live(job)
    assert failed.error_code == ("BAD_ARTIFACT" if isinstance(second, bytes) else "ARTIFACT_EXPIRED")
    assert (failed.status, failed.billed, failed.failure_stage) == (Status.FAILED, "yes", "downloading")
    assert (failed.cost_wasted, failed.cost_credits) == (PAID, Decimal(0))
    assert world.kinds(job) == ["reserve", "waste"]
    world.closes()


def test_a_file_that_stays_bad_is_bought_again_where_allowed(world: World) -> None:
    """max_paid_attempts=2: another picture, with a fresh address of its own to come."""
    world.web.answers = [b"<html>", b"<html>", b"<html>"]
    job = arrived(world, max_paid_attempts=2)
    (done,) = world.live(job)
    assert (done.status, done.attempts, world.shop.calls) == (Status.COMPLETED, 2, 2)
    assert world.kinds(job) == ["reserve", "waste", "reserve", "settle"]
    world.closes()


def test_a_picture_that_does_not_decode_is_asked_for_again(world: World) -> None:
    """Found out only by the decoder, after it was kept: a fresh one is asked for."""
    job = fetched(world)
    world.files.put(layout.blob_key(job.blob_sha256 or ""), b"\xff\xd8\xff rotten", "image/png")
    assert parked(world.stage(job)).reason == "fresh_url"
    assert world.live(job)[0].status is Status.COMPLETED
    world.closes()


def test_a_passing_failure_of_the_provider_s_files(world: World) -> None:
    """502 and 429 at the picture's address: tried again with backoff, as late as asked."""
    world.web.answers = [Temporary("502"), Temporary("429", {"retryAfter": 30})]
    job = arrived(world)
    assert parked(world.stage(job)).reason == "backoff"
    assert isinstance(world.stage(job), Lost)
    assert world.live(job)[0].status is Status.COMPLETED
    assert world.clock.monotonic() >= 32
    world.closes()


@pytest.mark.parametrize("stage", [Stage.DOWNLOAD, Stage.UPLOAD])
@pytest.mark.parametrize("error", [PartUnavailable("away"), StorageError("slow down")])
def test_an_object_store_that_comes_back(world: World, stage: Stage, error: ImagegenError) -> None:
    """Away, or refusing for a while: the job rests and goes on; nothing is bought again."""
    job = arrived(world) if stage is Stage.DOWNLOAD else fetched(world)
    world.blobs.strikes["get"] = error
    world.blobs.refused["blobs" if stage is Stage.DOWNLOAD else "project_demo"] = error
    rest = parked(world.stage(job))
    assert (rest.reason, world.now(job).waiting_for, world.now(job).stage) == ("storage", "storage", stage)
    world.blobs.refused.clear()
    world.blobs.strikes.clear()
    (done,) = world.live(job)
    assert (done.status, done.failures > 0) == (Status.COMPLETED, stage is Stage.UPLOAD)
    world.closes()


@pytest.mark.parametrize("stage", [Stage.DOWNLOAD, Stage.UPLOAD])
def test_an_object_store_that_is_gone_for_good(world: World, stage: Stage) -> None:
    """Tried until its deadline, the job fails while persisting, billed, its price settled: it was spent."""
    job = arrived(world) if stage is Stage.DOWNLOAD else fetched(world)
    world.blobs.go_away(10_000)
    (failed,) = world.live(job)
    assert (failed.status, failed.error_code, failed.failure_stage) == (Status.FAILED, "PART_UNAVAILABLE", "persisting")
    assert (failed.billed, failed.cost_credits) == ("yes", PAID)
    assert failed.failures > policies.TRANSFER_FAILURES
    assert world.clock.now() >= failed.deadline_at
    assert world.kinds(job) == ["reserve", "settle"]
    world.closes()


def test_a_store_that_refuses_for_good_is_not_asked_again(world: World) -> None:
    """No permission: failed at once, with the reason."""
    job = arrived(world)
    world.blobs.refused["blobs"] = StorageError("no permission", {"retryable": False})
    outcome = world.chain(job)
    assert isinstance(outcome, Finish)
    assert (outcome.job.error_code, outcome.job.failure_stage, outcome.job.billed) == (
        "STORAGE_ERROR",
        "persisting",
        "yes",
    )
    world.closes()


def test_failures_before_the_purchase_do_not_count_against_the_picture(world: World) -> None:
    """Refused many times, then bought: a single blip of the download is not the last one."""
    world.shop.submissions = [Rejected(error=RateLimited("slow down")) for _ in range(policies.TRANSFER_FAILURES + 1)]
    world.web.answers = [Temporary("502")]
    job = world.job()
    world.chain(job)
    assert world.live(job)[0].status is Status.COMPLETED
    world.closes()


def test_an_original_that_vanished_is_asked_for_again(world: World) -> None:
    """Swept from the store between download and upload: the provider still has it."""
    job = fetched(world)
    world.files.delete(layout.blob_key(job.blob_sha256 or ""))
    assert parked(world.stage(job)).reason == "fresh_url"
    assert world.live(job)[0].status is Status.COMPLETED
    world.closes()


def test_an_original_that_nobody_has_any_more(world: World) -> None:
    """A synchronous provider's picture, gone from the store: paid and lost."""
    job = world.job("gemini")
    world.stage(job)
    world.files.delete(layout.blob_key(world.now(job).blob_sha256 or ""))
    world.chain(job)
    failed = world.now(job)
    assert (failed.error_code, failed.billed) == ("ARTIFACT_EXPIRED", "yes")
    assert world.kinds(job) == ["reserve", "waste"]
    world.closes()


@pytest.mark.parametrize("spoilt", [None, b"\xff\xd8\xff rotten"])
def test_a_cached_picture_that_is_no_good_is_bought(world: World, spoilt: bytes | None) -> None:
    """Found missing or rotten at the upload: the job goes back and buys its own; nothing was paid for the cache."""
    first = world.job(fingerprint="f")
    world.chain(first)
    (done,) = world.live(first)
    second = world.job(fingerprint="f")
    assert isinstance(world.stage(second), Advance)
    key = layout.blob_key(done.blob_sha256 or "")
    world.files.delete(key)
    if spoilt is not None:
        world.files.put(key, spoilt, "image/png")
    assert parked(world.stage(second)).reason == "cache"
    (bought,) = world.live(second)
    assert (bought.status, bought.cache_hit, world.shop.calls) == (Status.COMPLETED, False, 2)
    world.closes()


def test_a_cached_picture_is_free_also_when_it_fails(world: World) -> None:
    """The store goes away for good during a cache hit's upload: not billed, nothing in the books."""
    first = world.job(fingerprint="f")
    world.chain(first)
    world.live(first)
    second = world.job(fingerprint="f")
    world.stage(second)
    world.blobs.go_away(10_000)
    (failed,) = world.live(second)
    assert (failed.status, failed.billed, failed.cost_credits) == (Status.FAILED, "no", Decimal(0))
    assert world.kinds(second) == []
    world.closes()


def test_a_cache_hit_after_a_refusal_settles_nothing(world: World) -> None:
    """The first attempt was refused and released; then another job bought the picture: no line for the old attempt."""
    world.shop.submissions = [Rejected(error=RateLimited("slow", {"retryAfter": 50}))]
    second = world.job(fingerprint="f")
    world.chain(second)
    first = world.job(fingerprint="f")
    world.chain(first)
    world.live(first, second)
    assert world.kinds(second) == ["reserve", "release"]
    assert (world.now(second).cache_hit, world.now(second).billed) == (True, "no")
    world.closes()


@pytest.mark.parametrize("name", [MoveName.FETCHED, MoveName.COMPLETE])
@pytest.mark.parametrize("written", [False, True])
def test_a_worker_killed_at_its_commit(world: World, name: MoveName, written: bool) -> None:
    """Downloaded or published, and then dead: its lease runs out and another finishes, once."""
    (world.jobs.after if written else world.jobs.before)[name] = strike(Killed())
    job = arrived(world)
    with pytest.raises(Killed):
        world.chain(job)
    (done,) = world.live(job)
    assert (done.status, world.shop.calls) == (Status.COMPLETED, 1)
    world.clock.advance(policies.ANNOUNCE_AGAIN.total_seconds())
    world.sweep()
    assert world.document(job)["status"] == "completed"
    world.closes()


@pytest.mark.parametrize("prefix", ["blobs", "project_demo"])
def test_a_worker_killed_after_it_stored(world: World, prefix: str) -> None:
    """The file is there, the row does not say so: done again over the same keys."""
    world.blobs.kills.add(prefix)
    job = arrived(world)
    with pytest.raises(Killed):
        world.chain(job)
    assert world.live(job)[0].status is Status.COMPLETED
    world.closes()


@pytest.mark.parametrize("stage", [Stage.DOWNLOAD, Stage.UPLOAD])
def test_postgresql_away_at_the_end_of_a_transfer(world: World, stage: Stage) -> None:
    """The worker waits with what it has done instead of leaving it to a lease."""
    job = arrived(world) if stage is Stage.DOWNLOAD else fetched(world)
    name = MoveName.FETCHED if stage is Stage.DOWNLOAD else MoveName.COMPLETE
    world.jobs.before[name] = lambda: world.jobs.go_away(20)
    assert isinstance(world.stage(job), Advance if stage is Stage.DOWNLOAD else Finish)
    world.live(job)
    world.closes()


@pytest.mark.parametrize("answer", [b"<html>", Temporary("502"), StorageError("no", {"retryable": False})])
def test_a_worker_without_its_lease_ends_nothing(world: World, answer: bytes | ImagegenError) -> None:
    """Its download failed after another worker had taken the job and gone on: the job is the other's."""
    job = arrived(world)
    fetch = world.web.fetch

    def slow(url: str, *, max_bytes: int, total: float) -> object:
        world.web.fetch = fetch  # type: ignore[method-assign]
        world.clock.advance(policies.LEASE.total_seconds() + 1)
        world.sweep()
        assert isinstance(world.stage(job), Advance)
        world.web.answers = [answer]
        return fetch(url, max_bytes=max_bytes, total=total)

    world.web.fetch = slow  # type: ignore[assignment,method-assign]
    # Asked for a fresh address once before, so that a bad file is the end for who holds the job.
    object.__setattr__(world.now(job), "refreshed", True)
    assert isinstance(world.stage(job), Lost)
    assert world.now(job).stage is Stage.UPLOAD
    assert world.live(job)[0].status is Status.COMPLETED
    world.closes()


def test_a_paid_picture_is_finished_after_the_deadline(world: World) -> None:
    """Over time while it is fetched and published: it is paid, so it is delivered."""
    job = arrived(world, deadline_at=at(3))
    world.clock.advance(60)
    assert world.live(job)[0].status is Status.COMPLETED
    world.closes()


@pytest.mark.parametrize("comes", [True, False])
def test_a_fresh_address_may_come_after_the_deadline(world: World, comes: bool) -> None:
    """Paid, drawn, and its address expired: the provider is asked on for a while; then it is waste, not a doubt."""
    world.web.answers = [ArtifactExpired("410")]
    job = arrived(world, deadline_at=at(3))
    world.clock.advance(10)
    assert parked(world.stage(job)).reason == "fresh_url"
    world.shop.progresses = [Running()] * (2 if comes else 300)
    (ended,) = world.live(job, rounds=300)
    assert ended.status is (Status.COMPLETED if comes else Status.FAILED)
    assert (ended.billed, ended.cost_credits if comes else ended.cost_wasted) == ("yes", PAID)
    assert ended.error_code == (None if comes else "DEADLINE_EXCEEDED")
    assert world.kinds(job) == ["reserve", "settle" if comes else "waste"]
    world.closes()


def test_an_erased_input_ends_the_job_before_it_is_bought(world: World) -> None:
    """A reference that is gone since admission: NOT_FOUND, nothing sent, nothing reserved."""
    source = {"key": "inputs/gone", "contentType": "image/png"}
    job = world.job(plan={"ratio": "1:1", "tier": "1K", "format": "png", "source": source})
    world.chain(job)
    failed = world.now(job)
    assert (failed.error_code, failed.failure_stage, world.kinds(job)) == (NotFound.code, "processing", [])
    world.closes()
