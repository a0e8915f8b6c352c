"""Placeholders: who gets one, that it costs and caches nothing, and that exactly one job replaces it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from imagegen import layout, placeholders, policies
from imagegen.errors import (
    BY_CODE,
    AuthError,
    ContentRefused,
    GenerationFailed,
    ImagegenError,
    InsufficientCredit,
    NotFound,
    PartUnavailable,
    StorageError,
    SubmissionUnknown,
    Temporary,
)
from imagegen.images import verify
from imagegen.jobs import Job
from imagegen.outcomes import Finish
from imagegen.placeholder_picture import draw
from imagegen.providers.base import Failed, Rejected, Unknown
from imagegen.states import MoveName, Status
from tests.jobs_kit import at, new_batch, step
from tests.pipeline_doubles import Killed, strike
from tests.pipeline_parts import World, parked

pytest_plugins = ["tests.worlds"]
WANTED: Mapping[str, Any] = {"prompt": "a fox", "provider": "nanobanana", "placeholder": "on_failure"}
CODES = {
    "TEMPORARY", "RATE_LIMIT", "QUOTA_EXHAUSTED", "INSUFFICIENT_CREDIT", "AUTH_ERROR", "GENERATION_FAILED",
    "DEADLINE_EXCEEDED",
}  # fmt: skip


def wanting(world: World, **fields: Any) -> Job:
    """A job that would rather have a placeholder than nothing."""
    return world.job(**{"request": WANTED, "character": "Mara Vance", **fields})


def down(world: World, times: int = 1) -> None:
    """The provider refuses our key for so many calls."""
    world.shop.submissions = [Rejected(error=AuthError("401")) for _ in range(times)]


def standing(world: World, **fields: Any) -> Job:
    """A job whose placeholder stands in."""
    down(world)
    job = wanting(world, **fields)
    outcome = world.chain(job)
    assert isinstance(outcome, Finish)
    world.admitted.append(placeholders.replacement_id(outcome.job))
    return outcome.job


def successor(world: World, job: Job) -> Job:
    """The job that replaces it."""
    return world.store.jobs.get(placeholders.replacement_id(job))


def test_a_placeholder_completes_the_job(world: World) -> None:
    """Exact size and format, flagged, cost 0, unbilled, uncached, its reservation released, the reason on record."""
    job = standing(world, width=320, height=180, format="jpeg")
    assert (job.status, job.placeholder, job.billed, job.cost_credits) == (Status.COMPLETED, True, "no", Decimal(0))
    assert (job.cache_hit, world.store.jobs.cached(job.fingerprint, emulated=True)) == (False, None)
    assert world.kinds(job) == ["reserve", "release"]
    data = world.files.get(job.object_key or "")
    picture = verify(data)
    assert (picture.width, picture.height, picture.content_type) == (320, 180, "image/jpeg")
    assert (picture.sha256, len(data)) == (job.sha256, job.bytes)
    event = world.store.jobs.history(job.id)[-1]
    assert (event.move, event.cause) == ("stand_in", "AUTH_ERROR")
    document = world.document(job)
    assert (document["placeholder"], document["error"], document["publicUrl"]) == (True, None, job.public_url)
    world.closes()


def test_its_address_is_never_the_picture_s(world: World) -> None:
    """Published pictures are cached for good, so a placeholder has keys of its own."""
    job = standing(world)
    keys, own = layout.placeholder_keys(job), layout.picture_keys(job)
    assert (job.object_key, job.thumbnail_url) == (keys.picture, world.files.public_url(keys.thumbnail))
    assert not {keys.picture, keys.thumbnail} & {own.picture, own.thumbnail}
    assert world.files.head(own.picture) is None


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_which_failures_get_one(world: World, code: str) -> None:
    """The decision table, for each error there is: what the provider could not deliver, nothing else."""
    error = BY_CODE[code]("it failed", {"billed": "no"})
    assert (placeholders.stand_in(wanting(world), error, world.services) is not None) == (code in CODES)


@pytest.mark.parametrize("request_", [{}, {"placeholder": "never"}])
def test_nobody_gets_one_unasked(world: World, request_: dict[str, Any]) -> None:
    """It is opt-in."""
    job = world.job(request={**request_, "provider": "nanobanana"})
    assert placeholders.stand_in(job, AuthError("401"), world.services) is None


@pytest.mark.parametrize(("job_billed", "error_billed"), [("yes", "no"), ("unknown", "no"), ("no", "unknown")])
def test_no_charge_is_hidden_behind_one(world: World, job_billed: str, error_billed: str) -> None:
    """What was or may have been charged fails, so that its owner sees it."""
    job: Job = replace(wanting(world), billed=job_billed)  # type: ignore[arg-type]
    assert placeholders.stand_in(job, AuthError("x", {"billed": error_billed}), world.services) is None


def test_a_lost_answer_gets_none(world: World) -> None:
    """A doubt about money is told as a failure, and nothing replaces it."""
    world.shop.submissions = [Unknown(error=SubmissionUnknown("lost"))]
    job = wanting(world)
    world.chain(job)
    (failed,) = world.live(job)
    assert (failed.status, failed.error_code, failed.placeholder) == (Status.FAILED, "SUBMISSION_UNKNOWN", False)
    world.closes()


@pytest.mark.parametrize("named", [True, False])
def test_what_its_owner_stopped_is_neither_replaced_nor_sent_elsewhere(world: World, named: bool) -> None:
    """Cancelled during the paid call that is then refused: cancelled it is, at no charge, and nothing follows."""
    request = {name: value for name, value in WANTED.items() if named or name != "provider"}
    job = wanting(world, request=request)
    down(world)
    world.shop.meanwhile = lambda: world.store.jobs.apply(step(job, MoveName.STOP, until=None))
    world.chain(job)
    ended = world.now(job)
    assert (ended.status, ended.placeholder, ended.billed) == (Status.CANCELLED, False, "no")
    assert world.studio.calls == 0
    with pytest.raises(NotFound):
        successor(world, job)
    world.closes()


def test_a_refused_prompt_gets_none(world: World) -> None:
    """No provider will ever draw it."""
    world.shop.submissions = [Rejected(error=ContentRefused("no"))]
    job = wanting(world)
    world.chain(job)
    assert world.now(job).error_code == "CONTENT_REFUSED"
    world.closes()


def test_a_failed_order_that_cost_nothing_gets_one(world: World) -> None:
    """The provider took the order and gave it up uncharged: the attempt's facts and release are written all the
    same."""
    world.shop.progresses = [Failed(error=GenerationFailed("broken", {"billed": "no"}))]
    job = wanting(world)
    world.chain(job)
    (done,) = world.live(job)
    assert (done.status, done.placeholder) == (Status.COMPLETED, True)
    assert world.kinds(job) == ["reserve", "release"]
    assert done.attempt_id is not None
    attempt = world.store.jobs.attempt(done.attempt_id)
    assert attempt is not None
    assert attempt.state == "failed"


def test_a_deadline_before_any_purchase_gets_one(world: World) -> None:
    """The sweep ends it without a call."""
    job = wanting(world, deadline_at=at(5), next_run_at=at(6))
    world.clock.advance(6)
    assert world.sweep() == []
    done = world.now(job)
    assert (done.status, done.placeholder, done.attempts) == (Status.COMPLETED, True, 0)


@pytest.mark.parametrize("trouble", [PartUnavailable("away"), StorageError("denied")])
def test_where_it_cannot_be_kept_the_job_fails(world: World, trouble: ImagegenError) -> None:
    """An object store that refuses the placeholder costs nobody the answer of the paid call."""
    world.blobs.refused["project_demo"] = trouble
    down(world)
    job = wanting(world)
    world.chain(job)
    failed = world.now(job)
    assert (failed.status, failed.error_code, failed.placeholder) == (Status.FAILED, "AUTH_ERROR", False)
    assert world.kinds(job) == ["reserve", "release"]
    world.closes()


# ── the job that replaces it ─────────────────────────────────────────────────────────────────────────────────────


def test_a_job_of_its_own_buys_the_picture(world: World) -> None:
    """The same request without a placeholder, its own money and deadline, no key, no batch; asleep for a minute."""
    job = standing(world, idempotency_key="k")
    next_one = successor(world, job)
    assert next_one.replaces == job.id
    assert (next_one.status, next_one.waiting_for) == (Status.QUEUED, "provider_down")
    assert next_one.next_run_at == world.clock.now() + timedelta(seconds=60)
    assert next_one.deadline_at == world.clock.now() + timedelta(hours=24)
    assert (next_one.idempotency_key, next_one.batch_id, next_one.request.get("placeholder")) == (None, None, None)
    kept = ("owner", "fingerprint", "sent_prompt", "plan", "width", "height", "format", "priority", "metadata")
    assert [getattr(next_one, name) for name in kept] == [getattr(job, name) for name in kept]
    assert (next_one.attempts, list(next_one.tried), world.kinds(next_one)) == (0, [], [])


def test_the_real_picture_takes_its_place(world: World) -> None:
    """Bought once by the new job; the old one shows it, costs nothing, and is told again."""
    job = standing(world)
    (bought,) = world.live(successor(world, job))
    shown = world.now(job)
    assert (bought.status, bought.billed, world.shop.charged) == (Status.COMPLETED, "yes", 1)
    same = ("public_url", "thumbnail_url", "object_key", "sha256", "content_type", "bytes")
    assert [getattr(shown, name) for name in same] == [getattr(bought, name) for name in same]
    assert (shown.placeholder, shown.cost_credits, shown.billed) == (False, Decimal(0), "no")
    event = world.store.jobs.history(job.id)[-1]
    assert (event.move, event.detail) == ("replace", {"by": str(bought.id)})
    assert (world.document(job)["placeholder"], world.document(job)["sha256"]) == (False, bought.sha256)
    assert (shown.completed_at, shown.next_run_at) == (job.completed_at, None)
    world.closes()


def test_a_replaced_member_does_not_reopen_its_batch(world: World) -> None:
    """The batch closes with the placeholder and stays closed; its document shows the picture afterwards."""
    batch, jobs = new_batch(1)
    down(world)
    plan = world.new("nanobanana", request=WANTED)
    member = replace(plan, id=jobs[0].id, batch_id=batch.id, batch_index=0)
    world.batch(batch, [member])
    world.chain(member)
    closed = world.heard.documents[str(batch.id)][-1]
    assert (closed["status"], closed["jobs"][0]["placeholder"]) == ("completed", True)
    world.live(successor(world, world.now(member)))
    told = world.heard.documents[str(batch.id)][-1]
    assert (told["status"], told["jobs"][0]["placeholder"]) == ("completed", False)
    assert told["completedAt"] == closed["completedAt"]


def test_a_worker_killed_before_the_replacement_was_admitted(world: World) -> None:
    """Completed with its placeholder, then dead: the second announcement admits the one replacement."""
    down(world)
    job = wanting(world)
    world.jobs.after[MoveName.STAND_IN] = strike(Killed())
    with pytest.raises(Killed):
        world.chain(job)
    assert world.now(job).placeholder
    world.clock.advance(policies.ANNOUNCE_AGAIN.total_seconds() + 1)
    world.sweep()
    assert successor(world, world.now(job)).replaces == job.id
    assert world.document(job)["placeholder"] is True


def test_a_worker_killed_before_the_placeholder_was_replaced(world: World) -> None:
    """The picture is there, its worker dead: the second announcement shows it, once."""
    job = standing(world)
    next_one = successor(world, job)
    world.jobs.before[MoveName.REPLACE] = strike(Killed())
    with pytest.raises(Killed):
        world.live(next_one)
    assert (world.now(next_one).status, world.now(job).placeholder) == (Status.COMPLETED, True)
    world.clock.advance(policies.ANNOUNCE_AGAIN.total_seconds() + 1)
    world.sweep()
    shown = world.now(job)
    assert (shown.placeholder, shown.sha256) == (False, world.now(next_one).sha256)
    world.clock.advance(policies.ANNOUNCE_AGAIN.total_seconds() + 1)
    world.sweep()
    assert world.moves(job).count("replace") == 1
    world.closes()


def test_following_up_twice_changes_nothing(world: World) -> None:
    """However often the end is announced: one replacement, one REPLACE."""
    job = standing(world)
    for _ in range(3):
        placeholders.follow_up(job, world.services)
    assert world.moves(successor(world, job)) == ["admit"]
    (bought,) = world.live(successor(world, job))
    assert placeholders.follow_up(bought, world.services) is None
    assert world.moves(job).count("replace") == 1


def test_it_looks_until_the_provider_is_back(world: World) -> None:
    """A refused key would end another job: this one asks ever more seldom, at no charge, until its picture comes."""
    job = standing(world)
    next_one = successor(world, job)
    down(world, times=6)
    for _ in range(6):
        world.clock.advance(policies.PROVIDER_DOWN_LONGEST.total_seconds())
        assert world.sweep() == [next_one.id]
        rest = parked(world.chain(next_one))
        assert rest.reason == "provider_down"
        assert policies.PROVIDER_DOWN_LOOK <= rest.until - world.clock.now() <= policies.PROVIDER_DOWN_LONGEST
    (bought,) = world.live(next_one)
    assert (bought.status, world.now(job).placeholder) == (Status.COMPLETED, False)
    world.closes()


def test_each_look_asks_every_provider(world: World) -> None:
    """Whichever comes back first draws it, also the one that was given up before."""
    down(world, times=2)
    world.studio.submissions = [Rejected(error=InsufficientCredit("402")) for _ in range(2)]
    job = wanting(world, request={"prompt": "a fox", "placeholder": "on_failure"})
    world.stage(job)
    (done,) = world.live(job)
    assert (done.placeholder, list(done.tried)) == (True, ["nanobanana", "gemini"])
    (bought,) = world.live(successor(world, done))
    assert bought.status is Status.COMPLETED
    assert (world.shop.charged, world.studio.charged) in {(1, 0), (0, 1)}
    assert world.now(job).placeholder is False


def test_a_provider_that_stays_away_leaves_the_placeholder(world: World) -> None:
    """After its day the replacement fails as any job; the first job keeps what it has."""
    job = standing(world)
    next_one = successor(world, job)
    world.clock.advance(policies.PROVIDER_DOWN_PATIENCE.total_seconds() + 1)
    world.sweep()
    failed = world.now(next_one)
    assert (failed.status, failed.error_code, failed.billed) == (Status.FAILED, "DEADLINE_EXCEEDED", "no")
    assert (world.now(job).placeholder, world.now(job).status) == (True, Status.COMPLETED)
    world.closes()


def test_an_ordinary_job_is_not_given_a_day(world: World) -> None:
    """Only a replacement looks again after an error that ends other jobs; a charge ends it too."""
    job = wanting(world)
    assert placeholders.next_look(job, AuthError("401"), world.services) is None
    later = replace(job, replaces=job.id, deadline_at=at(7200))
    assert placeholders.next_look(later, AuthError("401"), world.services) == policies.PROVIDER_DOWN_LOOK
    assert placeholders.next_look(later, ContentRefused("no"), world.services) is None
    assert placeholders.next_look(later, AuthError("401", {"billed": "yes"}), world.services) is None
    assert placeholders.next_look(later, Temporary("x", {"retryAfter": 1200}), world.services) == timedelta(minutes=20)


# ── how it looks ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("width", "height"), [(64, 64), (1920, 1080), (64, 4000), (4000, 64), (3000, 3000)])
@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_it_is_exactly_as_large_as_asked_for(width: int, height: int, format: str) -> None:
    """Any size and format, with its thumbnail."""
    drawn = draw("job", "Mara", width, height, format)
    assert (drawn.width, drawn.height) == (width, height)
    assert verify(drawn.data).content_type == f"image/{format}"
    assert verify(drawn.thumbnail).content_type == "image/webp"


def test_it_is_drawn_from_the_job_alone() -> None:
    """The same job gives the same bytes, so that drawing it again changes nothing; other jobs and names differ."""
    first = draw("one", "Mara", 320, 180, "png")
    assert draw("one", "Mara", 320, 180, "png").data == first.data
    assert len({first.data, draw("two", "Mara", 320, 180, "png").data, draw("one", "Bo", 320, 180, "png").data}) == 3


@pytest.mark.parametrize("name", ["中文", "Łukasz", "", None])
def test_a_name_that_cannot_be_written_is_left_out(name: str | None) -> None:
    """Rather none than half a name; accents alone do no harm."""
    assert draw("one", name, 320, 180, "png").data == draw("one", None, 320, 180, "png").data
    assert draw("one", "Zoë", 320, 180, "png").data == draw("one", "Zoe", 320, 180, "png").data
