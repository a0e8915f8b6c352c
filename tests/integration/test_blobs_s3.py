"""The object store on S3 over HTTP: its addresses, its faults, its bucket."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import requests

from imagegen.errors import ImagegenError, InvalidRequest, NotFound, PartUnavailable, StorageError
from storage import s3
from storage.s3 import S3Blobs
from tests.answers import a_dead_address, a_store_that_answers
from tests.forks import in_a_fork

pytest_plugins = ["tests.s3"]

Open = Callable[..., S3Blobs]


# ── addresses ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_presigned_url_can_be_read(s3_open: Open) -> None:
    """It gives the bytes of a private object, with their type and cache rule."""
    blobs = s3_open(prefix="kept")
    blobs.put("project_p/a b.png", b"picture", "image/png", cache_control="max-age=60")
    answer = requests.get(blobs.presigned_url("project_p/a b.png", timedelta(minutes=5)), timeout=5)
    assert (answer.status_code, answer.content) == (200, b"picture")
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Cache-Control"] == "max-age=60"


def test_urls_carry_the_address_of_browsers(s3_open: Open) -> None:
    """The public endpoint is in every URL (and in the signature's), a CDN in the public ones; the inner one in none."""
    outside = s3_open(bucket="pictures", prefix="kept", public_endpoint_url="https://files.example.com")
    assert outside.public_url("project_p/x.png") == "https://files.example.com/pictures/kept/project_p/x.png"
    signed = outside.presigned_url("project_p/x.png", timedelta(hours=1))
    assert signed.startswith("https://files.example.com/pictures/kept/project_p/x.png?")
    assert "X-Amz-Expires=3600" in signed
    cdn = s3_open(bucket="pictures", prefix="kept", public_base_url="https://cdn.example.com/")
    assert cdn.public_url("project_p/x.png") == "https://cdn.example.com/project_p/x.png"


def test_urls_on_aws_name_bucket_and_region(s3_open: Open) -> None:
    """Without an endpoint the URL is AWS's: virtual-host style, path style where the bucket's name has a dot."""
    aws = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "eu-west-1"}
    plain = s3_open(bucket="pictures", prefix="kept", endpoint_url=None, aws=aws)
    assert plain.public_url("project_p/x.png") == "https://pictures.s3.eu-west-1.amazonaws.com/kept/project_p/x.png"
    dotted = s3_open(bucket="my.pictures", endpoint_url=None, aws=aws)
    assert dotted.public_url("project_p/x.png") == "https://s3.eu-west-1.amazonaws.com/my.pictures/project_p/x.png"


@pytest.mark.parametrize("ttl", [timedelta(0), timedelta(days=8)])
def test_a_presigned_url_lives_a_week_at_most(s3_open: Open, ttl: timedelta) -> None:
    """A life that the signature does not allow is refused by name."""
    with pytest.raises(InvalidRequest, match="IMAGEGEN_URL_TTL"):
        s3_open().presigned_url("project_p/x.png", ttl)


def test_a_prefix_keeps_two_stores_apart(s3_open: Open) -> None:
    """Two prefixes in one bucket do not see each other's objects, also where one begins with the other."""
    one, other = s3_open(prefix="a"), s3_open(prefix="ab")
    one.put("blobs/x", b"1", "text/plain")
    other.put("blobs/x", b"2", "text/plain")
    assert [info.key for info in one.list("")] == ["blobs/x"]
    assert (one.get("blobs/x"), other.get("blobs/x")) == (b"1", b"2")


