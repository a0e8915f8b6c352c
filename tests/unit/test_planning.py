"""Planning on parts in memory: what a request becomes, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from imagegen import policies
from imagegen.admission import admit_batch, admit_image, plan_image
from imagegen.contracts import parse_batch, parse_request, parse_style
from imagegen.errors import InvalidRequest
from imagegen.inputs import input_ref, store_input
from imagegen.jobs import Job
from imagegen.records import Admitted
from imagegen.states import Stage, Status
from tests.admission_parts import NOW, World
from tests.drawings import a_file

MARA = {"name": "Mara Vance", "description": "a tired detective"}
FOX = {"prompt": "A red fox"}
BATCH = {"characters": [{"name": name} for name in ("Ada", "Bo", "Cy", "Di")]}


@pytest.fixture
def world() -> World:
    return World()


def plan(world: World, body: dict[str, Any], **settings: Any) -> Job:
    return plan_image(parse_request(body), world.with_(**settings), door="http")


def admit(world: World, body: dict[str, Any], door: Any = "http", job_id: UUID | None = None) -> Admitted:
    return admit_image(parse_request(body), world.services, door=door, job_id=job_id)


def admit_four(world: World, body: dict[str, Any], door: Any = "http", batch_id: UUID | None = None) -> Admitted:
    return admit_batch(parse_batch(body), world.services, door=door, batch_id=batch_id)


def problems(error: pytest.ExceptionInfo[InvalidRequest]) -> dict[str, str]:
    assert all(problem["remedy"] for problem in error.value.problems)
    return {problem["field"]: problem["reason"] for problem in error.value.problems}


def stored(world: World, width: int = 320, height: int = 180) -> str:
    return input_ref(store_input(a_file("PNG", width, height), "mask", world.blobs))


def test_a_plain_request_becomes_a_queued_job(world: World) -> None:
    """Everything a worker needs is decided: size, model, price, deadline, next step."""
    job = plan(world, FOX)
    assert (job.status, job.stage) == (Status.QUEUED, Stage.GENERATE)
    assert (job.width, job.height, job.format) == (1920, 1080, "png")
    assert job.provider == "nanobanana"
    assert (job.plan["ratio"], job.plan["tier"]) == ("16:9", "2K")
    assert job.cost_estimated is not None
    assert job.cost_estimated > Decimal(0)
    assert (job.created_at, job.next_run_at) == (NOW, NOW + policies.GRACE)
    assert job.deadline_at == NOW + timedelta(minutes=10)
    assert (job.prompt, job.sent_prompt) == ("A red fox", "A red fox")
    assert (job.waiting_for, job.priority, job.emulated, job.max_paid_attempts) == (None, 5, True, 1)
    assert len(job.fingerprint) == 64


def test_nothing_is_written_or_bought_by_a_plan(world: World) -> None:
    """A plan is the dry run: no row, no hint, no call."""
    plan(world, FOX)
    assert world.written == 0
    assert world.hints.heard == []
    assert world.web.asked == []


def test_the_plan_survives_json(world: World) -> None:
    """Request and plan go into the row as JSON: nothing in them is anything else."""
    job = plan(world, {"character": MARA, "referenceImages": [stored(world)], "scheduledAt": "2026-12-01T09:00:00Z"})
    assert json.loads(json.dumps(job.plan)) == job.plan
    assert json.loads(json.dumps(job.request)) == job.request
    assert parse_request(dict(job.request)).character is not None
    assert set(job.plan) == {
        "ratio", "tier", "format", "providerModel", "references", "source", "mask", "warnings", "price",
    }  # fmt: skip


def test_settings_and_fields_of_the_job_follow_the_request(world: World) -> None:
    """What the caller says wins over the defaults."""
    body = {
        **FOX, "priority": "high", "deadlineSeconds": 60, "maxPaidAttempts": 3, "width": 512, "height": 512,
        "format": "webp", "provider": "gemini", "fresh": True, "metadata": {"a": 1}, "assetId": "mine",
        "projectId": "p", "branchId": "b", "sceneId": "s", "shotId": "t", "owner": "o",
    }  # fmt: skip
    job = plan(world, body, deadline=timedelta(hours=1), max_paid_attempts=2)
    assert (job.priority, job.max_paid_attempts, job.deadline_at) == (0, 3, NOW + timedelta(seconds=60))
    assert (job.width, job.height, job.format, job.provider, job.fresh) == (512, 512, "webp", "gemini", True)
    assert (job.project_id, job.branch_id, job.scene_id, job.shot_id, job.asset_id) == ("p", "b", "s", "t", "mine")
    assert (job.owner, job.metadata) == ("o", {"a": 1})
    other = plan(world, FOX, deadline=timedelta(hours=1), max_paid_attempts=2, emulated=False)
    assert (other.max_paid_attempts, other.deadline_at) == (2, NOW + timedelta(hours=1))
    assert other.emulated is False


def test_a_character_names_its_asset(world: World) -> None:
    """The asset is called after its character unless the caller names it; a bare prompt names none."""
    job = plan(world, {"character": MARA})
    assert (job.character, job.asset_id) == ("Mara Vance", "mara-vance")
    assert job.prompt == "Mara Vance: a tired detective"
    assert plan(world, FOX).asset_id is None


def test_a_job_for_later_waits_for_its_time(world: World) -> None:
    """`scheduledAt` ahead: woken then, and its deadline counts from then; in the past: due at once."""
    later = NOW + timedelta(hours=2)
    job = plan(world, {**FOX, "scheduledAt": later.isoformat(), "deadlineSeconds": 30})
    assert (job.next_run_at, job.deadline_at, job.waiting_for) == (later, later + timedelta(seconds=30), "scheduled")
    assert job.scheduled_at == later
    past = plan(world, {**FOX, "scheduledAt": "2020-01-01T00:00:00+02:00", "deadlineSeconds": 30})
    assert (past.next_run_at, past.deadline_at) == (NOW + policies.GRACE, NOW + timedelta(seconds=30))
    assert past.waiting_for is None


def test_an_edit_takes_the_size_of_its_source(world: World) -> None:
    """Without width and height an inpaint job keeps the source's pixels; explicit ones win."""
    source = stored(world, 640, 400)
    body = {**FOX, "jobType": "inpaint", "sourceImage": source, "mask": source}
    job = plan(world, body)
    assert (job.width, job.height) == (640, 400)
    assert job.plan["source"]["key"] == job.plan["mask"]["key"]
    assert plan(world, {**body, "width": 800, "height": 500}).width == 800


