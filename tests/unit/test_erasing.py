"""Erasing in the pipeline's world: objects first, rows last, whatever interrupts it; what is shared outlives it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from imagegen import cancelling, collecting, erasing, layout, policies
from imagegen.errors import Conflict, InvalidRequest, NotFound, Temporary
from imagegen.inputs import store_input
from imagegen.jobs import Job
from imagegen.ports_erasures import Scope
from imagegen.providers.base import Unknown
from imagegen.states import BatchStatus, Status
from tests.door import Door, served
from tests.jobs_kit import new_batch
from tests.pipeline_doubles import PICTURE, Killed, Shop
from tests.pipeline_parts import World

pytest_plugins = ["tests.worlds"]
DAY = timedelta(days=1)
FOX = {"prompt": "a secret fox", "sent_prompt": "a secret fox", "character": "Mara"}


@pytest.fixture
def door(world: World) -> Iterator[Door]:
    with served(world.services) as door:
        yield door


def drawn(world: World, provider: str = "gemini", **given: Any) -> Job:
    """A completed job of ada's, its end told twice."""
    job = world.job(provider, **{**FOX, "deadline_at": world.clock.now() + timedelta(minutes=10), **given})
    world.chain(job)
    (ended,) = world.live(job)
    assert ended.status is Status.COMPLETED
    return ended


def grow_old(world: World, life: timedelta = DAY) -> None:
    world.clock.advance(life.total_seconds() + 3600)


def test_an_erased_job_is_a_tombstone(world: World) -> None:
    """Picture, thumbnail and bytes of the paid call go at once, the original after its grace; the books balance."""
    job = drawn(world)
    before = world.store.ledger(job.id)
    done = erasing.erase_job(job.id, world.services)
    assert (done.jobs, done.waits, done.trouble, done.orders) == (1, 0, None, {"gemini": 1})
    assert world.now(job).erased_at == world.clock.now()
    assert world.files.keys == [layout.blob_key(str(job.blob_sha256))]
    assert str(job.id) in world.heard.withdrawn
    erasing.sweep(world.services)
    assert len(world.files.keys) == 1
    world.clock.advance(2 * 3600)
    erasing.sweep(world.services)
    assert world.files.keys == []
    assert world.store.ledger(job.id) == before
    world.closes()


def test_the_report_says_what_providers_keep(world: World) -> None:
    """A provider without an API for deletion is named, with what is known of its copy."""
    jobs = [drawn(world), drawn(world, "nanobanana")]
    told = [erasing.erase_job(job.id, world.services).document()["providers"][0] for job in jobs]
    assert [(one["provider"], one["orders"], one["deleted"]) for one in told] == [
        ("gemini", 1, 0),
        ("nanobanana", 1, 0),
    ]
    assert all(one["note"].startswith("no API for deletion") for one in told)


@dataclass
class ForgetfulShop(Shop):
    """A provider that deletes what it keeps."""

    forgotten: list[str] = field(default_factory=list)
    trouble: list[Exception] = field(default_factory=list)

    def forget(self, provider_job_id: str) -> None:
        if self.trouble:
            raise self.trouble.pop()
        self.forgotten.append(provider_job_id)


def test_a_provider_that_can_is_asked_to_forget(world: World) -> None:
    """Its copy is deleted before our rows are cleared; away, it is asked again by the sweep."""
    job = drawn(world, "nanobanana")
    shop = ForgetfulShop("nanobanana", trouble=[Temporary("away")])
    world.services = replace(world.services, providers={"nanobanana": shop})
    done = erasing.erase_job(job.id, world.services)
    assert (done.jobs, done.waits, done.trouble) == (0, 1, "away")
    world.clock.advance(policies.ERASE_AGAIN.total_seconds())
    assert erasing.sweep(world.services) == 1
    assert shop.forgotten == [job.provider_job_id]
    assert erasing.note("nanobanana", replace(done, orders=done.orders | {"nanobanana": 0})) is None


@pytest.mark.parametrize("prefix", ["project_demo", "attempts"])
def test_a_kill_at_any_point_is_finished_by_the_sweep(world: World, prefix: str) -> None:
    """Killed between two objects: the intent stands, the row still says what it was, and the next round ends it."""
    job = drawn(world)

    def killed(key: str) -> None:
        if key.startswith(prefix):
            raise Killed
        world.files.delete(key)

    world.blobs.delete = killed  # type: ignore[attr-defined]
    with pytest.raises(Killed):
        erasing.erase_job(job.id, world.services)
    assert (world.now(job).erased_at, world.now(job).prompt) == (None, "a secret fox")
    del world.blobs.delete  # type: ignore[attr-defined]
    assert erasing.sweep(world.services) == 0
    world.clock.advance(policies.ERASE_AGAIN.total_seconds())
    assert erasing.sweep(world.services) == 1
    assert layout.picture_keys(job).picture not in world.files.keys


