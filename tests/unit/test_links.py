"""Addresses that end: signed where a document is made, checked by `/files`, refused where they could not hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from imagegen.errors import InvalidRequest
from imagegen.jobs import Job
from imagegen.layout import blob_key, input_key, picture_keys
from imagegen.links import FileSigner, Links
from imagegen.settings import Settings
from imagegen.settings_rules import file_problems
from imagegen.states import Status
from storage.blobs import LocalBlobs
from tests.door import Door, served
from tests.pipeline_doubles import PICTURE
from tests.pipeline_parts import World

pytest_plugins = ["tests.worlds"]
ROOT = Path(__file__).parents[2]
SECRET = "s" * 32
HOUR = timedelta(hours=1)


@pytest.fixture
def local(world: World, tmp_path: Path) -> LocalBlobs:
    """A local store whose addresses are signed for an hour, in the world."""
    files = FileSigner(SECRET, world.clock.now)
    blobs = LocalBlobs(tmp_path, "http://api.test/files", files)
    links = Links(sign=lambda key: blobs.presigned_url(key, HOUR), files=files)
    world.services = replace(world.services, blobs=blobs, links=links)
    return blobs


@pytest.fixture
def door(world: World, local: LocalBlobs) -> Iterator[Door]:
    with served(world.services) as door:
        yield door


def drawn(world: World, **given: Any) -> Job:
    """A completed job of ada's."""
    job = world.job("gemini", **given)
    world.chain(job)
    ended = world.now(job)
    assert ended.status is Status.COMPLETED
    return ended


def reach(door: Door, url: str) -> Any:
    parts = urlsplit(url)
    return door.client.get(f"{parts.path}?{parts.query}")


def test_documents_are_signed_as_they_are_read(world: World, door: Door) -> None:
    """Every reading has an address of its own that reads the picture for an hour; the row's stays permanent."""
    job = drawn(world)
    first = door.get(f"/api/images/jobs/{job.id}").json()
    world.clock.advance(60)
    second = door.get("/api/images/jobs").json()["items"][0]
    assert first["publicUrl"] != second["publicUrl"]
    assert reach(door, first["publicUrl"]).status_code == 200
    world.clock.advance(HOUR.total_seconds() - 60)
    assert reach(door, first["publicUrl"]).status_code == 404
    picture, thumbnail = (reach(door, second[name]) for name in ("publicUrl", "thumbnailUrl"))
    assert (picture.status_code, thumbnail.status_code) == (200, 200)
    assert picture.content == world.services.blobs.get(picture_keys(job).picture)
    assert picture.headers["Cache-Control"] == "private"
    assert world.now(job).public_url == f"http://api.test/files/{picture_keys(job).picture}"


def test_published_documents_are_signed(world: World, local: LocalBlobs) -> None:
    """What Celery callers and batches get is signed like any other document."""
    job = drawn(world)
    assert "signature=" in world.document(job)["publicUrl"]
    assert "signature=" in world.document(job)["thumbnailUrl"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda query: "",
        lambda query: query.replace("signature=", "signature=0"),
        lambda query: query.replace("expires=", "expires=9"),
        lambda query: query.replace("expires=", "expires=-"),
        lambda query: query.partition("&")[0],
        lambda query: query.replace("expires=", "expires=%D9%A3"),
        lambda query: query.replace("signature=", "signature=%C3%A9"),
    ],
    ids=["bare", "altered", "longer", "negative", "unsigned", "digits", "letters"],
)
def test_altered_addresses_are_as_if_not_there(world: World, door: Door, spoil: Any) -> None:
    """Without, with another's or with an altered signature `/files` answers 404, as for what does not exist."""
    parts = urlsplit(str(world.services.links.job(drawn(world)).public_url))
    none = door.client.get("/files/project_demo/none.png")
    found = door.client.get(f"{parts.path}?{spoil(parts.query)}")
    assert (found.status_code, found.json()) == (404, none.json())
    other = urlsplit(str(world.services.links.job(drawn(world)).public_url))
    assert door.client.get(f"{other.path}?{parts.query}").status_code == 404


def test_a_long_name_says_nothing_of_the_store(world: World, local: LocalBlobs) -> None:
    """Neither that the store is away nor where it lies: there is no such file."""
    world.services = replace(world.services, links=Links(files=world.services.links.files))
    with served(world.services) as door:
        reply = door.client.get(f"/files/project_p/{'x' * 300}.png")
    assert reply.status_code == 404
    assert str(local.root) not in reply.text


