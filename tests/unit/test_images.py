"""Pictures: recognised, verified to the last row, level in memory, loud after a fork."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import pyvips

from imagegen import images
from imagegen.contracts import Format
from imagegen.decoding import THREADS_LOST
from imagegen.errors import BadArtifact, InvalidRequest
from imagegen.fileformats import ContentType, describe, parts
from tests.drawings import a_file, chunk, drawn, png_claiming, saved
from tests.forks import in_a_fork

# ── recognising ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("format", list(Format))
def test_pictures_are_known_by_their_content(format: Format) -> None:
    """Twelve bytes suffice to know a type, and `inspect` and `verify` tell size, length and digest."""
    data = a_file(format)
    assert images.sniff(data[:12]) is ContentType.of(format)
    for tell in (images.inspect, images.verify):
        picture = tell(data)
        assert (picture.width, picture.height, picture.bytes) == (320, 180, len(data))
        assert picture.content_type == f"image/{format.value}"
        assert picture.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "empty"),
        (b" \n", "blank"),
        (b"<!DOCTYPE html><html><body>503</body></html>", "an HTML page"),
        (b'\xef\xbb\xbf  <html lang="en">', "an HTML page"),
        (b'{"error": "expired"}', "JSON"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML document"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG image"),
        (b"Too many requests", "text"),
        (b"GIF89a" + bytes(20), "a GIF image"),
        (b"\x00\x00\x00\x20ftypavif" + bytes(20), "an AVIF, HEIC or MP4 file"),
        (b"%PDF-1.7", "a PDF document"),
        (b"\x00\x01\x02\x03" * 9, "of an unknown type"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, told: str) -> None:
    """BAD_ARTIFACT says what came in place of a picture, without quoting it."""
    assert describe(data) == told
    for refuse in (images.inspect, images.verify, lambda data: images.publish_form(data, 64, 64, "png")):
        with pytest.raises(BadArtifact, match=f"it is {told}$"):
            refuse(data)


@pytest.mark.parametrize("format", list(Format))
@pytest.mark.parametrize("left", [0.1, 0.5, 0.97, -12, -2, -1])
def test_a_cut_file_is_refused(format: Format, left: float) -> None:
    """A file that stops early is refused by all three, wherever it was cut, though its decoder might forgive it."""
    data = a_file(format)
    cut = data[: int(len(data) * left) if left > 0 else int(left)]
    for refuse in (
        images.inspect,
        images.verify,
        lambda data: images.publish_form(data, 64, 64, "png"),
        lambda data: images.publish_form(data, 320, 180, format),
        lambda data: images.publish_form(data, 640, 64, "jpeg"),
    ):
        with pytest.raises(BadArtifact, match=r"truncated|damaged"):
            refuse(cut)


def test_a_cut_picture_with_an_end_mark_is_refused() -> None:
    """Half the pixels and a proper end: only the decode finds it, also where the lower half is cropped away."""
    whole = a_file("png")
    image_data = next(part for part in parts(whole, ContentType.PNG) if part.kind == b"IDAT")
    body = whole[image_data.start + 8 : image_data.end - 4]
    half = whole[: image_data.start] + chunk(b"IDAT", body[: len(body) // 2]) + chunk(b"IEND", b"")
    jpeg = a_file("jpeg")
    for data in (half, jpeg[: len(jpeg) // 2] + b"\xff\xd9"):
        for width, height in ((320, 180), (320, 40), (40, 180), (700, 64), (64, 64)):
            with pytest.raises(BadArtifact):
                images.publish_form(data, width, height, "png")
        with pytest.raises(BadArtifact):
            images.verify(data)


def test_a_flipped_byte_in_a_png_is_found_without_decoding() -> None:
    """A PNG carries checksums, and `inspect` holds its bytes against them."""
    data = bytearray(a_file("png"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(BadArtifact, match="checksum"):
        images.inspect(bytes(data))


@pytest.mark.parametrize(("width", "height"), [(50_000, 50_000), (2_000_000_000, 1), (10_001, 10_000)])
def test_a_bomb_is_refused_by_its_header(width: int, height: int) -> None:
    """A small file that claims more pixels than allowed is refused before anything is decoded."""
    for refuse in (images.inspect, images.verify, lambda data: images.publish_form(data, 64, 64, "png")):
        with pytest.raises(BadArtifact, match=rf"too large: its header claims {width}x{height}"):
            refuse(png_claiming(width, height))


def test_limits_are_arguments() -> None:
    """Bytes and pixels are held against the limits given."""
    data = a_file("jpeg")
    with pytest.raises(BadArtifact, match=f"too large: {len(data)} bytes, while 1000 are allowed"):
        images.verify(data, images.Limits(max_bytes=1000))
    with pytest.raises(BadArtifact, match="320x180"):
        images.verify(data, images.Limits(max_pixels=320 * 180 - 1))
    assert images.verify(data, images.Limits(max_pixels=320 * 180)).width == 320


def test_other_loaders_are_blocked() -> None:
    """libvips reads nothing but the three formats, on one thread, without a cache."""
    for data in (saved(drawn(20, 20), "TIFF"), saved(drawn(20, 20), "GIF"), b"<svg/>"):
        with pytest.raises(pyvips.Error):
            pyvips.Image.new_from_buffer(data, "")
    assert pyvips.concurrency_get() == 1
    assert pyvips.cache_get_max() == 0


# ── pairs ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_mask_must_match_its_source() -> None:
    """Equal sizes pass, across formats; else INVALID_REQUEST names `mask` and both sizes."""
    source, mask = images.check_pair(a_file("jpeg"), a_file("png"))
    assert (source.width, source.height) == (mask.width, mask.height) == (320, 180)
    with pytest.raises(InvalidRequest) as caught:
        images.check_pair(a_file("jpeg"), a_file("png", 180, 320))
    assert [problem["field"] for problem in caught.value.problems] == ["mask"]
    assert "180x320" in caught.value.message
    assert "320x180" in caught.value.message


def test_a_broken_input_names_its_field() -> None:
    """A source, mask or reference that is no picture is the caller's fault, by field."""
    for source, mask, field in ((b"{}", a_file("png"), "sourceImage"), (a_file("png"), b"<html>", "mask")):
        with pytest.raises(InvalidRequest) as caught:
            images.check_pair(source, mask)
        assert caught.value.problems[0]["field"] == field
    with pytest.raises(InvalidRequest, match=r"referenceImages\.1: .*truncated"):
        images.verify_input(a_file("png")[:-30], "referenceImages.1")


# ── the process ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_memory_stays_level_over_many_pictures() -> None:
    """200 pictures later the process is no larger than after the first twenty, but for 32 MB of slack."""
    files = [a_file(format, 640, 360) for format in Format]
    sizes = ((480, 270), (640, 360), (200, 200))

    def work(rounds: int) -> None:
        for number in range(rounds):
            width, height = sizes[number % 3]
            images.publish_form(files[(number // 3) % 3], width, height, list(Format)[number % 3])

    work(20)
    before = _resident()
    work(200)
    assert _resident() - before < 32 * 1024 * 1024


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_pictures_after_a_fork_are_refused_loudly() -> None:
    """libvips would wait forever in a child whose parent used it: the child gets an error instead."""
    data = a_file("png")
    images.verify(data)
    assert in_a_fork(lambda: str(images.verify(data))) == f"RuntimeError: {THREADS_LOST}"