def test_a_store_that_is_away_leaves_the_intent(world: World, door: Door) -> None:
    """The caller hears 202, nothing is half forgotten for good, and the sweep goes on when it is back."""
    job = drawn(world)
    world.blobs.go_away(60)
    reply = door.client.delete(f"/api/images/jobs/{job.id}", headers=door.headers)
    assert (reply.status_code, reply.json()["erasedAt"]) == (202, None)
    world.clock.advance(policies.ERASE_AGAIN.total_seconds())
    assert erasing.sweep(world.services) == 1
    assert door.get(f"/api/images/jobs/{job.id}").json()["erasedAt"] is not None


def test_a_shared_original_outlives_its_buyer(world: World) -> None:
    """A cache hit has the same original: it stays, and goes on answering, until the last job that has it is erased."""
    first = drawn(world)
    second = drawn(world, fingerprint=first.fingerprint)
    assert second.cache_hit
    erasing.erase_job(first.id, world.services)
    grow_old(world)
    erasing.sweep(world.services)
    blob = layout.blob_key(str(second.blob_sha256))
    assert blob in world.files.keys
    assert drawn(world, fingerprint=first.fingerprint).cache_hit
    erasing.erase_owner("ada", world.services)
    grow_old(world)
    erasing.sweep(world.services)
    assert world.files.keys == []


def test_an_input_used_again_stays(world: World) -> None:
    """An input that was stored again, though no row names it yet, is kept for a day; then it goes."""
    key = layout.input_key(store_input(PICTURE, "referenceImages", world.blobs))  # type: ignore[arg-type]
    job = drawn(world, plan={"ratio": "16:9", "tier": "1K", "format": "png", "source": None, "references": [
        {"key": key, "contentType": "image/png"}]})  # fmt: skip
    world.clock.advance(DAY.total_seconds())
    erasing.erase_job(job.id, world.services)
    world.clock.advance(3600)
    store_input(PICTURE, "referenceImages", world.blobs)  # type: ignore[arg-type]
    world.clock.advance(23 * 3600)
    erasing.sweep(world.services)
    assert key in world.files.keys
    world.clock.advance(2 * 3600)
    erasing.sweep(world.services)
    assert key not in world.files.keys


def test_live_jobs_are_not_erased(world: World, door: Door) -> None:
    """409 and CONFLICT while it goes on; cancelled first, it is erased."""
    job = world.job(**FOX)
    with pytest.raises(Conflict, match="cancel it first"):
        erasing.erase_job(job.id, world.services)
    assert door.client.delete(f"/api/images/jobs/{job.id}", headers=door.headers).status_code == 409
    cancelling.cancel(job.id, world.services)
    assert door.client.delete(f"/api/images/jobs/{job.id}", headers=door.headers).status_code == 204
    tombstone = door.get(f"/api/images/jobs/{job.id}").json()
    assert (tombstone["status"], tombstone["prompt"], tombstone["character"]) == ("cancelled", None, None)


def test_erasing_over_http(world: World, door: Door) -> None:
    """204 twice; another owner hears 404 as of an unknown id; a service may; retry of what is erased is a conflict."""
    job = drawn(world)
    path = f"/api/images/jobs/{job.id}"
    bob = door.as_("bob")
    assert bob.client.delete(path, headers=bob.headers).status_code == 404
    assert door.client.delete(f"/api/images/jobs/{uuid4()}", headers=door.headers).status_code == 404
    assert world.now(job).erase_at is None
    service = door.as_("shop", service=True)
    for caller in (service, door):
        assert caller.client.delete(path, headers=caller.headers).status_code == 204
    assert door.post(f"{path}/retry").status_code == 409
    assert door.get(path).json()["cost"]["actual"] == float(job.cost_credits or 0)


def test_an_owner_is_erased_whole(world: World) -> None:
    """Ended jobs at once, queued ones cancelled and erased, one whose paid call is under way when its answer came."""
    ended, queued, busy, bobs = drawn(world), world.job(**FOX), world.job(**FOX), drawn(world, owner="bob")
    found: list[erasing.Erased] = []

    def meanwhile() -> None:
        found.append(erasing.erase_owner("ada", world.services))

    world.shop.meanwhile = meanwhile
    world.chain(busy)
    assert (found[0].jobs, found[0].waits, found[0].stake.live) == (2, 1, 2)
    assert [world.now(job).erased_at is not None for job in (ended, queued, busy)] == [True, True, False]
    assert world.now(busy).status is Status.CANCELLED
    world.clock.advance(2 * 3600)
    while world.sweep():
        pass
    world.clock.advance(2 * 3600)
    erasing.sweep(world.services)
    assert world.now(busy).erased_at is not None
    assert world.now(bobs).erase_at is None
    assert erasing.erase_owner("ada", world.services).jobs == 0
    for asked in (erasing.erase_owner, lambda name, services: erasing.stake_of(Scope(owner=name), services)):
        with pytest.raises(NotFound):
            asked("nobody", world.services)
    world.closes()


