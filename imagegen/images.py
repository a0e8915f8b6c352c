"""Pictures by libvips: verified in full, cut to the exact size, encoded, with a thumbnail. Pure functions on bytes.

One decode does it all: the file streams through resize and colour conversion into one picture in memory (all of its
rows, so that a file which stops early is found out), and every output is made from that.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import pyvips

from imagegen.contracts import Format
from imagegen.decoding import DEFAULT_LIMITS, Header, Limits, Size, block_untrusted, load, read_header, undecodable
from imagegen.errors import BadArtifact, InvalidRequest
from imagegen.fileformats import ContentType, check_png_sums, sniff, without_metadata

__all__ = [
    "DEFAULT_LIMITS",
    "ContentType",
    "Limits",
    "Picture",
    "Published",
    "block_untrusted",
    "check_pair",
    "inspect",
    "publish_form",
    "sniff",
    "verify",
    "verify_input",
]

THUMBNAIL_SIDE = 480
"""Longest side of a thumbnail in pixels."""
ENCODING: dict[ContentType, dict[str, Any]] = {
    # A tenth larger than Pillow's default at an eighth of the CPU (tests/performance/picture_cost.py).
    ContentType.PNG: {"compression": 3, "filter": "up"},
    ContentType.JPEG: {"Q": 90},
    # Effort 4, the default, takes more than twice the CPU for the same size.
    ContentType.WEBP: {"Q": 90, "effort": 2},
}
_THUMBNAIL_ENCODING: dict[str, Any] = {"Q": 80, "effort": 2}
# A strip that covers its target with more than twice its area is cropped before it is resized, not after.
_MAX_COVERING = 2


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture file. Width and height in pixels as shown, EXIF orientation applied."""

    width: int
    height: int
    content_type: ContentType
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Published:
    """A picture ready to publish, exactly as large as asked for, and its WebP thumbnail.

    `reencoded` is False where the original's own pixels data went out (perhaps without its metadata).
    """

    data: bytes
    content_type: ContentType
    width: int
    height: int
    sha256: str
    thumbnail: bytes
    thumbnail_width: int
    thumbnail_height: int
    reencoded: bool
    original_width: int
    original_height: int


