"""The main job on an S3 server: objects where the layout says, readable where they should be, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from imagegen.client import Batch
from imagegen.emulator import Emulator
from imagegen.images import verify
from storage.s3 import S3Blobs
from tests.acceptance.system import System, started, words
from tests.s3 import CREDENTIALS

BUCKET, PREFIX = "acceptance-pictures", "studio"
CAST = [{"name": "Ada Wren", "description": "a clockmaker"}, {"name": "Bo Quill", "description": "a postman"}]


@pytest.fixture(scope="module")
def on_s3(tmp_path_factory: pytest.TempPathFactory, s3_endpoint: str) -> Iterator[System]:
    """A system that keeps its pictures in a bucket which `imagegen bucket` is to make."""
    told = {"IMAGEGEN_STORAGE_URL": f"s3://{BUCKET}/{PREFIX}", "IMAGEGEN_S3_ENDPOINT_URL": s3_endpoint, **CREDENTIALS}
    with Emulator(plain=True) as emulator, started(tmp_path_factory.mktemp("s3") / "home", emulator, **told) as system:
        yield system


@pytest.fixture(scope="module")
def made(on_s3: System) -> Batch:
    """Two characters made after the bucket was prepared by the command, once without and once with a public policy."""
    env = dict(on_s3.run.instance.env)
    dry = on_s3.cli("bucket", "--public", "--dry-run", env=env)
    assert (dry.code, [one["Action"] for one in dry.json["Statement"]]) == (0, ["s3:GetObject"])
    first = on_s3.cli("bucket", env=env)
    assert (first.code, first.out.splitlines()) == (0, [f"bucket {BUCKET} created", "its policy was not touched"])
    second = on_s3.cli("bucket", "--public", env=env)
    assert (second.code, second.out.splitlines()[0]) == (0, f"bucket {BUCKET} is there")
    project = words("s3").replace(" ", "-")
    return on_s3.client.wait(on_s3.client.batch(CAST, project_id=project, format="jpeg"), timeout=60)


def test_a_batch_lies_where_the_layout_says(on_s3: System, made: Batch, s3_admin: S3Blobs) -> None:
    """Picture, thumbnail and original of both jobs stand at their keys with their types; two pictures, two charges."""
    assert (made.status, [job.status for job in made.jobs]) == ("completed", ["completed"] * 2)
    keys: dict[str, str] = {}
    for brief, job in zip(CAST, made.jobs, strict=True):
        name = brief["name"].lower().replace(" ", "-")
        stem = f"{PREFIX}/project_{job.project_id}/branch_main/master-assets/{name}_{job.id}"
        keys |= {f"{stem}.jpg": "image/jpeg", f"{stem}_thumb.webp": "image/webp"}
    found = s3_admin.client.list_objects_v2(Bucket=BUCKET)["Contents"]
    stored = {one["Key"] for one in found}
    assert {key for key in stored if "/project_" in key} == set(keys)
    assert len([key for key in stored if key.startswith(f"{PREFIX}/blobs/")]) == 2
    for key, content_type in keys.items():
        head = s3_admin.client.head_object(Bucket=BUCKET, Key=key)
        assert (head["ContentType"], "immutable" in head["CacheControl"]) == (content_type, True)
    assert not list((on_s3.home / "storage").rglob("*"))
    assert len(on_s3.charges()) == 2


def test_pictures_are_public_and_nothing_else(on_s3: System, made: Batch, s3_endpoint: str, s3_admin: S3Blobs) -> None:
    """A published URL serves the exact picture to anybody; the originals are refused; no new charge."""
    for job in made.jobs:
        assert job.public_url is not None
        assert job.public_url.startswith(f"{s3_endpoint}/{BUCKET}/{PREFIX}/project_")
        with urlopen(job.public_url, timeout=10) as answer:
            picture = verify(answer.read())
        assert (picture.content_type, picture.width, picture.height) == ("image/jpeg", job.width, job.height)
        assert picture.sha256 == job.sha256
    blobs = s3_admin.client.list_objects_v2(Bucket=BUCKET, Prefix=f"{PREFIX}/blobs/")["Contents"]
    for blob in blobs:
        with pytest.raises(HTTPError) as refused:
            urlopen(f"{s3_endpoint}/{BUCKET}/{blob['Key']}", timeout=10)
        assert refused.value.code == 403
        refused.value.close()
    assert len(on_s3.charges()) == 2


def test_a_second_order_is_served_from_the_bucket(on_s3: System, made: Batch) -> None:
    """The same characters again are cache hits with pictures of their own; still two charges."""
    again = on_s3.client.wait(on_s3.client.batch(CAST, project_id=made.jobs[0].project_id, format="jpeg"), timeout=60)
    assert [(job.status, job.cache_hit) for job in again.jobs] == [("completed", True)] * 2
    assert {job.public_url for job in again.jobs}.isdisjoint({job.public_url for job in made.jobs})
    assert len(on_s3.charges()) == 2