def test_an_edit_of_a_picture_beyond_our_sizes_asks_for_a_size(world: World) -> None:
    """A source too small to be a result is refused unless the caller says how large the result is."""
    source = stored(world, 63, 200)
    body = {**FOX, "jobType": "inpaint", "sourceImage": source, "mask": source}
    with pytest.raises(InvalidRequest) as error:
        plan(world, body)
    assert problems(error) == {"sourceImage": "is 63x200 pixels"}
    assert plan(world, {**body, "width": 630, "height": 2000}).width == 630


def test_a_mask_must_be_as_large_as_its_source(world: World) -> None:
    """A mask of another size would change the wrong pixels."""
    with pytest.raises(InvalidRequest) as error:
        plan(world, {**FOX, "jobType": "inpaint", "sourceImage": stored(world), "mask": stored(world, 321, 180)})
    assert problems(error) == {"mask": "is 321x180 while sourceImage is 320x180"}


def test_a_stored_style_shapes_the_prompt(world: World) -> None:
    """A capsule named by id is the same as one sent along, its reference pictures included."""
    body = {"name": "Noir", "modifiers": ["film grain"], "references": [stored(world)]}
    world.styles.put("noir", parse_style(body), at=NOW)
    named = plan(world, {**FOX, "visualStyleCapsuleId": "noir"})
    inline = plan(world, {**FOX, "style": body})
    assert named.fingerprint == inline.fingerprint
    assert named.sent_prompt.endswith("Style: film grain.")
    assert len(named.plan["references"]) == 1
    assert (named.style_name, named.style_sha256) == (inline.style_name, inline.style_sha256)
    assert (named.visual_style_capsule_id, inline.visual_style_capsule_id) == ("noir", None)
    with pytest.raises(InvalidRequest) as error:
        plan(world, {**FOX, "visualStyleCapsuleId": "nair"})
    assert problems(error) == {"visualStyleCapsuleId": "there is no style 'nair'"}