def inspect(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Picture:
    """Tells what the file is without decoding it; cheap enough to ask before it is kept.

    Raises `BadArtifact`, whose message says what the bytes are, when they are no PNG, JPEG or WebP picture, stop
    before their end mark, exceed the limits, or (PNG) do not match their checksums.
    """
    header = read_header(data, limits)
    if header.content_type is ContentType.PNG:
        check_png_sums(data)
    return _picture(data, header)


def verify(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Picture:
    """`inspect`, and a decode down to the last row.

    Raises `BadArtifact` like `inspect`, and when the file does not decode. The limits are checked before.
    """
    header = read_header(data, limits)
    shrink = 8 if header.content_type is ContentType.JPEG else 1
    try:
        load(data, header.content_type, shrink).avg()
    except pyvips.Error as error:
        raise undecodable(data, header.content_type, error) from error
    return _picture(data, header)


def verify_input(data: bytes, field: str, limits: Limits = DEFAULT_LIMITS) -> Picture:
    """`verify` for a picture that a caller sends: raises `InvalidRequest` naming the request's `field`."""
    try:
        return verify(data, limits)
    except BadArtifact as error:
        raise InvalidRequest.of(field, error.message, "Send a whole PNG, JPEG or WebP picture.") from error


def check_pair(source: bytes, mask: bytes, limits: Limits = DEFAULT_LIMITS) -> tuple[Picture, Picture]:
    """The source image and the mask of an inpaint job, both verified.

    Raises `InvalidRequest` naming `sourceImage` or `mask` when one is no picture, and `mask` when sizes differ.
    """
    original, covering = verify_input(source, "sourceImage", limits), verify_input(mask, "mask", limits)
    if (original.width, original.height) != (covering.width, covering.height):
        raise InvalidRequest.of(
            "mask",
            f"is {covering.width}x{covering.height} while sourceImage is {original.width}x{original.height}",
            "Send a mask exactly as large as the source image.",
        )
    return original, covering


def publish_form(
    data: bytes, width: int, height: int, format: Format | str, *, limits: Limits = DEFAULT_LIMITS
) -> Published:
    """The picture in exactly `width` x `height` pixels: verified, scaled to cover, cropped in its centre, encoded.

    8-bit sRGB; transparency is kept in PNG and WebP and laid on white in JPEG. No metadata goes along. A file that
    already fits goes out as it is, less its metadata. Raises `BadArtifact` like `verify`.
    """
    header = read_header(data, limits)
    target, content_type = Size(width, height), ContentType.of(format)
    as_it_is = _fitting(data, header, target, content_type)
    try:
        small = _within(target, THUMBNAIL_SIDE)
        pixels = _decode(data, header, target if as_it_is is None else small)
        encoded = _encode(pixels, content_type) if as_it_is is None else as_it_is
        thumbnail: bytes = _resized(pixels, small).webpsave_buffer(keep="none", **_THUMBNAIL_ENCODING)
    except pyvips.Error as error:
        raise undecodable(data, header.content_type, error) from error
    shown = header.shown
    return Published(
        data=encoded,
        content_type=content_type,
        width=width,
        height=height,
        sha256=hashlib.sha256(encoded).hexdigest(),
        thumbnail=thumbnail,
        thumbnail_width=small.width,
        thumbnail_height=small.height,
        reencoded=as_it_is is None,
        original_width=shown.width,
        original_height=shown.height,
    )


def _picture(data: bytes, header: Header) -> Picture:
    return Picture(*header.shown, header.content_type, len(data), hashlib.sha256(data).hexdigest())


def _fitting(data: bytes, header: Header, target: Size, content_type: ContentType) -> bytes | None:
    """The file's bytes without metadata, if they are what was asked for, else None."""
    fits = header.content_type is content_type and header.size == target and header.orientation == 1
    if not fits or not header.plain or header.foreign_profile:
        return None
    return without_metadata(data, content_type)


def _decode(data: bytes, header: Header, target: Size) -> pyvips.Image:
    """The picture in memory, exactly `target` large, upright, 8-bit sRGB; every row of the file was read."""
    stored = target.turned(header.sideways)
    scale = header.size.cover_scale(stored)
    covering = Size(
        max(stored.width, round(header.size.width * scale)), max(stored.height, round(header.size.height * scale))
    )
    if covering.area > _MAX_COVERING * stored.area:
        needed = Size(math.ceil(stored.width / scale), math.ceil(stored.height / scale))
        image, covering = _centre(load(data, header.content_type).copy_memory(), needed), stored
    else:
        image = load(data, header.content_type, _shrink_on_load(header, scale))
    pixels = _centre(_to_srgb(_resized(image, covering), header).copy_memory(), stored)
    return pixels.autorot().copy_memory() if header.orientation != 1 else pixels


def _shrink_on_load(header: Header, scale: float) -> int:
    """How far libjpeg may shrink while it decodes: every coefficient is read, a fraction of the pixels is made."""
    if header.content_type is not ContentType.JPEG:
        return 1
    return next((shrink for shrink in (8, 4, 2) if shrink * scale <= 1), 1)


def _resized(image: pyvips.Image, size: Size) -> pyvips.Image:
    if (image.width, image.height) == size:
        return image
    factors = size.width / image.width, size.height / image.height
    if not image.hasalpha():
        return image.resize(factors[0], vscale=factors[1])
    # Colours under full transparency must not bleed into the edges.
    return image.premultiply().resize(factors[0], vscale=factors[1]).unpremultiply().cast(image.format)


def _to_srgb(image: pyvips.Image, header: Header) -> pyvips.Image:
    if header.foreign_profile:
        image = image.icc_transform("srgb", embedded=True, depth=8)
    if image.interpretation != "srgb" or image.format != "uchar":
        image = image.colourspace("srgb")
    return image


def _centre(image: pyvips.Image, size: Size) -> pyvips.Image:
    width, height = min(image.width, size.width), min(image.height, size.height)
    if (image.width, image.height) == (width, height):
        return image
    return image.crop((image.width - width) // 2, (image.height - height) // 2, width, height)


def _within(size: Size, side: int) -> Size:
    scale = min(1.0, side / max(size))
    return Size(max(1, round(size.width * scale)), max(1, round(size.height * scale)))


def _encode(image: pyvips.Image, content_type: ContentType) -> bytes:
    if content_type is ContentType.JPEG and image.hasalpha():
        image = image.flatten(background=[255, 255, 255])
    encoded: bytes = image.write_to_buffer(f".{content_type.extension}", keep="none", **ENCODING[content_type])
    return encoded
