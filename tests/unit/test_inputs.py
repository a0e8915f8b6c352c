"""Pictures that only the caller has: which door they pass, and how they become inputs of ours."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from imagegen.contracts import Style, parse_request
from imagegen.errors import InvalidRequest
from imagegen.inputs import MAX_INPUT_BYTES, store_input, style_with_stored_inputs, with_stored_inputs
from tests.admission_parts import World
from tests.drawings import a_file

PNG = a_file("PNG")
SHA = hashlib.sha256(PNG).hexdigest()
URL = "https://pictures.example/mara.png"
DATA = "data:image/png;base64," + base64.b64encode(PNG).decode()


@pytest.fixture
def world() -> World:
    return World()


def edit(**fields: Any) -> Any:
    return parse_request({"prompt": "x", **fields})


def test_bytes_become_inputs_before_anything_is_kept(world: World, tmp_path: Path) -> None:
    """data: URIs and local files are stored and named by digest, so that no row holds bytes or foreign paths."""
    path = tmp_path / "mara sheet.png"
    path.write_bytes(PNG)
    request = edit(
        referenceImages=[DATA, str(path), URL], jobType="inpaint", sourceImage=DATA, mask=str(path),
        style={"name": "s", "references": [DATA]},
    )  # fmt: skip
    kept = with_stored_inputs(request, door="cli", blobs=world.blobs)
    ref = f"input:{SHA}"
    assert kept.reference_images == [ref, ref, URL]
    assert (kept.source_image, kept.mask) == (ref, ref)
    assert kept.style is not None
    assert kept.style.references == [ref]
    assert world.blobs.keys == [f"inputs/{SHA}"]


def test_doors_take_what_can_pass_them(world: World) -> None:
    """No image bytes in Celery messages, no paths of another machine: the remedy says what to send instead."""
    for door, ref in (("celery", DATA), ("celery", "/tmp/a.png"), ("http", "/tmp/a.png"), ("http", "a.png")):
        with pytest.raises(InvalidRequest, match=r"POST /api/images/inputs") as error:
            with_stored_inputs(edit(referenceImages=[URL, ref]), door=door, blobs=world.blobs)  # type: ignore[arg-type]
        assert error.value.problems[0]["field"] == "referenceImages.1"


@pytest.mark.parametrize(
    ("ref", "told"),
    [
        ("data:image/png,rawbytes", "is no base64 data: URI"),
        ("data:image/png;base64,@@@", "holds broken base64"),
        ("data:image/png;base64,", "is empty"),
        ("data:text/html;base64," + base64.b64encode(b"<html>").decode(), "is an HTML page"),
        ("data:image/png;base64," + base64.b64encode(PNG[:-9]).decode(), "truncated"),
        ("/nowhere/mara.png", "is no file"),
        ("/dev/zero", "is no file"),
        ("gopher:x", "gopher: names no picture"),
    ],
)
def test_bytes_that_are_no_picture_are_refused(world: World, ref: str, told: str) -> None:
    """Broken base64, other types, cut files, missing files and devices: each named with its field."""
    with pytest.raises(InvalidRequest) as error:
        with_stored_inputs(edit(style={"name": "s", "references": [ref]}), door="cli", blobs=world.blobs)
    (problem,) = error.value.problems
    assert problem["field"] == "style.references.0"
    assert told in problem["reason"]
    assert world.blobs.keys == []


def test_all_unreadable_bytes_are_told_at_once(world: World) -> None:
    """One answer names every wrong picture of a request."""
    request = edit(referenceImages=["/none/1", URL, "/none/2"], jobType="inpaint", sourceImage="/none/3", mask=DATA)
    with pytest.raises(InvalidRequest) as error:
        with_stored_inputs(request, door="cli", blobs=world.blobs)
    assert [problem["field"] for problem in error.value.problems] == [
        "referenceImages.0", "referenceImages.2", "sourceImage",
    ]  # fmt: skip


def test_a_file_that_is_too_large_is_refused_unread(world: World, tmp_path: Path) -> None:
    """A sparse file of many bytes is judged by its size alone."""
    path = tmp_path / "large.png"
    path.touch()
    os.truncate(path, MAX_INPUT_BYTES + 1)
    with pytest.raises(InvalidRequest, match=f"has {MAX_INPUT_BYTES + 1} bytes"):
        with_stored_inputs(edit(referenceImages=[str(path)]), door="cli", blobs=world.blobs)


def test_a_capsule_is_kept_without_bytes(world: World) -> None:
    """A stored style names its own pictures by digest too."""
    kept = style_with_stored_inputs(Style(name="s", references=[DATA, URL]), door="http", blobs=world.blobs)
    assert kept.references == [f"input:{SHA}", URL]


def test_the_same_bytes_are_stored_once(world: World) -> None:
    """Content-addressed: what is there already is not sent again, only young again, so that no erasure takes it."""
    store_input(PNG, "mask", world.blobs)
    before = world.blobs.head(f"inputs/{SHA}")
    sent, world.blobs.put = world.blobs.put, None  # type: ignore[method-assign, assignment]
    world.blobs.copy = lambda source, target, kind: sent(target, world.blobs.get(source), kind)  # type: ignore[method-assign]
    store_input(PNG, "mask", world.blobs)
    after = world.blobs.head(f"inputs/{SHA}")
    assert before is not None
    assert after is not None
    assert after.modified > before.modified
    assert world.blobs.keys == [f"inputs/{SHA}"]