def test_references_of_a_stored_style_are_named_by_their_field(world: World) -> None:
    """An unreadable picture in a stored capsule points to the capsule."""
    world.styles.put("s", parse_style({"name": "s", "references": [f"job:{uuid4()}"]}), at=NOW)
    with pytest.raises(InvalidRequest) as error:
        plan(world, {**FOX, "visualStyleCapsuleId": "s"})
    assert set(problems(error)) == {"visualStyleCapsuleId.references.0"}


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "A grey fox"}, {"seed": 1}, {"width": 1280, "height": 720}, {"format": "jpeg"},
        {"model": "nano-banana-pro"}, {"style": {"name": "noir"}}, {"character": {"name": "Ada"}},
    ],
)  # fmt: skip
def test_what_shapes_the_picture_changes_its_fingerprint(world: World, change: dict[str, Any]) -> None:
    """Another prompt, seed, size, format, model, style or character is another picture."""
    assert plan(world, {**FOX, **change}).fingerprint != plan(world, FOX).fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"owner": "o"}, {"projectId": "p"}, {"priority": "low"}, {"metadata": {"a": 1}}, {"idempotencyKey": "k"},
        {"deadlineSeconds": 5}, {"sceneId": "s"}, {"fresh": True},
    ],
)  # fmt: skip
def test_what_does_not_shape_the_picture_shares_its_fingerprint(world: World, change: dict[str, Any]) -> None:
    """Owner, project, priority and the like find the picture bought for somebody else."""
    assert plan(world, {**FOX, **change}).fingerprint == plan(world, FOX).fingerprint


def test_reference_pictures_shape_the_fingerprint(world: World) -> None:
    """The content of a reference counts, not the name under which it came."""
    first, second = stored(world), stored(world, 200, 200)
    prints = {
        plan(world, {**FOX, "referenceImages": refs}).fingerprint for refs in ([first], [second], [second, first])
    }
    assert len(prints) == 3
    url = world.web.serve("https://93.184.216.34/a.png", a_file("PNG"))
    assert plan(world, {**FOX, "referenceImages": [url]}).fingerprint in prints


def test_every_problem_is_told_at_once(world: World) -> None:
    """One answer names all that is wrong, whatever kind it is."""
    body = {
        **FOX, "callbackUrl": "https://a.example/hook", "notifyTask": {"name": "celery.chord", "queue": "q"},
        "metadata": {"a": "x" * 20_000}, "visualStyleCapsuleId": "none", "model": "dall-e",
        "referenceImages": [stored(world), f"job:{uuid4()}", "https://127.0.0.1/x"],
    }  # fmt: skip
    with pytest.raises(InvalidRequest) as error:
        plan(world, body)
    found = problems(error)
    assert set(found) == {
        "callbackUrl", "notifyTask.name", "metadata", "visualStyleCapsuleId", "model", "referenceImages.1",
        "referenceImages.2",
    }  # fmt: skip
    assert found["callbackUrl"] == "cannot be told: webhooks are not signed here"
    assert found["notifyTask.name"] == "is no task of yours"
    assert found["metadata"].startswith("has 2")


def test_a_prompt_longer_than_the_model_takes_is_refused(world: World) -> None:
    """The limit is the chosen model's, and counts what style and template add."""
    body = {"prompt": "x" * 19_990, "model": "nano-banana-2"}
    plan(world, body)
    with pytest.raises(InvalidRequest) as error:
        plan(world, {**body, "style": {"name": "a style with a long name"}})
    assert set(problems(error)) == {"prompt"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"prompt": "A\x00fox"}, "prompt"),
        ({**FOX, "metadata": {"a": ["ok", "half \ud83d"]}}, "metadata.a.1"),
        ({**FOX, "metadata": {"k\x00": 1}}, "metadata"),
        ({"character": {"name": "Ada", "mood": "\udc00"}}, "character.mood"),
    ],
)
def test_text_that_cannot_be_stored_is_refused(world: World, body: dict[str, Any], field: str) -> None:
    """NUL and half surrogates, which JSON can carry and PostgreSQL cannot, are named, not crashed on."""
    with pytest.raises(InvalidRequest) as error:
        plan(world, body)
    assert set(problems(error)) == {field}


def test_metadata_that_is_no_json_is_refused(world: World) -> None:
    """NaN passes Python's parser, and nobody else's."""
    with pytest.raises(InvalidRequest) as error:
        plan(world, {**FOX, "metadata": {"a": float("nan")}})
    assert "is no JSON" in problems(error)["metadata"]


def test_a_provider_that_cannot_fetch_our_pictures_is_refused(world: World) -> None:
    """References to a real provider behind a folder on this machine are refused at admission."""
    world.blobs._public_base_url = "file:///var/pictures"
    body = {**FOX, "referenceImages": [stored(world)]}
    with pytest.raises(InvalidRequest) as error:
        plan(world, body)
    assert set(problems(error)) == {"provider"}
    assert plan(world, {**body, "provider": "gemini"}).provider == "gemini"


def test_times_are_kept_with_their_zone(world: World) -> None:
    """A `scheduledAt` in any zone is the same moment."""
    job = plan(world, {**FOX, "scheduledAt": "2026-12-01T11:00:00+02:00"})
    assert job.next_run_at == datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
