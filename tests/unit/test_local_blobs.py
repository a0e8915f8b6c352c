"""The object store in a folder: what a disk can do to it, and how its address is read."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from imagegen.errors import ImagegenError, InvalidRequest, PartUnavailable, StorageError
from storage.blobs import ABANDONED_AFTER, UNFINISHED, LocalBlobs, open_blobs
from storage.s3 import S3Blobs


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    """A store whose folder does not exist yet."""
    return LocalBlobs(tmp_path / "deep" / "store")


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """A disk that is full after `size` bytes per file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_keeps_the_old_object(blobs: LocalBlobs) -> None:
    """A write that does not fit raises STORAGE_ERROR with the remedy, leaves the old bytes and no litter."""
    blobs.put("blobs/a", b"old", "text/plain")
    with files_no_larger_than(1000), pytest.raises(StorageError, match="free space"):
        blobs.put("blobs/a", bytes(5000), "text/plain")
    assert blobs.get("blobs/a") == b"old"
    assert list((blobs.root / UNFINISHED).iterdir()) == []


@pytest.mark.parametrize(
    ("number", "kind", "told"),
    [
        (errno.ENOSPC, StorageError, "free space"),
        (errno.EDQUOT, StorageError, "free space"),
        (errno.EACCES, StorageError, "let this user write"),
        (errno.EROFS, StorageError, "let this user write"),
        (errno.EIO, PartUnavailable, "fails"),
        (errno.ESTALE, PartUnavailable, "fails"),
    ],
)
def test_each_disk_error_has_its_meaning(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[ImagegenError], told: str
) -> None:
    """What stays wrong is STORAGE_ERROR with a remedy; what passes is PART_UNAVAILABLE and names the part."""

    def broken(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(kind, match=told) as caught:
        blobs.put("blobs/a", b"x", "text/plain")
    assert caught.value.details.get("part") == ("object store" if kind is PartUnavailable else None)
    assert blobs.head("blobs/a") is None
    assert list((blobs.root / UNFINISHED).iterdir()) == []


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    """Where a folder is needed and a file stands, `put` and `check` say so."""
    (tmp_path / "store").write_text("a file")
    blobs = LocalBlobs(tmp_path / "store")
    with pytest.raises(StorageError, match="a file stands where a folder is needed"):
        blobs.put("blobs/a", b"x", "text/plain")
    with pytest.raises(StorageError, match="a file stands where a folder is needed"):
        blobs.check()


def test_check_removes_what_killed_processes_left(blobs: LocalBlobs) -> None:
    """An unfinished file goes after a day, a younger one may still be written; none is ever listed."""
    blobs.check()
    old, young = blobs.root / UNFINISHED / "old", blobs.root / UNFINISHED / "young"
    for file in (old, young):
        file.write_bytes(b"half")
    long_ago = old.stat().st_mtime - ABANDONED_AFTER - 60
    os.utime(old, (long_ago, long_ago))
    blobs.check()
    assert not old.exists()
    assert young.exists()
    assert list(blobs.list("")) == []


def test_urls_of_files(blobs: LocalBlobs) -> None:
    """Without a base, URLs are `file://` ones that can be opened; with a base they lie below it."""
    blobs.put("project_p/a b.png", b"x", "image/png")
    url = blobs.public_url("project_p/a b.png")
    assert url == (blobs.root / "project_p" / "a b.png").as_uri()
    assert blobs.presigned_url("project_p/a b.png", timedelta(hours=1)) == url
    based = LocalBlobs(blobs.root, "http://127.0.0.1:8000/files/")
    assert based.public_url("project_p/a b.png") == "http://127.0.0.1:8000/files/project_p/a%20b.png"


def test_a_storage_url_opens_its_store(tmp_path: Path) -> None:
    """`file:///folder` and `s3://bucket/prefix` are read, escapes and closing slashes included."""
    folder = open_blobs(f"{(tmp_path / 'a b').as_uri()}/")
    assert isinstance(folder, LocalBlobs)
    assert folder.root == tmp_path / "a b"
    for url, prefix in (("s3://my-bucket", ""), ("s3://my-bucket/", ""), ("s3://my-bucket/a/b/", "a/b/")):
        store = open_blobs(url)
        assert isinstance(store, S3Blobs)
        assert (store.bucket, store.prefix) == ("my-bucket", prefix)


@pytest.mark.parametrize(
    "url",
    [
        "", "pictures", "/var/pictures", "https://bucket.s3.amazonaws.com", "s3://", "s3:///prefix", "s3://A_B",
        "s3://bucket/../x", "s3://bucket/a//b", "s3://bucket?x=1", "file://folder/x", "file://", "file:///", "gs://bucket",
    ],
)  # fmt: skip
def test_a_wrong_storage_url_is_told(url: str) -> None:
    """Every other address is INVALID_REQUEST, which names the setting and the right form."""
    with pytest.raises(InvalidRequest) as caught:
        open_blobs(url)
    assert caught.value.problems[0]["field"] == "IMAGEGEN_STORAGE_URL"
    assert caught.value.problems[0]["remedy"]


def test_a_name_that_no_disk_holds_is_no_outage(blobs: LocalBlobs) -> None:
    """A key with too long a segment is refused for good, when it is asked for as well as when it is written."""
    blobs.put("project_a/one.png", b"x", "image/png")
    key = f"project_a/{'x' * 300}.png"
    for attempt in (lambda: blobs.head(key), lambda: blobs.get(key), lambda: blobs.put(key, b"x", "image/png")):
        with pytest.raises(StorageError, match="shorter") as raised:
            attempt()
        assert not raised.value.retryable


def test_the_folder_is_closed_to_others_unless_they_were_let_in(tmp_path: Path) -> None:
    """A folder that the store makes is its user's alone; one that is there keeps its mode."""
    there = tmp_path / "there"
    there.mkdir()
    there.chmod(0o755)
    for root, mode in ((tmp_path / "new" / "store", 0o700), (there, 0o755)):
        LocalBlobs(root).put("blobs/1", b"x", "image/png")
        assert root.stat().st_mode & 0o777 == mode
