"""Going on with a failed job: where it failed, for nothing where a paid picture exists, and never by accident."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from imagegen import cancelling, collecting, endings, retrying
from imagegen.errors import (
    ArtifactExpired,
    BadArtifact,
    Conflict,
    ContentRefused,
    DeadlineExceeded,
    GenerationFailed,
    ImagegenError,
    NotFound,
    PurchaseNeeded,
    StorageError,
)
from imagegen.jobs import Job
from imagegen.providers.base import Accepted, Delivered, Failed, Ready, Rejected, Running, Unknown
from imagegen.records import Attempt
from imagegen.retrying import plan_retry, retry
from imagegen.states import Stage, Status
from tests.jobs_kit import CENTS, NOW, at, new_job
from tests.pipeline_doubles import PAID
from tests.pipeline_parts import World

pytest_plugins = ["tests.worlds"]

FULL = StorageError("no space", {"retryable": False})


def failed_at(world: World, prefix: str, **fields: Any) -> Job:
    """A job whose picture was paid and could not be kept below this prefix of the object store."""
    world.blobs.refused[prefix] = FULL
    (job,) = world.live(world.job(**fields))
    assert job.status is Status.FAILED
    world.blobs.refused.clear()
    return job


def continued(world: World, job: Job, **how: Any) -> Job:
    """The job at its next end, after its owner had it continued."""
    retry(job.id, world.services, **how)
    (ended,) = world.live(job)
    return ended


@pytest.mark.parametrize("provider", ["nanobanana", "gemini"])
def test_a_failed_upload_goes_on_for_nothing(world: World, provider: str) -> None:
    """The original is ours: published by the second run, one purchase, settled once."""
    job = failed_at(world, "project_demo", provider=provider)
    assert (job.failure_stage, world.kinds(job)) == ("persisting", ["reserve", "settle"])
    plan = retrying.plan_of(job, world.services)
    assert (plan.stage, plan.target, plan.buys, plan.dollars) == (Stage.UPLOAD, Status.UPLOADING, False, Decimal(0))
    done = continued(world, job)
    assert (done.status, done.run, done.billed, done.cost_credits) == (Status.COMPLETED, 2, "yes", PAID)
    assert (done.error_code, done.failure_stage) == (None, None)
    assert (world.shop.charged + world.studio.charged, world.kinds(job)) == (1, ["reserve", "settle"])
    world.closes()


def test_a_failed_download_goes_on_for_nothing(world: World) -> None:
    """Its address still holds: downloaded by the second run, without a question to the provider."""
    job = failed_at(world, "blobs")
    polls = world.shop.polls
    assert (job.stage, retrying.plan_of(job, world.services).stage) == (Stage.DOWNLOAD, Stage.DOWNLOAD)
    assert continued(world, job).status is Status.COMPLETED
    assert (world.shop.charged, world.shop.polls) == (1, polls)
    world.closes()


@pytest.mark.parametrize("bad", [b"<html>", ArtifactExpired("410")])
def test_a_bad_file_is_asked_for_again(world: World, bad: bytes | ImagegenError) -> None:
    """The provider has the order: a fresh address, twice if need be, and the waste becomes a settlement."""
    world.web.answers = [bad, bad, bad]
    (job,) = world.live(world.job())
    assert (job.status, world.kinds(job)) == (Status.FAILED, ["reserve", "waste"])
    assert retrying.plan_of(job, world.services).stage is Stage.POLL
    done = continued(world, job)
    assert (done.status, done.cost_credits, world.shop.charged) == (Status.COMPLETED, PAID, 1)
    assert world.kinds(job) == ["reserve", "waste", "settle"]


def test_nothing_charged_needs_no_word(world: World) -> None:
    """Refused without a charge: from the beginning, its first purchase, within the owner's own limit."""
    world.shop.submissions = [Rejected(error=ContentRefused("no"))]
    (job,) = world.live(world.job())
    plan = retrying.plan_of(job, world.services)
    assert (plan.stage, plan.buys, plan.dollars, plan.refusal) == (Stage.GENERATE, False, CENTS, None)
    done = continued(world, job)
    assert (done.status, done.attempts, done.paid_attempts, done.max_paid_attempts) == (Status.COMPLETED, 2, 1, 1)
    assert (world.shop.charged, world.kinds(job)) == (1, ["reserve", "release", "reserve", "settle"])
    world.closes()


def test_a_given_up_order_that_cost_nothing_is_ordered_anew(world: World) -> None:
    """The provider failed the order: its id is of no use any more."""
    world.shop.progresses = [Failed(error=GenerationFailed("no", {"retryable": False}))]
    (job,) = world.live(world.job())
    assert (job.provider_job_id is not None, job.billed) == (True, "no")
    done = continued(world, job)
    assert (done.status, done.max_paid_attempts, world.shop.calls) == (Status.COMPLETED, 1, 2)


