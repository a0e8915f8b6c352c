"""One suite for every object store: memory, a folder, S3 over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from imagegen.errors import NotFound, StorageError
from imagegen.ports import Blobs
from imagegen.testing.blobs import MemoryBlobs
from storage.blobs import LocalBlobs

pytest_plugins = ["tests.s3"]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
KEY = "project_p/branch_main/master-assets/mira_1.png"


@pytest.fixture(params=["memory", "folder", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Blobs]:
    """An empty store of each kind."""
    if request.param == "memory":
        yield MemoryBlobs()
    elif request.param == "folder":
        yield LocalBlobs(tmp_path / "store with a space", "http://127.0.0.1:8000/files")
    else:
        yield request.getfixturevalue("s3_open")(prefix="kept/here")


def test_what_was_put_is_got_back(blobs: Blobs) -> None:
    """Bytes come back as they went in, an empty object too."""
    blobs.put(KEY, PNG, "image/png", cache_control="public, max-age=31536000, immutable")
    blobs.put("blobs/empty", b"", "application/octet-stream")
    assert blobs.get(KEY) == PNG
    assert blobs.get("blobs/empty") == b""


def test_head_tells_size_type_and_time(blobs: Blobs) -> None:
    """`head` tells a picture's size, type and time of change, even where its key has no ending."""
    before = datetime.now(UTC) - timedelta(seconds=2)
    blobs.put("blobs/abc", PNG, "image/png")
    info = blobs.head("blobs/abc")
    assert info is not None
    assert (info.key, info.bytes, info.content_type) == ("blobs/abc", len(PNG), "image/png")
    assert before <= info.modified <= datetime.now(UTC) + timedelta(seconds=2)


def test_what_is_missing_is_said_so(blobs: Blobs) -> None:
    """A missing key: `get` and `copy` raise NotFound, `head` gives None, `delete` is content."""
    with pytest.raises(NotFound):
        blobs.get("blobs/none")
    with pytest.raises(NotFound):
        blobs.copy("blobs/none", "blobs/other", "image/png")
    assert blobs.head("blobs/none") is None
    assert blobs.head("blobs/none/deeper") is None
    blobs.delete("blobs/none")
    assert list(blobs.list("blobs/")) == []


def test_a_second_put_replaces_the_first(blobs: Blobs) -> None:
    """The same key put again holds the new bytes alone."""
    blobs.put(KEY, PNG, "image/png")
    blobs.put(KEY, PNG[:50], "image/png")
    assert blobs.get(KEY) == PNG[:50]
    assert [info.bytes for info in blobs.list("")] == [50]


def test_delete_takes_one_object(blobs: Blobs) -> None:
    """Only the key that is named goes."""
    for key in ("blobs/a", "blobs/ab"):
        blobs.put(key, PNG, "image/png")
    blobs.delete("blobs/a")
    assert [info.key for info in blobs.list("blobs/")] == ["blobs/ab"]


def test_list_gives_keys_below_a_prefix_in_order(blobs: Blobs) -> None:
    """`list` takes any beginning of a key, a folder's or not, and gives keys in order with their sizes."""
    keys = ["blobs/a", "blobs/b", "project_p/x.png", "project_p-2/x.png", "project_p/deep/er.png"]
    for size, key in enumerate(keys):
        blobs.put(key, PNG[: size + 8], "image/png")
    assert [info.key for info in blobs.list("")] == sorted(keys)
    assert [info.key for info in blobs.list("project_p")] == sorted(keys[2:])
    assert [(info.key, info.bytes) for info in blobs.list("project_p/")] == [
        ("project_p/deep/er.png", 12),
        ("project_p/x.png", 10),
    ]
    assert list(blobs.list("project_q")) == []
    assert list(blobs.list("nowhere/at/all")) == []


def test_copy_keeps_the_source(blobs: Blobs) -> None:
    """A copy has the bytes and the type asked for; its source stays."""
    blobs.put("blobs/abc", PNG, "image/png")
    blobs.copy("blobs/abc", KEY, "image/png")
    blobs.put("blobs/abc", b"other", "text/plain")
    assert blobs.get(KEY) == PNG
    info = blobs.head(KEY)
    assert info is not None
    assert info.content_type == "image/png"


UNSAFE = ["../x", "a/../x", "/etc/x", "a//x", "", "a/", "a/./x", ".hidden", "a\\..\\x", "a\nb", "x" * 1025]
WORK: list[Callable[[Blobs, str], object]] = [
    lambda blobs, key: blobs.put(key, b"x", "text/plain"),
    lambda blobs, key: blobs.get(key),
    lambda blobs, key: blobs.head(key),
    lambda blobs, key: blobs.delete(key),
    lambda blobs, key: blobs.public_url(key),
    lambda blobs, key: blobs.presigned_url(key, timedelta(hours=1)),
]


def test_unsafe_keys_are_refused(blobs: Blobs) -> None:
    """A key that could leave its place is refused by every method, before anything is touched."""
    for key in UNSAFE:
        for work in WORK:
            with pytest.raises(StorageError, match="no safe object key") as caught:
                work(blobs, key)
            assert not caught.value.retryable
    assert list(blobs.list("")) == []


def test_urls_name_the_key(blobs: Blobs) -> None:
    """Public and presigned URLs are absolute and hold the key, quoted."""
    blobs.put("project_p/a b.png", PNG, "image/png")
    for url in (blobs.public_url("project_p/a b.png"), blobs.presigned_url("project_p/a b.png", timedelta(hours=1))):
        assert "://" in url
        assert "project_p/a%20b.png" in url


def test_a_reader_sees_whole_objects_only(blobs: Blobs) -> None:
    """While one thread replaces an object again and again, readers see one version whole or the other."""
    versions = {bytes([letter]) * 200_000 for letter in b"ab"}
    blobs.put(KEY, next(iter(versions)), "application/octet-stream")
    done = threading.Event()

    def write() -> None:
        for _ in range(10):
            for version in versions:
                blobs.put(KEY, version, "application/octet-stream")
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        seen.add(blobs.get(KEY))
    writer.join()
    assert seen <= versions


def test_check_is_silent_when_all_is_well(blobs: Blobs) -> None:
    """`check` of a store in order raises nothing and leaves nothing."""
    blobs.check()
    assert list(blobs.list("")) == []
