"""A retry under a key goes on once, however often it is sent and however its run ended."""

from __future__ import annotations

from typing import Any

import pytest

from imagegen import retrying
from imagegen.errors import IdempotencyConflict, PartUnavailable, PurchaseNeeded, Temporary
from imagegen.jobs import Job
from imagegen.providers.base import Delivered, Rejected
from imagegen.states import Status
from tests.door import served
from tests.pipeline_doubles import PAID
from tests.pipeline_parts import World

pytest_plugins = ["tests.worlds"]
BAD = Delivered(data=b"<html>", actual=PAID)


def lost(world: World, times: int = 1) -> Job:
    """A job whose paid picture is lost, as the next ones of its purchases will be."""
    world.studio.submissions = [BAD] * times
    (job,) = world.live(world.job(provider="gemini"))
    assert (job.status, job.billed) == (Status.FAILED, "yes")
    return job


def test_a_key_buys_once(world: World) -> None:
    """Sent again while the run goes on and after it failed: no run more. Another key is another word."""
    job = lost(world, 3)
    assert retrying.retry(job.id, world.services, True, "k").run == 2
    assert retrying.retry(job.id, world.services, True, "k").run == 2
    (failed,) = world.live(job)
    assert (failed.status, failed.run, world.studio.charged) == (Status.FAILED, 2, 2)
    for _ in range(2):
        again = retrying.retry(job.id, world.services, True, "k")
        assert (again.status, again.run, world.studio.charged) == (Status.FAILED, 2, 2)
    assert retrying.retry(job.id, world.services, True, "l").run == 3
    world.live(job)
    assert retrying.retry(job.id, world.services, True, "k").run == 3
    assert retrying.retry(job.id, world.services, True, "l").run == 3


def test_a_key_that_was_refused_is_not_used(world: World) -> None:
    """What would have bought and may not leaves the key free; once it was used, another body conflicts."""
    job = lost(world)
    with pytest.raises(PurchaseNeeded):
        retrying.retry(job.id, world.services, False, "k")
    assert retrying.retry(job.id, world.services, True, "k").run == 2
    with pytest.raises(IdempotencyConflict):
        retrying.retry(job.id, world.services, False, "k")


def test_a_key_is_one_job_s(world: World) -> None:
    """The same words for another job are another key."""
    one, other = lost(world), lost(world)
    assert [retrying.retry(job.id, world.services, True, "k").run for job in (one, other)] == [2, 2]


def test_a_look_that_is_too_old_buys_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sent at once: the second looks before the first goes on and moves after its run has failed, and buys none."""
    job = lost(world, 3)
    plan, held = retrying.plan_of, []

    def slow(seen: Job, services: Any) -> retrying.RetryPlan:
        found = plan(seen, services)
        if not held:
            held.append(seen)
            retrying.retry(job.id, world.services, True, "k")
            world.live(job)
        return found

    monkeypatch.setattr(retrying, "plan_of", slow)
    assert retrying.retry(job.id, world.services, True, "k").run == 2
    assert (held[0].run, world.studio.charged) == (1, 2)


def spoilt(world: World, *jobs: Job) -> None:
    """These jobs buy a picture that is none."""
    world.studio.submissions = [BAD] * len(jobs)
    for job in jobs:
        world.chain(world.now(job))
        assert world.now(job).status is Status.FAILED


def test_a_batch_goes_on_once_by_a_key(world: World) -> None:
    """Its members fail once more, and the same key starts none of them; nor one that failed since."""
    batch, jobs = world.batch_of(3)
    batch_id = batch.id
    spoilt(world, *jobs[:2])
    retrying.retry_batch(batch_id, world.services, True, "k")
    spoilt(world, *jobs)
    _, seen = retrying.retry_batch(batch_id, world.services, True, "k")
    assert [(job.run, job.status) for job in seen] == [(2, "failed"), (2, "failed"), (1, "failed")]
    with pytest.raises(IdempotencyConflict):
        retrying.retry_batch(batch_id, world.services, False, "k")
    _, seen = retrying.retry_batch(batch_id, world.services, True, "l")
    assert [job.run for job in seen] == [3, 3, 2]


def test_a_batch_that_was_continued_by_half_goes_on_whole(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends after the first member: the same key reaches the others, and the first one but once."""
    batch, jobs = world.batch_of(3)
    batch_id = batch.id
    spoilt(world, *jobs)
    inner, reached = retrying._retried, []

    def broken(*words: Any) -> Job:
        if reached:
            raise PartUnavailable("away")
        reached.append(words)
        return inner(*words)

    monkeypatch.setattr(retrying, "_retried", broken)
    with pytest.raises(PartUnavailable):
        retrying.retry_batch(batch_id, world.services, True, "k")
    monkeypatch.undo()
    spoilt(world, jobs[0])
    _, seen = retrying.retry_batch(batch_id, world.services, True, "k")
    assert [(job.run, job.status) for job in seen] == [(2, "failed"), (2, "queued"), (2, "queued")]


def test_a_caller_with_curl_is_as_safe(world: World) -> None:
    """Over HTTP, for a job and for a batch: by the header or the body; another body is 409; a bad key is named."""
    job = lost(world, 3)
    with served(world.services) as door:
        caller, path = door.as_(job.owner), f"/api/images/jobs/{job.id}/retry"
        key = {"Idempotency-Key": "k"}
        assert [caller.post(path, {"buy": True}, key).json()["run"] for _ in range(2)] == [2, 2]
        world.live(job)
        for told, header in (({"buy": True}, key), ({"buy": True, "idempotencyKey": "k"}, {})):
            reply = caller.post(path, told, header)
            assert (reply.status_code, reply.json()["run"], reply.json()["status"]) == (202, 2, "failed")
        assert caller.post(path, {}, key).json()["code"] == "IDEMPOTENCY_CONFLICT"
        assert caller.post(path, {"buy": True, "idempotencyKey": "l"}, key).status_code == 422
        assert caller.post(path, {"buy": True}, {"Idempotency-Key": "x" * 256}).status_code == 422
        assert world.studio.charged == 2
        batch, jobs = world.batch_of(2)
        spoilt(world, *jobs)
        caller, path = door.as_(jobs[0].owner), f"/api/images/batches/{batch.id}/retry"
        for _ in range(2):
            told = caller.post(path, {"buy": True}, key)
            assert (told.status_code, [one["run"] for one in told.json()["jobs"]]) == (202, [2, 2])
            spoilt(world, *(job for job in jobs if not world.now(job).terminal))


def test_without_a_charge_a_key_holds_as_well(world: World) -> None:
    """A free second run is begun once, too."""
    world.studio.submissions = [Rejected(error=Temporary("busy", {"retryable": False}))] * 2
    (job,) = world.live(world.job(provider="gemini"))
    assert retrying.retry(job.id, world.services, key="k").run == 2
    world.live(job)
    assert retrying.retry(job.id, world.services, key="k").run == 2