def test_a_doubt_is_bought_again_only_on_the_owner_s_word(world: World) -> None:
    """Without `buy` nothing changes and the dollars are told; with it there is one more purchase."""
    world.shop.submissions = [Unknown(error=ContentRefused("reset"))]
    (job,) = world.live(world.job())
    assert (job.error_code, job.billed) == ("SUBMISSION_UNKNOWN", "unknown")
    with pytest.raises(PurchaseNeeded, match=r"\$0\.039.*--buy") as caught:
        retry(job.id, world.services)
    assert (caught.value.details["dollars"], caught.value.billed) == ("0.039", "unknown")
    assert (world.now(job), world.shop.calls) == (job, 1)
    done = continued(world, job, buy=True)
    assert (done.status, done.paid_attempts, done.max_paid_attempts, done.cost_uncertain) == (
        Status.COMPLETED, 2, 2, CENTS
    )  # fmt: skip
    assert world.kinds(job) == ["reserve", "uncertain", "reserve", "settle"]
    world.closes()


def test_a_charged_picture_that_is_lost_is_bought_again_only_on_the_owner_s_word(world: World) -> None:
    """A synchronous provider's file that was no picture: nobody has another."""
    world.studio.submissions = [Delivered(data=b"<html>", actual=PAID)]
    (job,) = world.live(world.job("gemini"))
    assert job.billed == "yes"
    with pytest.raises(PurchaseNeeded, match="was charged and cannot be had"):
        retry(job.id, world.services)
    done = continued(world, job, buy=True)
    assert (done.status, world.studio.charged) == (Status.COMPLETED, 2)
    assert world.kinds(job) == ["reserve", "waste", "reserve", "settle"]
    world.closes()


def test_a_second_bad_purchase_is_the_last(world: World) -> None:
    """`buy` allows one purchase more, not any number."""
    world.studio.submissions = [Delivered(data=b"<html>", actual=PAID)] * 3
    (job,) = world.live(world.job("gemini"))
    assert continued(world, job, buy=True).status is Status.FAILED
    assert world.studio.charged == 2


def test_what_the_cache_has_is_not_bought_again(world: World) -> None:
    """Another job bought the same picture meanwhile: no word is needed, nothing is paid."""
    world.studio.submissions = [Delivered(data=b"<html>", actual=PAID)]
    (job,) = world.live(world.job("gemini"))
    (twin,) = world.live(world.job("gemini", fingerprint=job.fingerprint))
    assert twin.status is Status.COMPLETED
    assert retrying.plan_of(job, world.services).dollars == 0
    done = continued(world, job)
    assert (done.status, done.cache_hit, world.studio.charged) == (Status.COMPLETED, True, 2)


def test_a_deadline_while_the_provider_draws_goes_on_for_nothing(world: World) -> None:
    """The order stands: asked for again under a new deadline, the doubt resolved."""
    world.shop.progresses = [Running()] * 50
    (job,) = world.live(world.job(deadline_at=at(30)), rounds=200)
    assert (job.error_code, job.billed, job.cost_uncertain) == ("DEADLINE_EXCEEDED", "unknown", CENTS)
    world.shop.progresses = []
    again = retry(job.id, world.services)
    assert (again.status, again.stage, again.cost_uncertain, again.billed) == (
        Status.GENERATING, Stage.POLL, None, "no"
    )  # fmt: skip
    (done,) = world.live(job)
    assert (done.status, done.billed, done.cost_credits, world.shop.charged) == (Status.COMPLETED, "yes", PAID, 1)
    assert world.kinds(job) == ["reserve", "uncertain", "settle"]


def test_an_order_that_turned_up_late_is_used(world: World) -> None:
    """In doubt at its end, the attempt learnt its order's id since: nothing is bought."""
    world.shop.submissions = [Unknown(error=ContentRefused("reset"))]
    (job,) = world.live(world.job())
    assert job.attempt_id is not None
    attempt = world.store.jobs.attempt(job.attempt_id)
    assert attempt is not None
    plan = plan_retry(job, replace(attempt, provider_job_id="o1", state="accepted"))
    assert (plan.stage, plan.buys, plan.changes["provider_job_id"]) == (Stage.POLL, False, "o1")


