"""Pictures: recognised, verified to the last row, published in exactly the size and form asked for."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zlib
from functools import cache
from pathlib import Path

import pytest
import pyvips
from PIL import Image, ImageCms, ImageDraw, PngImagePlugin

from imagegen import images
from imagegen.contracts import Format
from imagegen.decoding import THREADS_LOST
from imagegen.errors import BadArtifact, InvalidRequest
from imagegen.fileformats import ContentType, describe, parts, without_metadata

RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 180, 30), (30, 30, 220), (250, 250, 250)


def drawn(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Four quarters in four colours with a grain, so that turns, crops and cuts can be told apart."""
    picture = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(picture)
    boxes = [(0, 0), (width // 2, 0), (0, height // 2), (width // 2, height // 2)]
    for (left, top), colour in zip(boxes, (RED, GREEN, BLUE, WHITE), strict=True):
        draw.rectangle((left, top, left + width, top + height), fill=colour)
    for x in range(0, width, 7):
        draw.point((x, (x * 31) % height), fill=(x % 256, 90, 90))
    return picture if mode == "RGB" else picture.convert(mode)


def saved(picture: Image.Image, format: str, **options: object) -> bytes:
    """The file of a picture."""
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


@cache
def a_file(format: str, width: int = 320, height: int = 180) -> bytes:
    """A plain file of each format."""
    return saved(drawn(width, height), format)


def opened(data: bytes) -> Image.Image:
    """The picture of a file, decoded by another library than the one under test."""
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def near(one: object, other: tuple[int, ...], tolerance: int = 12) -> bool:
    """Whether two colours look the same."""
    assert isinstance(one, tuple)
    return len(one) == len(other) and all(abs(a - b) <= tolerance for a, b in zip(one, other, strict=True))


def quarters(data: bytes) -> list[object]:
    """Colours in the middle of the four quarters: top left, top right, bottom left, bottom right."""
    picture = opened(data)
    width, height = picture.size
    return [picture.getpixel((width * x // 4, height * y // 4)) for y in (1, 3) for x in (1, 3)]


def chunk(kind: bytes, body: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_claiming(width: int, height: int) -> bytes:
    """A small, well-formed PNG whose header claims any size."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


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


# ── publishing ───────────────────────────────────────────────────────────────────────────────────────────────────

SIZES = [(64, 64), (1, 1), (320, 180), (319, 181), (333, 77), (77, 333), (1000, 1001), (8, 700), (700, 8), (1280, 720)]


@pytest.mark.parametrize("source", list(Format))
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_size_is_exact(source: Format, width: int, height: int) -> None:
    """Whatever the ratio, up or down, the picture has exactly the size asked for, and its thumbnail at most 480."""
    for target in Format:
        made = images.publish_form(a_file(source), width, height, target)
        picture, small = opened(made.data), opened(made.thumbnail)
        assert picture.size == (width, height) == (made.width, made.height)
        assert picture.format == target.name
        assert (picture.mode, made.content_type) == ("RGB", f"image/{target.value}")
        assert small.format == "WEBP"
        assert small.size == (made.thumbnail_width, made.thumbnail_height)
        assert max(small.size) == min(480, max(width, height))
        assert made.sha256 == hashlib.sha256(made.data).hexdigest()
        assert (made.original_width, made.original_height) == (320, 180)


def test_the_centre_is_kept() -> None:
    """The picture covers the target and loses the same on both sides."""
    made = images.publish_form(a_file("png", 400, 200), 100, 100, "png")
    assert [near(seen, colour) for seen, colour in zip(quarters(made.data), (RED, GREEN, BLUE, WHITE), strict=True)]
    row = [opened(made.data).getpixel((x, 25)) for x in (10, 45, 54, 90)]
    assert [near(seen, colour) for seen, colour in zip(row, (RED, RED, GREEN, GREEN), strict=True)] == [True] * 4


def test_a_thin_strip_does_not_fill_the_memory() -> None:
    """A strip that would cover its target a thousand times over is cropped before it is enlarged."""
    strip = a_file("png", 20, 3000)
    made = images.publish_form(strip, 2000, 20, "png")
    assert opened(made.data).size == (2000, 20)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    """A turned or mirrored photograph is published upright, and the size told is the one that is seen."""
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = drawn(320, 160)
    stored = upright.transpose(turns[orientation]) if orientation in turns else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    for format in ("JPEG", "PNG", "WEBP"):
        data = saved(stored, format, exif=exif)
        assert images.verify(data).width == 320
        for size in ((320, 160), (120, 100), (160, 10)):
            made = images.publish_form(data, *size, "png")
            assert opened(made.data).size == size
            assert not opened(made.data).getexif()
        found = quarters(images.publish_form(data, 160, 80, "png").data)
        assert all(near(seen, colour, 40) for seen, colour in zip(found, (RED, GREEN, BLUE, WHITE), strict=True))


@pytest.mark.parametrize("size", [(320, 180), (100, 90)])
def test_unusual_pixels_become_8_bit_srgb(size: tuple[int, int]) -> None:
    """CMYK, 16-bit, palette, grey and black-and-white originals keep their look."""
    wide = pyvips.Image.new_from_memory(drawn(320, 180).tobytes(), 320, 180, 3, "uchar").copy(interpretation="srgb")
    sixteen = (wide.cast("ushort") * 257).cast("ushort").copy(interpretation="rgb16")
    colours = (RED, GREEN, BLUE, WHITE)
    kinds = {
        "cmyk": (saved(drawn(320, 180, "CMYK"), "JPEG", quality=95), colours, 100),  # ink is never so bright
        "16-bit": (sixteen.pngsave_buffer(bitdepth=16), colours, 6),
        "palette": (saved(drawn(320, 180).quantize(16), "PNG"), colours, 40),
        "grey": (saved(drawn(320, 180, "L"), "JPEG"), tuple((level,) * 3 for level in (87, 119, 52, 250)), 6),
        "1-bit": (saved(drawn(320, 180).convert("1", dither=0), "PNG"), ((0,) * 3, (0,) * 3, (0,) * 3, (255,) * 3), 2),
    }
    for name, (data, expected, tolerance) in kinds.items():
        for format in Format:
            made = images.publish_form(data, *size, format)
            assert opened(made.data).size == size, name
            found = quarters(saved(opened(made.data).convert("RGB"), "PNG"))
            assert all(near(a, b, tolerance) for a, b in zip(found, expected, strict=True)), (name, format, found)
            assert opened(made.data).mode in ("RGB", "L", "P", "1")


@pytest.mark.parametrize("size", [(320, 180), (100, 90), (640, 360)])
def test_transparency_is_kept_or_laid_on_white(size: tuple[int, int]) -> None:
    """PNG and WebP keep alpha; JPEG has none, and what was transparent is white, without dark edges."""
    picture = drawn(320, 180, "RGBA")
    picture.paste((0, 0, 0, 0), (0, 0, 160, 180))
    for source in ("PNG", "WEBP"):
        data = saved(picture, source, **({"lossless": True} if source == "WEBP" else {}))
        for format in (Format.PNG, Format.WEBP):
            found = quarters(images.publish_form(data, *size, format).data)
            assert found[0][3] == 0  # type: ignore[index]
            assert near(found[1], (*GREEN, 255))
        found = quarters(images.publish_form(data, *size, "jpeg").data)
        assert near(found[0], (255, 255, 255))
        assert near(found[1], GREEN)
        edge = [opened(images.publish_form(data, *size, "jpeg").data).getpixel((x, 20)) for x in range(*_middle(size))]
        assert all(pixel[1] > 150 for pixel in edge)  # type: ignore[index]


def _middle(size: tuple[int, int]) -> tuple[int, int]:
    return size[0] // 2 - 4, size[0] // 2 + 4


@pytest.mark.parametrize("mode", ["LA", "I;16"])
def test_rare_png_kinds_are_published(mode: str) -> None:
    """Grey with alpha and 16-bit grey work as well."""
    picture = drawn(80, 60, "LA") if mode == "LA" else Image.new("I;16", (80, 60), 40_000)
    for format in Format:
        for size in ((80, 60), (40, 40)):
            assert opened(images.publish_form(saved(picture, "PNG"), *size, format).data).size == size


def test_a_foreign_colour_profile_is_applied() -> None:
    """Pixels in another colour space are converted to sRGB, not only relabelled; a broken profile does not stop us."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    swapped = drawn(64, 64)
    broken = images.publish_form(saved(swapped, "PNG", icc_profile=b"no profile at all"), 64, 64, "png")
    assert near(quarters(broken.data)[0], RED)
    assert "icc_profile" not in opened(broken.data).info
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    kept = images.publish_form(saved(swapped, "PNG", icc_profile=srgb), 64, 64, "png")
    assert not kept.reencoded
    assert near(quarters(kept.data)[0], RED, 0)
    assert "icc_profile" not in opened(kept.data).info
    assert profile.tobytes()
    wide = _wide_gamut_profile()
    made = images.publish_form(saved(swapped, "JPEG", icc_profile=wide, quality=95), 64, 64, "png")
    assert made.reencoded
    assert not near(quarters(made.data)[1], GREEN, 12)


def _wide_gamut_profile() -> bytes:
    """An RGB matrix profile with other primaries: sRGB's own with two columns exchanged and its name changed."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    names = {bytes(data[start : start + 4]): start for start in range(132, 132 + 12 * 20, 12)}
    first, second = names[b"rXYZ"], names[b"gXYZ"]
    data[first + 4 : first + 8], data[second + 4 : second + 8] = data[second + 4 : second + 8], data[first + 4 : first + 8]
    return bytes(data).replace(b"sRGB", b"mine").replace("sRGB".encode("utf-16-be"), "mine".encode("utf-16-be"))


# ── as it is ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("format", list(Format))
def test_bytes_that_fit_go_out_as_they_are(format: Format) -> None:
    """The same size, format and no metadata: not one byte changes, and the thumbnail is made all the same."""
    data = a_file(format, 960, 540)
    made = images.publish_form(data, 960, 540, format)
    assert made.data is data
    assert not made.reencoded
    assert opened(made.thumbnail).size == (480, 270)
    assert all(
        near(seen, colour, 30)
        for seen, colour in zip(quarters(made.thumbnail), (RED, GREEN, BLUE, WHITE), strict=True)
    )


def test_metadata_is_cut_out_without_touching_pixels() -> None:
    """Text, EXIF, XMP, provenance and trailing bytes go; the compressed pixels stay as they were."""
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "a secret prompt")
    exif = Image.Exif()
    exif[0x010F] = "a secret maker"
    files = {
        Format.PNG: saved(drawn(96, 64), "PNG", pnginfo=text, exif=exif) + b"a secret trailer",
        Format.JPEG: saved(drawn(96, 64), "JPEG", comment=b"a secret comment", exif=exif) + b"a secret trailer",
        Format.WEBP: saved(drawn(96, 64), "WEBP", exif=exif, xmp=b"<x>a secret</x>") + b"a secret trailer",
    }
    for format, data in files.items():
        assert b"a secret" in data
        made = images.publish_form(data, 96, 64, format)
        assert not made.reencoded
        assert b"secret" not in made.data
        assert opened(made.data).tobytes() == opened(data).tobytes()
        assert without_metadata(made.data, ContentType.of(format)) is made.data
        assert b"secret" not in images.publish_form(data, 50, 50, format).data


def test_an_animation_is_published_as_one_still() -> None:
    """Of an animated file the first frame goes out, and it moves no more."""
    frames = [drawn(64, 48), Image.new("RGB", (64, 48), BLUE)]
    for format in (Format.WEBP, Format.PNG):
        data = saved(frames[0], format.name, save_all=True, append_images=frames[1:], duration=50)
        made = images.publish_form(data, 64, 48, format)
        assert getattr(opened(made.data), "n_frames", 1) == 1
        assert near(quarters(made.data)[0], RED, 30)


def test_a_progressive_jpeg_with_stray_bytes_goes_out_readable() -> None:
    """Several scans, fill bytes and restart markers are walked as decoders walk them."""
    data = saved(drawn(128, 96), "JPEG", progressive=True, restart_marker_blocks=2)
    first = parts(data, ContentType.JPEG)[1]
    padded = data[: first.start] + b"\xff\xff" + data[first.start :]
    made = images.publish_form(padded, 128, 96, "jpeg")
    assert not made.reencoded
    assert opened(made.data).tobytes() == opened(data).tobytes()


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
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            images.verify(data)
            answer = b"worked"
        except RuntimeError as error:
            answer = str(error).encode()
        os.write(writer, answer)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read().decode() == THREADS_LOST
    os.waitpid(child, 0)
