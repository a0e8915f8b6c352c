"""`Prefer: wait` on what is under way: the answer is held back until its end, for its owner alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from uuid import UUID

import pytest

from tests.door import Door, served
from tests.pipeline_parts import World

pytest_plugins = ["tests.worlds"]
FOX = {"prompt": "a fox", "provider": "gemini", "width": 320, "height": 180}


@pytest.fixture
def door(world: World) -> Iterator[Door]:
    """The door before that world, for ada."""
    with served(world.services) as door:
        yield door


def looked(door: Door, path: str, prefer: str) -> tuple[int, str, str | None]:
    reply = door.client.get(path, headers={**door.headers, "Prefer": prefer})
    return reply.status_code, reply.json().get("status"), reply.headers.get("Preference-Applied")


@pytest.mark.parametrize("asked", [FOX, {"characters": [{"name": "Mara"}, {"name": "Tom"}], **FOX}])
def test_an_answer_is_held_back_until_the_end(world: World, door: Door, asked: dict[str, object]) -> None:
    """A job is told when it has ended, a batch when it is closed; what has ended is told at once."""
    many = "characters" in asked
    made = door.post(f"/api/images/{'batches' if many else 'generate'}", asked)
    ids = [UUID(job["jobId"]) for job in (made.json()["jobs"] if many else [made.json()])]
    path = made.headers["Location"]
    worker = threading.Timer(0.1, lambda: [world.chain(world.store.jobs.get(one)) for one in ids])
    worker.start()
    assert looked(door, path, "wait=30") == (200, "completed", "wait=30")
    worker.join()
    assert looked(door, path, "wait=30") == (200, "completed", None)


def test_an_answer_is_not_held_back_for_ever(door: Door) -> None:
    """The document as it stands, when the time is over, and at once for whoever does not wait."""
    path = door.post("/api/images/generate", FOX).headers["Location"]
    assert looked(door, path, "wait=1") == (200, "queued", "wait=1")
    assert looked(door, path, "respond-async") == (200, "queued", None)


def test_nobody_waits_for_another_owner_s(door: Door) -> None:
    """404 at once, as for what does not exist."""
    path = door.post("/api/images/generate", FOX).headers["Location"]
    assert looked(door.as_("bob"), path, "wait=30")[0] == 404