def test_a_picture_that_turned_up_late_is_used() -> None:
    """In doubt at its end, the attempt has its picture since: on to the upload, charged, no doubt left."""
    job = new_job(
        status=Status.FAILED, stage=Stage.RECONCILE, failure_stage="generating", error_code="SUBMISSION_UNKNOWN",
        billed="unknown", cost_uncertain=CENTS, attempt_id=uuid4(),
    )  # fmt: skip
    late = an_attempt(job, state="succeeded", blob_sha256="b" * 64, actual=PAID)
    plan = plan_retry(job, late)
    assert (plan.stage, plan.target, plan.buys) == (Stage.UPLOAD, Status.UPLOADING, False)
    assert (plan.changes["billed"], plan.changes["cost_uncertain"], plan.changes["cost_credits"]) == ("yes", None, PAID)


def an_attempt(job: Job, **fields: Any) -> Attempt:
    usual: dict[str, Any] = {
        "id": job.attempt_id, "job_id": job.id, "number": 1, "provider": job.provider, "model": job.model,
        "token": "t", "estimate": CENTS, "emulated": False, "submitted_at": NOW, "state": "unknown",
    }  # fmt: skip
    return Attempt(**{**usual, **fields})


@pytest.mark.parametrize("state", ["failed", "rejected", "not_sent"])
def test_an_order_that_is_over_is_not_asked_for(state: Any) -> None:
    """What is known to have failed brings nothing: it has to be bought."""
    job = new_job(
        status=Status.FAILED, stage=Stage.POLL, failure_stage="generating", error_code="DEADLINE_EXCEEDED",
        billed="unknown", attempt_id=uuid4(), provider_job_id="o1",
    )  # fmt: skip
    assert plan_retry(job, an_attempt(job, state=state, provider_job_id="o1")).buys


def test_a_second_run_has_the_time_of_the_first(world: World) -> None:
    """A fresh deadline of the span asked for, no failures, and what waits is told: withdrawn before the hint."""
    job = world.job(request={"prompt": "a fox", "referenceImages": [], "deadlineSeconds": 90})
    endings.fail(job, ContentRefused("no"), world.services)
    other = uuid4()
    world.store.jobs.alias(other, job.id, batch=False)
    world.clock.advance(500)
    again = retry(job.id, world.services)
    assert again.deadline_at == world.clock.now() + timedelta(seconds=90)
    assert (again.run, again.failures, again.refreshed, again.completed_at) == (2, 0, False, None)
    assert world.heard.withdrawn == [str(job.id), str(other)]
    assert world.heard.hints[-1] == job.id


