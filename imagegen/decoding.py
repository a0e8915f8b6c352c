"""Reading picture files with libvips: which loaders may run, what a header says, and the limits it is held against.

libvips keeps a thread pool that does not survive a fork: import this before forking, but process pictures in the
children only.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import NamedTuple

import pyvips

from imagegen.errors import BadArtifact
from imagegen.fileformats import HEAD_BYTES, ContentType, describe, parts, png_size, sniff, truncated
from imagegen.policies import MAX_ARTIFACT_BYTES

THREADS_LOST = "pictures were processed before this process was forked; process them in the children only"
_LOADERS = {
    ContentType.PNG: "pngload_buffer",
    ContentType.JPEG: "jpegload_buffer",
    ContentType.WEBP: "webpload_buffer",
}
# libjpeg calls missing and corrupt pixels a warning; libpng's warnings are about harmless things such as a profile.
_FAIL_ON = {ContentType.PNG: "truncated", ContentType.JPEG: "warning", ContentType.WEBP: "truncated"}
_SIDEWAYS = range(5, 9)  # EXIF orientations that swap width and height (CIPA DC-008, tag 274)


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a file may be: bytes as sent, and pixels as its header claims, both checked before decoding."""

    max_bytes: int = MAX_ARTIFACT_BYTES
    max_pixels: int = 100_000_000


DEFAULT_LIMITS = Limits()


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int

    @property
    def area(self) -> int:
        """Pixels in all."""
        return self.width * self.height

    def turned(self, sideways: bool) -> Size:
        """Width and height swapped, or not."""
        return Size(self.height, self.width) if sideways else self

    def cover_scale(self, target: Size) -> float:
        """The factor that makes this size cover the target."""
        return max(target.width / self.width, target.height / self.height)


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself before any pixel is decoded. `size` is as stored, before orientation."""

    content_type: ContentType
    size: Size
    orientation: int
    foreign_profile: bool
    plain: bool

    @property
    def sideways(self) -> bool:
        """Whether the orientation swaps width and height."""
        return self.orientation in _SIDEWAYS

    @property
    def shown(self) -> Size:
        """The size a viewer sees."""
        return self.size.turned(self.sideways)


def block_untrusted() -> None:
    """Leaves libvips three loaders, one thread per calling thread, and no cache of operations or files."""
    pyvips.block_untrusted_set(True)
    pyvips.operation_block_set("VipsForeignLoad", True)
    for loader in ("VipsForeignLoadPng", "VipsForeignLoadJpeg", "VipsForeignLoadWebp"):
        pyvips.operation_block_set(loader, False)
    pyvips.concurrency_set(1)
    # The cache would keep whole pictures alive; no two jobs ask for the same operation.
    pyvips.cache_set_max(0)
    pyvips.cache_set_max_mem(0)
    pyvips.cache_set_max_files(0)


class _ForkGuard:
    """Turns the endless wait of libvips after a fork into an error that says what to do."""

    def __init__(self) -> None:
        self._used = False
        self._lost = False
        os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        self._lost = self._lost or self._used

    def enter(self) -> None:
        if self._lost:
            raise RuntimeError(THREADS_LOST)
        self._used = True


block_untrusted()
_fork_guard = _ForkGuard()


def read_header(data: bytes, limits: Limits) -> Header:
    """Type, size and colour from the header alone, held against the limits. Raises `BadArtifact`."""
    if len(data) > limits.max_bytes:
        raise BadArtifact(f"the file is too large: {len(data)} bytes, while {limits.max_bytes} are allowed")
    content_type = sniff(data[:HEAD_BYTES])
    if content_type is None:
        raise BadArtifact(f"the file is no PNG, JPEG or WebP picture: it is {describe(data[:HEAD_BYTES])}")
    _fork_guard.enter()
    if content_type is ContentType.PNG:
        _check_pixels(Size(*png_size(data)), limits)
    # Decoders forgive a missing end mark; a file that lacks it was cut.
    parts(data, content_type)
    try:
        image = load(data, content_type)
    except pyvips.Error as error:
        raise undecodable(data, content_type, error) from error
    size = Size(image.width, image.height)
    _check_pixels(size, limits)
    return Header(
        content_type=content_type,
        size=size,
        orientation=int(image.get("orientation")) if image.get_typeof("orientation") else 1,
        foreign_profile=_foreign_profile(image),
        plain=image.format == "uchar" and image.interpretation in ("srgb", "b-w"),
    )


def _check_pixels(size: Size, limits: Limits) -> None:
    if size.area > limits.max_pixels:
        raise BadArtifact(
            f"the picture is too large: its header claims {size.width}x{size.height} pixels, "
            f"while {limits.max_pixels} are allowed"
        )


def _foreign_profile(image: pyvips.Image) -> bool:
    """Whether an ICC profile other than sRGB shapes the colours; the usual ones name themselves in their text."""
    if not image.get_typeof("icc-profile-data"):
        return False
    profile = bytes(image.get("icc-profile-data"))
    return b"sRGB" not in profile and "sRGB".encode("utf-16-be") not in profile


def undecodable(data: bytes, content_type: ContentType, error: pyvips.Error) -> BadArtifact:
    """What a libvips error means for the one who delivered the file."""
    detail = " ".join(str(error.detail).split()) or "no detail"
    if "premature end" in detail:
        return truncated(data, content_type)
    name = content_type.request_format.value.upper()
    return BadArtifact(f"the {name} picture is damaged or truncated and does not decode ({detail[:200]})")


def load(data: bytes, content_type: ContentType, shrink: int = 1) -> pyvips.Image:
    """A lazy picture: pixels stream through once, from the first row to the last. Raises `pyvips.Error`.

    `shrink` (2, 4 or 8) is for JPEG alone.
    """
    options = {"shrink": shrink} if shrink > 1 else {}
    strictness = _FAIL_ON[content_type]
    return pyvips.Operation.call(_LOADERS[content_type], data, access="sequential", fail_on=strictness, **options)
