"""Addresses that end, on S3: they really read the picture at the host that browsers use."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from imagegen.layout import picture_keys
from imagegen.links import Links
from storage.s3 import S3Blobs
from tests.pipeline_parts import World

pytest_plugins = ["tests.worlds"]
TTL = timedelta(minutes=5)


def read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as reply:  # the loopback server of the tests
        return bytes(reply.read())


def test_a_presigned_document_reads_the_picture(
    world: World, s3_open: Callable[..., S3Blobs], s3_endpoint: str
) -> None:
    """Picture and thumbnail are read over HTTP by the document's addresses: the browsers' host, and a life."""
    browsers = s3_endpoint.replace("127.0.0.1", "localhost")
    blobs = s3_open(public_endpoint_url=browsers)
    links = Links(sign=lambda key: blobs.presigned_url(key, TTL))
    world.services = replace(world.services, blobs=blobs, links=links)
    job = world.job("gemini")
    world.chain(job)
    document = world.services.links.job(world.now(job))
    keys = picture_keys(job)
    for url, key in ((document.public_url, keys.picture), (document.thumbnail_url, keys.thumbnail)):
        parts = urlsplit(str(url))
        assert f"{parts.scheme}://{parts.netloc}" == browsers
        assert parse_qs(parts.query)["X-Amz-Expires"] == [str(int(TTL.total_seconds()))]
        assert "host" in parse_qs(parts.query)["X-Amz-SignedHeaders"][0]
        assert read(str(url)) == blobs.get(key)
    assert "X-Amz" not in str(world.now(job).public_url)


def test_an_erased_picture_is_gone_for_who_kept_its_address(world: World, s3_open: Callable[..., S3Blobs]) -> None:
    """An address that was given out before reads nothing any more."""
    blobs = s3_open()
    blobs.put("project_a/b.png", b"x", "image/png")
    url = blobs.presigned_url("project_a/b.png", TTL)
    assert read(url) == b"x"
    blobs.delete("project_a/b.png")
    with pytest.raises(urllib.error.HTTPError) as gone:
        read(url)
    with gone.value as answer:
        assert answer.code == 404


def test_what_is_stored_again_is_young_again(s3_open: Callable[..., S3Blobs]) -> None:
    """A copy onto itself keeps bytes and type and moves the time of change on, as keeping an input relies on."""
    blobs = s3_open()
    blobs.put("inputs/a", b"x", "image/png")
    before = blobs.head("inputs/a")
    blobs.copy("inputs/a", "inputs/a", "image/png")
    after = blobs.head("inputs/a")
    assert before is not None
    assert after is not None
    assert after.modified >= before.modified
    assert (blobs.get("inputs/a"), after.content_type) == (b"x", "image/png")