def test_redis_away_does_not_stop_the_retry(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The row goes on; the sweep sends the hint that was not."""
    job = world.job()
    endings.fail(job, ContentRefused("no"), world.services)
    world.redis.go_away(5)
    assert retry(job.id, world.services).status is Status.QUEUED
    assert str(job.id) in caplog.text
    (done,) = world.live(job)
    assert done.status is Status.COMPLETED


def test_only_failed_jobs_are_continued(world: World) -> None:
    """Queued, completed, cancelled: a conflict that says how it stands; twice in a row is once."""
    job = world.job()
    with pytest.raises(Conflict, match=f"{job.id} is queued"):
        retry(job.id, world.services)
    endings.fail(job, ContentRefused("no"), world.services)
    first = retry(job.id, world.services)
    assert retry(job.id, world.services) == first
    (done,) = world.live(job)
    with pytest.raises(Conflict, match=f"{job.id} is completed"):
        retry(done.id, world.services)
    with pytest.raises(NotFound):
        retry(uuid4(), world.services)


def test_the_late_picture_of_a_continued_job_is_left_alone(world: World) -> None:
    """Collecting what was in doubt does not touch a job that goes on."""
    world.shop.submissions = [Unknown(error=ContentRefused("reset")), Accepted(provider_job_id="o2")]
    (job,) = world.live(world.job())
    assert job.attempt_id is not None
    again = retry(job.id, world.services, buy=True)
    assert collecting.collect(job.attempt_id, world.services) == "its job goes on"
    assert world.now(job) == again


def test_a_deadline_before_anything_was_bought_costs_its_price(world: World) -> None:
    """Never bought: from the beginning, without a word."""
    job = world.job()
    endings.fail(job, DeadlineExceeded("late"), world.services)
    assert continued(world, job).status is Status.COMPLETED
    world.closes()


def test_a_hit_that_failed_in_its_upload_reserves_nothing(world: World) -> None:
    """Its picture was bought before: the retry commits nothing, so a full budget stays within its limit."""
    first = world.live(world.job(fingerprint="fox"))[0]
    world.services.budgets.set("all", "total", first.committed, True, at=world.clock.now())
    failed = failed_at(world, "project_demo", fingerprint="fox", cost_credits=Decimal(0))
    assert (failed.cache_hit, failed.committed) == (True, 0)
    again = retry(failed.id, world.services)
    (budget,) = world.services.budgets.list(at=world.clock.now())
    assert (again.stage, again.committed, budget.committed) == (Stage.UPLOAD, 0, budget.amount)
    (done,) = world.live(failed)
    assert (done.status, done.cost_credits, world.shop.calls) == (Status.COMPLETED, 0, 1)


def out_of_money(world: World) -> Job:
    """A job whose file was no good twice, and whose budget has no room for another purchase."""
    world.web.answers = [BadArtifact("x"), BadArtifact("y")]
    job = world.job(max_paid_attempts=2)
    world.services.budgets.set("all", "total", PAID, True, at=world.clock.now())
    (ended,) = world.live(job)
    assert (ended.error_code, ended.cost_wasted, world.kinds(job)) == ("BUDGET_EXCEEDED", PAID, ["reserve", "waste"])
    return ended


@pytest.mark.parametrize("good", [True, False])
def test_a_bad_file_whose_budget_was_full_is_asked_for_again(world: World, good: bool) -> None:
    """Its waste is the price of the order that is asked again: once in the books, whatever comes of it."""
    job = out_of_money(world)
    world.web.answers = [] if good else [BadArtifact("z"), BadArtifact("z")]
    done = continued(world, job)
    assert done.status is (Status.COMPLETED if good else Status.FAILED)
    assert (done.cost_credits, done.cost_wasted) == ((PAID, None) if good else (0, PAID))
    assert world.kinds(job) == (["reserve", "waste", "settle"] if good else ["reserve", "waste"])
    assert (done.committed, world.shop.calls) == (PAID, 1)


def test_such_a_job_is_cancelled_for_the_same_price(world: World) -> None:
    """Its order is waste, as it was."""
    job = out_of_money(world)
    retry(job.id, world.services)
    ended = cancelling.cancel(job.id, world.services)
    assert (ended.cost_credits, ended.cost_wasted, world.kinds(job)) == (0, PAID, ["reserve", "waste"])


@pytest.mark.parametrize("told", ["no", "unknown", "yes"])
def test_an_order_that_its_provider_gave_up_is_over(world: World, told: Any) -> None:
    """Its file had expired, and asked for a fresh address the provider says that it failed: only a new order helps,
    and what the old one cost, or may have, stays in the books once."""
    world.web.answers = [ArtifactExpired("gone")]
    first = Ready(url="https://x/1", actual=PAID)
    world.shop.progresses = [first, Failed(error=GenerationFailed("no", {"billed": told, "retryable": False}))]
    (ended,) = world.live(world.job())
    assert (ended.status, ended.refreshed, ended.billed) == (Status.FAILED, True, told)
    lost = ended.cost_wasted, ended.cost_uncertain
    plan = retrying.plan_of(ended, world.services)
    assert (plan.stage, plan.buys) == (Stage.GENERATE, told != "no")
    done = continued(world, ended, buy=True)
    assert (done.status, done.cost_credits, done.attempts) == (Status.COMPLETED, PAID, 2)
    assert (done.cost_wasted, done.cost_uncertain) == lost


def test_a_price_that_is_settled_stays(world: World) -> None:
    """Told nothing, the estimate was settled with the failed transfer; what a later poll tells changes no book."""
    world.shop.submissions = [Accepted(provider_job_id="p1")]
    world.shop.progresses = [Ready(url="https://x/1"), Ready(url="https://x/2", actual=2 * CENTS)]
    failed = failed_at(world, "blobs")
    assert (failed.cost_credits, world.kinds(failed)) == (failed.cost_estimated, ["reserve", "settle"])
    world.web.answers = [ArtifactExpired("gone")]
    done = continued(world, failed)
    assert (done.status, done.cost_credits) == (Status.COMPLETED, failed.cost_credits)
    assert world.kinds(failed) == ["reserve", "settle"]


def test_a_wasted_price_that_is_asked_for_again_stays(world: World) -> None:
    """Nor does it where the file was no good: the waste that was told is what the order costs."""
    world.shop.submissions = [Accepted(provider_job_id="p1")]
    world.shop.progresses = [Ready(url="https://x/1"), Ready(url="https://x/2"), Ready(url="https://x/3", actual=PAID)]
    world.web.answers = [BadArtifact("x"), BadArtifact("y")]
    (failed,) = world.live(world.job())
    assert failed.cost_wasted == failed.cost_estimated
    done = continued(world, failed)
    assert (done.status, done.cost_credits, done.cost_wasted) == (Status.COMPLETED, failed.cost_wasted, None)