def test_a_long_list_comes_whole(s3_open: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 gives its keys in pages; `list` goes on to the last."""
    monkeypatch.setattr(s3, "PAGE", 10)
    blobs = s3_open()
    for number in range(25):
        blobs.put(f"blobs/{number:04}", b"", "text/plain")
    assert [info.key for info in blobs.list("blobs/")] == [f"blobs/{number:04}" for number in range(25)]


def test_threads_share_a_client_and_forks_do_not(s3_open: Open) -> None:
    """All threads of a process use one client, made once; a forked child makes its own."""
    blobs = s3_open()
    with ThreadPoolExecutor(8) as pool:
        clients = set(pool.map(lambda _: id(blobs.client), range(32)))
    assert len(clients) == 1
    blobs.put("blobs/x", b"parent's", "text/plain")
    told = in_a_fork(lambda: f"{id(blobs.client) in clients} {blobs.get('blobs/x').decode()}")
    assert told == "False parent's"
    assert blobs.get("blobs/x") == b"parent's"


# ── faults ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_store_that_cannot_be_reached(s3_open: Open) -> None:
    """A dead address is PART_UNAVAILABLE, names the part, and may be tried again."""
    blobs = s3_open(endpoint_url=a_dead_address())
    for work in (blobs.check, lambda: blobs.put("blobs/x", b"x", "text/plain"), lambda: list(blobs.list(""))):
        with pytest.raises(PartUnavailable, match="cannot be reached") as caught:
            work()
        assert caught.value.details["part"] == "object store"
        assert caught.value.retryable


def test_a_store_that_does_not_answer(s3_open: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that stays silent ends with the read timeout, as PART_UNAVAILABLE."""
    monkeypatch.setattr(s3, "READ_TIMEOUT", 0.1)
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        blobs = s3_open(endpoint_url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(PartUnavailable, match="cannot be reached"):
            blobs.get("blobs/x")


@pytest.mark.parametrize(("status", "code"), [(500, "InternalError"), (503, "SlowDown"), (429, "TooManyRequests")])
def test_the_stores_own_trouble_passes(s3_open: Open, status: int, code: str) -> None:
    """5xx and throttling are PART_UNAVAILABLE, after boto3 tried three times."""
    with a_store_that_answers(status, code) as (address, seen):
        blobs = s3_open(endpoint_url=address)
        with pytest.raises(PartUnavailable) as caught:
            blobs.get("blobs/x")
        assert len(seen) == 3
    assert caught.value.details["part"] == "object store"


@pytest.mark.parametrize(
    ("status", "code", "kind", "told"),
    [
        (403, "AccessDenied", StorageError, "allow s3:GetObject"),
        (403, "InvalidAccessKeyId", StorageError, "AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", StorageError, "AWS_SECRET_ACCESS_KEY"),
        (400, "ExpiredToken", StorageError, "AWS_SESSION_TOKEN"),
        (404, "NoSuchBucket", StorageError, "imagegen bucket"),
        (404, "NoSuchKey", NotFound, "blobs/x"),
        (507, "XMinioStorageFull", StorageError, "free space"),
        (409, "OperationAborted", StorageError, "told by the store"),
    ],
)
def test_each_refusal_has_its_remedy(
    s3_open: Open, status: int, code: str, kind: type[ImagegenError], told: str
) -> None:
    """What a store refuses for good is STORAGE_ERROR that says what to do; a missing key is NOT_FOUND."""
    with a_store_that_answers(status, code) as (address, _):
        blobs = s3_open(endpoint_url=address)
        with pytest.raises(kind, match=told):
            blobs.get("blobs/x")


def test_a_download_that_breaks_off(s3_open: Open) -> None:
    """An object whose bytes stop early is PART_UNAVAILABLE: half a picture is never returned."""
    with a_store_that_answers(200, "half", cut=True) as (address, _):
        blobs = s3_open(endpoint_url=address)
        with pytest.raises(PartUnavailable):
            blobs.get("blobs/x")


def test_check_tells_a_missing_bucket_and_denied_access(s3_open: Open) -> None:
    """`check` names the remedy where the bucket is missing or closed, though HEAD carries no error code."""
    with pytest.raises(StorageError, match="imagegen bucket"):
        s3_open(bucket="nowhere").check()
    with a_store_that_answers(403) as (address, _), pytest.raises(StorageError, match="allow s3:GetObject"):
        s3_open(endpoint_url=address).check()


def test_missing_credentials_are_told(
    s3_open: Open, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without credentials anywhere, STORAGE_ERROR names the two variables."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(StorageError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        s3_open(endpoint_url=s3_endpoint, aws={}).check()
