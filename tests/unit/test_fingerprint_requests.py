"""Which differences between two requests make two pictures, and which do not: fingerprints of planned jobs."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagegen.admission import plan_image
from imagegen.contracts import ImageRequest, parse_request
from tests.admission_parts import World
from tests.drawings import a_file

SIZE = {"width": 640, "height": 360}
BODY: dict[str, Any] = {"prompt": "a fox", "provider": "gemini", "model": "nano-banana-pro", **SIZE}
MANY = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
word = st.text("abcdefghij", min_size=1, max_size=8)
WHO: dict[str, st.SearchStrategy[Any]] = {
    "owner": word,
    "projectId": word,
    "branchId": word,
    "priority": st.sampled_from(["high", "normal", "low"]),
    "metadata": st.dictionaries(word, word, max_size=2),
    "idempotencyKey": word,
    "deadlineSeconds": st.integers(60, 600),
    "maxPaidAttempts": st.integers(1, 3),
    "fresh": st.booleans(),
    "placeholder": st.sampled_from(["never", "on_failure"]),
    "provider": st.sampled_from(["gemini", "nanobanana"]),
}


@pytest.fixture(scope="module")
def world() -> World:
    """Services in memory."""
    return World()


def print_of(world: World, **fields: Any) -> str:
    """The fingerprint of the job that a request would become."""
    request = parse_request({**BODY, **fields})
    assert isinstance(request, ImageRequest)
    return plan_image(request, world.services, door="cli").fingerprint


@MANY
@given(changes=st.fixed_dictionaries({}, optional=WHO))
def test_who_asks_where_and_how_urgently_is_no_difference(world: World, changes: dict[str, Any]) -> None:
    """The same picture for another owner, project or provider, with another priority or metadata, is the same one."""
    assert print_of(world, **changes) == print_of(world)


@MANY
@given(
    change=st.one_of(
        st.fixed_dictionaries({"prompt": word}),
        st.fixed_dictionaries({"width": st.integers(320, 639)}),
        st.fixed_dictionaries({"height": st.integers(361, 640)}),
        st.fixed_dictionaries({"format": st.sampled_from(["jpeg", "webp"])}),
        st.fixed_dictionaries({"seed": st.integers(0, 2**31 - 1)}),
        st.fixed_dictionaries({"style": st.fixed_dictionaries({"name": st.just("ink"), "modifiers": st.tuples(word)})}),
        st.just({"model": "nano-banana-2.1"}),
        st.just({"width": 3840, "height": 2160}),
    )
)
def test_what_shapes_the_picture_is_a_difference(world: World, change: dict[str, Any]) -> None:
    """Words, size, format, seed, style, model and tier: each makes another picture."""
    assert print_of(world, **change) != print_of(world)


def test_pictures_are_known_by_what_they_show(world: World) -> None:
    """A reference, a source and a mask each make another picture; the same bytes under another name do not."""
    fox, other = (f"data:image/{kind};base64,{b64encode(a_file(kind.upper())).decode()}" for kind in ("png", "jpeg"))
    plain, one = print_of(world), print_of(world, referenceImages=[fox])
    assert one != plain
    assert print_of(world, referenceImages=[fox.replace("image/png", "image/x-any")]) == one
    both = print_of(world, referenceImages=[fox, other])
    assert len({plain, one, both, print_of(world, referenceImages=[other, fox])}) == 4
    edited = print_of(world, jobType="inpaint", sourceImage=fox, mask=fox)
    assert edited not in {plain, one}
    assert print_of(world, jobType="inpaint", sourceImage=other, mask=fox) != edited
    assert print_of(world, jobType="inpaint", sourceImage=fox, mask=other) != edited


def test_emulated_pictures_are_apart(world: World) -> None:
    """An emulated picture is never the real one's."""
    world.settings["emulated"] = not world.services.emulated
    try:
        changed = print_of(world)
    finally:
        world.settings["emulated"] = not world.settings["emulated"]
    assert changed != print_of(world)