def test_originals_are_never_served(world: World, door: Door, local: LocalBlobs) -> None:
    """Not even a right signature opens what was bought or is being bought."""
    key = blob_key(str(drawn(world).blob_sha256))
    assert local.head(key) is not None
    assert reach(door, local.presigned_url(key, HOUR)).status_code == 404


def test_inputs_need_a_signature_where_pictures_do_not(world: World, local: LocalBlobs) -> None:
    """With public addresses a published picture is open; an input is for those who were given its address."""
    world.services = replace(world.services, links=Links(files=world.services.links.files))
    job = drawn(world)
    local.put(input_key("a" * 64), PICTURE, "image/png")
    with served(world.services) as door:
        assert door.client.get(urlsplit(str(job.public_url)).path).status_code == 200
        assert door.client.get(f"/files/{input_key('a' * 64)}").status_code == 404
        assert reach(door, local.presigned_url(input_key("a" * 64), HOUR)).status_code == 200


def test_a_signed_store_elsewhere_has_no_open_door() -> None:
    """Where S3 signs and no secret is set, `/files` shows nothing; where addresses are public, it shows them."""
    assert not Links(sign=lambda key: key).admits("project_a/b.png", "", "")
    assert Links().admits("project_a/b.png", "", "")


def test_jobs_without_a_picture_are_not_signed(world: World, local: LocalBlobs) -> None:
    """A job on its way, or erased, has no address at all."""
    assert world.services.links.job(world.job()).public_url is None


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ({"IMAGEGEN_URL_TTL": "8d"}, "IMAGEGEN_URL_TTL"),
        (
            {"IMAGEGEN_STORAGE_URL": "s3://b", "IMAGEGEN_PUBLIC_BASE_URL": "https://cdn.test"},
            "IMAGEGEN_PUBLIC_BASE_URL",
        ),
    ],
)
def test_settings_that_cannot_hold_are_refused(tmp_path: Path, told: dict[str, str], field: str) -> None:
    """Longer than a week, or signed for a CDN: refused at the start; both are fine with public addresses."""
    Settings.load(told, tmp_path).check()
    with pytest.raises(InvalidRequest) as refusal:
        Settings.load({**told, "IMAGEGEN_URLS": "presigned"}, tmp_path).check()
    assert [one["field"] for one in refusal.value.problems] == [field]


@pytest.mark.parametrize(
    ("told", "fields"),
    [
        ({}, ["IMAGEGEN_PUBLIC_BASE_URL", "IMAGEGEN_JWT_SECRET"]),
        ({"IMAGEGEN_PUBLIC_BASE_URL": "https://a.test/files"}, ["IMAGEGEN_JWT_SECRET"]),
        ({"IMAGEGEN_PUBLIC_BASE_URL": "https://a.test/files", "IMAGEGEN_JWT_SECRET": "short"}, ["IMAGEGEN_JWT_SECRET"]),
        ({"IMAGEGEN_PUBLIC_BASE_URL": "https://a.test/files", "IMAGEGEN_JWT_SECRET": SECRET}, []),
        ({"IMAGEGEN_STORAGE_URL": "s3://b"}, []),
    ],
)
def test_a_local_store_needs_who_signs_and_who_checks(tmp_path: Path, told: dict[str, str], fields: list[str]) -> None:
    """A local store's signed addresses need the door's address and a secret of 32 bytes; S3 needs neither."""
    settings = Settings.load({**told, "IMAGEGEN_URLS": "presigned"}, tmp_path)
    assert [one["field"] for one in file_problems(settings)] == fields
    assert file_problems(Settings.load(told, tmp_path)) == []


DOORS = sorted(
    path for folder in ("imagegen/api", "imagegen/cli", "tasks", "storage") for path in (ROOT / folder).glob("*.py")
)
BARE = re.compile(r"(?:job|batch|after|jobs\[0\]|\.get\([^()]*\))\.document\(")


@pytest.mark.parametrize("path", DOORS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_door_makes_its_documents_in_one_place(path: Path) -> None:
    """No door shows a job or batch but by `Links`: a document made aside would show an address nobody can read."""
    shown = [line.strip() for line in path.read_text().splitlines() if BARE.search(line)]
    assert [line for line in shown if not line.startswith("label(")] == []
