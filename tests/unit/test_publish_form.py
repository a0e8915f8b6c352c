"""Pictures are published in exactly the size and form asked for, and carry nothing else."""

from __future__ import annotations

import hashlib

import pytest
import pyvips
from PIL import Image, ImageCms, PngImagePlugin

from imagegen import images
from imagegen.contracts import Format
from imagegen.fileformats import ContentType, parts, without_metadata
from tests.drawings import BLUE, GREEN, RED, WHITE, a_file, drawn, near, opened, quarters, saved

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
        "1-bit": (
            saved(drawn(320, 180).convert("1", dither=Image.Dither.NONE), "PNG"),
            ((0,) * 3, (0,) * 3, (0,) * 3, (255,) * 3),
            2,
        ),
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
    swapped = drawn(64, 64)
    broken = images.publish_form(saved(swapped, "PNG", icc_profile=b"no profile at all"), 64, 64, "png")
    assert near(quarters(broken.data)[0], RED)
    assert "icc_profile" not in opened(broken.data).info
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    kept = images.publish_form(saved(swapped, "PNG", icc_profile=srgb), 64, 64, "png")
    assert not kept.reencoded
    assert near(quarters(kept.data)[0], RED, 0)
    assert "icc_profile" not in opened(kept.data).info
    wide = _wide_gamut_profile()
    made = images.publish_form(saved(swapped, "JPEG", icc_profile=wide, quality=95), 64, 64, "png")
    assert made.reencoded
    assert not near(quarters(made.data)[1], GREEN, 12)


def _wide_gamut_profile() -> bytes:
    """An RGB matrix profile with other primaries: sRGB's own with two columns exchanged and its name changed."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    names = {bytes(data[start : start + 4]): start for start in range(132, 132 + 12 * 20, 12)}
    first, second = names[b"rXYZ"], names[b"gXYZ"]
    data[first + 4 : first + 8], data[second + 4 : second + 8] = (
        data[second + 4 : second + 8],
        data[first + 4 : first + 8],
    )
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
        near(seen, colour, 30) for seen, colour in zip(quarters(made.thumbnail), (RED, GREEN, BLUE, WHITE), strict=True)
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