def test_a_charge_in_doubt_is_followed_up_first(world: World) -> None:
    """While the picture of a lost answer is looked for its job is not erased; afterwards it is."""
    world.shop.submissions.append(Unknown(error=Temporary("reset")))
    job = world.job(**FOX)
    world.chain(job)
    (ended,) = world.live(job)
    assert ended.status is Status.FAILED
    done = erasing.erase_job(job.id, world.services)
    assert (done.jobs, done.waits) == (0, 1)
    for _ in range(policies.COLLECT_TRIES):
        world.clock.advance(3600)
        world.sweep()
    assert erasing.sweep(world.services) == 1
    world.closes(unsent=None)


def test_the_batch_is_told_anew(world: World) -> None:
    """Of a batch with an erased member the others are still told; once all are, nothing is."""
    batch, members = new_batch(2)
    new = [world.new("gemini", **FOX, batch_id=batch.id, batch_index=index) for index in range(len(members))]
    jobs = world.batch(batch, new)
    for job in jobs:
        world.chain(job)
    assert world.store.jobs.get_batch(batch.id)[0].status is BatchStatus.COMPLETED
    erasing.erase_job(jobs[0].id, world.services)
    told = world.heard.documents[str(batch.id)][-1]
    assert [one["prompt"] for one in told["jobs"]] == [None, "a secret fox"]
    count = len(world.heard.documents[str(batch.id)])
    erasing.erase_job(jobs[1].id, world.services)
    assert len(world.heard.documents[str(batch.id)]) == count
    assert world.heard.withdrawn.count(str(batch.id)) >= 2


def test_no_replacement_is_bought_for_what_is_erased(world: World) -> None:
    """A placeholder whose job is to be erased asks for no picture any more."""
    request = {"prompt": "a fox", "placeholder": "on_failure", "provider": "nanobanana"}
    world.clock.advance(1)
    job = world.job(**FOX, request=request, deadline_at=world.clock.now())
    world.sweep()
    stood = world.now(job)
    assert stood.placeholder
    found = _replacements(world, job)
    for one in found:
        cancelling.cancel(one.id, world.services)
    erasing.erase_job(job.id, world.services)
    world.clock.advance(60)
    world.sweep()
    assert len(_replacements(world, job)) == len(found)
    assert all(one.erased_at for one in _replacements(world, job))


def _replacements(world: World, job: Job) -> list[Job]:
    from_rows = world.store.jobs.jobs.values()  # type: ignore[attr-defined]
    return [one for one in from_rows if one.replaces == job.id]


def test_retention_erases_what_is_past(world: World) -> None:
    """After its life a job is erased by the housekeeping; younger ones, live ones and other types are not."""
    world.services = replace(world.services, lives={"master_asset": 30 * DAY})
    old, frame = drawn(world), drawn(world, job_type="start_frame")
    live = world.job(**FOX, next_run_at=world.clock.now() + 90 * DAY, waiting_for="scheduled")
    world.clock.advance((30 * DAY).total_seconds() + 60)
    young = drawn(world)
    assert erasing.sweep(world.services) == 1
    assert [world.now(job).erased_at is not None for job in (old, frame, live, young)] == [True, False, False, False]


def test_more_than_one_round_is_left_for_the_next(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is bounded: the rest is erased by the following ones."""
    monkeypatch.setattr(policies, "ERASE_AT_ONCE", 2)
    monkeypatch.setattr(policies, "ERASE_ROUNDS", 2)
    world.services = replace(world.services, lives={"master_asset": DAY})
    for _ in range(5):
        drawn(world)
    grow_old(world)
    assert [erasing.sweep(world.services) for _ in range(3)] == [4, 1, 0]


def test_late_news_of_an_erased_job_brings_no_picture_back(world: World) -> None:
    """What a provider tells after the erasure is settled without storing anything."""
    job = drawn(world, "nanobanana")
    erasing.erase_job(job.id, world.services)
    assert job.attempt_id is not None
    assert collecting.collect(job.attempt_id, world.services) == "its job was erased"


def test_an_owner_must_be_named(world: World) -> None:
    """The empty owner, whose styles are everybody's, is never erased; nor is one that has nothing."""
    with pytest.raises(InvalidRequest):
        erasing.erase_owner("", world.services)
    with pytest.raises(InvalidRequest):
        erasing.stake_of(Scope(owner=""), world.services)
    with pytest.raises(NotFound):
        erasing.stake_of(Scope(job_id=uuid4()), world.services)
