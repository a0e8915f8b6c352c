"""The main job: a brief or a prompt becomes a picture at a URL, bought once."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from urllib.request import urlopen

import pytest

from imagegen.client import Batch, Job
from imagegen.images import verify
from tests.acceptance.system import System, words

CAST = [
    {"name": "Ada Wren", "description": "a clockmaker with ink on her fingers", "outfit": "navy apron"},
    {"name": "Bo Quill", "description": "a postman who fears dogs", "outfit": "red cap"},
    {"name": "Cleo Marsh", "description": "a heron-tall ferrywoman", "outfit": "oilskin"},
    {"name": "Dov Tallow", "description": "a candle seller, always smiling", "outfit": "wax-white smock"},
]


@pytest.mark.parametrize("provider", ["nanobanana", "gemini"])
def test_four_briefs_become_four_pictures_bought_once(system: System, provider: str) -> None:
    """A batch of four completes with four charges, exact sizes and the documented paths; again it is four hits."""
    project = words("cast").replace(" ", "-")
    cast = [{**brief, "setting": words("by the harbour")} for brief in CAST]

    first = batch(system, cast, project_id=project, provider=provider)
    assert (first.status, [job.status for job in first.jobs]) == ("completed", ["completed"] * 4)
    assert len(system.charges()) == 4
    for brief, job in zip(cast, first.jobs, strict=True):
        assert (job.character, job.width, job.height, job.cache_hit) == (brief["name"], 1920, 1080, False)
        path = system.home / "storage" / f"project_{project}" / "branch_main" / "master-assets"
        name = brief["name"].lower().replace(" ", "-")
        picture = verify((path / f"{name}_{job.id}.png").read_bytes())
        assert (picture.width, picture.height) == (1920, 1080)
        assert downloaded(job) == (path / f"{name}_{job.id}.png").read_bytes()

    again = batch(system, cast, project_id=project, provider=provider)
    assert (again.status, [job.cache_hit for job in again.jobs]) == ("completed", [True] * 4)
    assert [job.cost.actual for job in again.jobs] == [0.0] * 4
    assert len(system.charges()) == 4


def test_the_ledger_and_the_provider_agree_to_the_cent(system: System) -> None:
    """What the jobs settled equals what the provider charged, for fixed prices and for prices by tokens."""
    jobs = [finished(system, prompt=words("a lighthouse"), provider=provider) for provider in ("nanobanana", "gemini")]
    charged = {charge["provider"]: Decimal(charge["amount"]) for charge in system.charges()}
    assert len(system.charges()) == 2
    for job in jobs:
        assert Decimal(str(job.cost.actual)) == charged[job.provider] == system.paid([job.id])
        assert job.billed == "yes"
        assert job.cost.estimated is not None
        assert job.cost.actual <= job.cost.estimated


def test_a_refused_member_leaves_the_others_alone(system: System) -> None:
    """One refused prompt: three completed, one CONTENT_REFUSED, the batch partial and closed once, three charges."""
    system.emulator.fault("refusal", provider="nanobanana", prompt_contains="Bo Quill")
    told = batch(system, CAST, project_id=words("p"), scene_id=words("s"), provider="nanobanana", fresh=True)
    assert told.status == "partial"
    assert [job.status for job in told.jobs] == ["completed", "failed", "completed", "completed"]
    refused = told.jobs[1].error
    assert refused is not None
    assert (refused.code, refused.retryable, refused.billed) == ("CONTENT_REFUSED", False, "no")
    assert refused.failure_stage == "generating"
    assert len(system.charges()) == 3
    closed = system.sql(
        "SELECT status, completed_at IS NOT NULL, run FROM imagegen_batches WHERE id = %s", str(told.id)
    )
    assert closed == [("partial", True, 1)]


def test_gemini_s_refusal_with_http_200_is_a_refusal(system: System) -> None:
    """An answer of 200 that holds no picture for policy reasons fails the job as CONTENT_REFUSED, never retried."""
    system.emulator.fault("refusal", provider="gemini")
    job = finished(system, prompt=words("a forbidden thing"), provider="gemini")
    assert job.error is not None
    assert (job.status, job.error.code, job.attempts) == ("failed", "CONTENT_REFUSED", 1)
    assert system.charges() == []


SPOILT = {
    "html": ("html_file", {}),
    "half a picture": ("truncated_file", {}),
    "text": ("wrong_file", {}),
    "gone": ("missing_file", {}),
}


@pytest.mark.parametrize("spoilt", SPOILT)
def test_a_file_that_is_no_picture_is_never_published(system: System, spoilt: str) -> None:
    """A file that stays bad ends as BAD_ARTIFACT (or expired), billed, with nothing published and one charge."""
    fault, params = SPOILT[spoilt]
    system.emulator.fault(fault, provider="nanobanana", **params)
    job = finished(system, prompt=words(f"spoilt by {spoilt}"), provider="nanobanana")
    assert job.error is not None
    assert (job.status, job.error.billed, job.public_url) == ("failed", "yes", None)
    assert job.error.code in {"BAD_ARTIFACT", "ARTIFACT_EXPIRED"}
    assert len(system.charges()) == 1
    assert list((system.home / "storage").rglob(f"*{job.id}*")) == []


@pytest.mark.parametrize("fault", ["html_file", "truncated_file", "missing_file", "expired_url"])
def test_a_file_that_was_bad_once_is_fetched_again(system: System, fault: str) -> None:
    """A bad first download is asked for again and the job completes, still charged once."""
    params = {} if fault == "expired_url" else {"downloads": 1}
    system.emulator.fault(fault, provider="nanobanana", **params)
    job = finished(system, prompt=words(f"once {fault}"), provider="nanobanana")
    assert job.status == "completed"
    assert "refresh" in system.moves(job.id)
    assert len(system.charges()) == 1


def test_an_answer_lost_after_charging_is_not_bought_again(system: System) -> None:
    """The charge stands, the job ends as SUBMISSION_UNKNOWN with the uncertain amount, and nothing is repeated."""
    system.emulator.fault("lost_answer", provider="gemini", times=1)
    job = finished(system, prompt=words("lost"), provider="gemini")
    assert job.error is not None
    assert (job.error.code, job.error.billed, job.attempts) == ("SUBMISSION_UNKNOWN", "unknown", 1)
    assert job.cost.uncertain is not None
    assert job.cost.uncertain > 0
    assert len(system.charges()) == 1


def test_a_limit_with_its_own_hint_is_waited_for(system: System) -> None:
    """A 429 parks the job for the time the provider names; it is no paid attempt and is charged once in the end."""
    system.emulator.fault("rate_limit", provider="gemini", times=1, retry_delay="1.5s")
    job = finished(system, prompt=words("limited"), provider="gemini")
    assert (job.status, job.attempts) == ("completed", 2)
    history = system.jobs.history(job.id)
    parked = next(event for event in history if event.move == "repeat")
    resumed = next(event for event in history if event.move == "claim" and event.id > parked.id)
    assert (resumed.at - parked.at).total_seconds() >= 1.5
    assert len(system.charges()) == 1


def test_an_inpaint_job_edits_another_job_s_picture(system: System, tmp_path: Path) -> None:
    """`job:ID` serves as a reference and as the source of an edit; source and mask reach the provider."""
    first = finished(system, prompt=words("a bridge"), width=1024, height=1024)
    second = finished(system, prompt=words("the bridge at night"), reference_images=[f"job:{first.id}"])
    assert (first.status, second.status) == ("completed", "completed")
    mask = finished(system, prompt=words("a white square on black"), width=1024, height=1024)
    edit = finished(
        system, prompt=words("a boat under it"), job_type="inpaint", source_image=f"job:{first.id}",
        mask=f"job:{mask.id}",
    )  # fmt: skip
    assert (edit.status, edit.width, edit.height) == ("completed", 1024, 1024)
    assert len(system.charges()) == 4


def batch(system: System, cast: list[dict[str, str]], **fields: object) -> Batch:
    return system.client.wait(system.client.batch(cast, **fields), timeout=60)


def finished(system: System, **fields: object) -> Job:
    return system.client.wait(system.client.generate(**fields), timeout=60)


def downloaded(job: Job) -> bytes:
    assert job.public_url is not None
    with urlopen(job.public_url, timeout=10) as answer:
        data: bytes = answer.read()
        return data


@pytest.fixture(autouse=True)
def _no_charge_is_left_out(system: System) -> Iterator[None]:
    """Whatever a test bought, each prompt was charged at most once."""
    yield
    charged = [charge["prompt"] for charge in system.charges()]
    assert len(charged) == len(set(charged))
