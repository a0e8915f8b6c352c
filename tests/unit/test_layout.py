"""Keys of the object store: readable, safe, and never shared by two jobs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagegen import layout
from imagegen.jobs import Job
from imagegen.states import Stage, Status

AT = datetime(2026, 1, 1, tzinfo=UTC)
JOB = Job(
    id=UUID("1f3c9a2b-0000-4000-8000-000000000001"),
    owner="o",
    status=Status.UPLOADING,
    stage=Stage.UPLOAD,
    job_type="master_asset",
    project_id="P1",
    branch_id="main",
    provider="gemini",
    model="m",
    width=64,
    height=64,
    format="png",
    created_at=AT,
    updated_at=AT,
    next_run_at=None,
    deadline_at=AT,
    asset_id="Captain Mira",
)


def test_each_job_type_has_its_path() -> None:
    """A character goes to the master assets, a frame to its scene and shot; unknown parts are left out."""
    frame = replace(JOB, job_type="start_frame", scene_id="s1", shot_id="t2", format="jpeg")
    assert layout.picture_keys(JOB) == layout.PictureKeys(
        f"project_P1/branch_main/master-assets/captain-mira_{JOB.id}.png",
        f"project_P1/branch_main/master-assets/captain-mira_{JOB.id}_thumb.webp",
    )
    assert layout.picture_keys(frame).picture == f"project_P1/branch_main/scene_s1/shot_t2/start_frame_{JOB.id}.jpg"
    assert layout.picture_keys(replace(frame, shot_id=None, job_type="inpaint", format="webp")).picture == (
        f"project_P1/branch_main/scene_s1/inpaint_{JOB.id}.webp"
    )
    assert layout.picture_keys(replace(JOB, job_type="end_frame")).picture == (
        f"project_P1/branch_main/end_frame_{JOB.id}.png"
    )


def test_inside_keys_are_never_public() -> None:
    """Originals, paid answers and inputs lie outside what a public policy opens."""
    keys = [layout.blob_key("ab" * 32), layout.attempt_key(JOB.id), layout.input_key("cd" * 32)]
    assert keys == [f"blobs/{'ab' * 32}", f"attempts/{JOB.id}", f"inputs/{'cd' * 32}"]
    assert not any(key.startswith(layout.PUBLIC_PREFIX) for key in keys)


@pytest.mark.parametrize(
    ("text", "slug"), [("Captain Mira — Éclair", "captain-mira-eclair"), ("  A/B\\C ", "a-b-c"), ("x" * 200, "x" * 80)]
)
def test_slugs_read_well(text: str, slug: str) -> None:
    """Letters lose their accents, the rest becomes hyphens, and 80 characters are enough."""
    assert layout.slug(text) == slug


@settings(deadline=None, derandomize=True)
@given(st.text(min_size=1, max_size=120), st.text(min_size=1, max_size=120))
def test_any_id_is_a_safe_segment_of_its_own(one: str, other: str) -> None:
    """Whatever the ids, their segments are safe, at most 80 characters, and differ where the ids differ."""
    for name in (one, other):
        segment = layout.segment(name)
        assert layout.checked_key(f"project_{segment}/{segment}")
        assert segment.isascii()
        assert len(segment) <= 80
        assert layout.slug(name)
    assert (layout.segment(one) == layout.segment(other)) == (one == other)


@settings(deadline=None, derandomize=True)
@given(st.text(max_size=120), st.text(max_size=120), st.text(max_size=120))
def test_a_picture_never_leaves_its_project(project: str, scene: str, asset: str) -> None:
    """No id or asset name escapes from the public prefix."""
    job = replace(JOB, project_id=project, scene_id=scene, shot_id=scene, asset_id=asset)
    for kind in ("master_asset", "start_frame"):
        keys = layout.picture_keys(replace(job, job_type=kind))
        for key in (keys.picture, keys.thumbnail):
            assert layout.checked_key(key).startswith("project_")
            assert str(JOB.id) in key


def test_a_published_key_names_its_job() -> None:
    """Picture, thumbnail and placeholder lead back to the job whose they are; other keys to none."""
    for pair in (layout.picture_keys(JOB), layout.placeholder_keys(JOB)):
        assert {layout.job_of(pair.picture), layout.job_of(pair.thumbnail)} == {JOB.id}
    assert layout.job_of("project_P1/branch_main/readme.txt") is None
