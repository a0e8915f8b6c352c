"""Picture files by their bytes alone: what they are, whether they end, and what they carry beside the picture.

Standard library only, so that callers without libvips can use it. Layouts: PNG (W3C PNG, third edition, section 5),
JPEG (ITU-T T.81 annex B), WebP (RFC 9649).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from imagegen.contracts import Format
from imagegen.errors import BadArtifact

HEAD_BYTES = 512
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# What changes how the pixels look. Everything else in a PNG (text, EXIF, C2PA, animation) may go.
_PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"sRGB", b"gAMA", b"cHRM", b"cICP"})
_WEBP_KEPT = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH"})
_WEBP_METADATA_FLAGS = 0x20 | 0x08 | 0x04  # ICC profile, EXIF, XMP (RFC 9649, section 2.7)
# In entropy-coded data FF is followed by 00 (stuffing), D0-D7 (restart) or another FF (fill); all else is a marker.
_JPEG_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_JPEG_EOI, _JPEG_SOS = 0xD9, 0xDA


class ContentType(StrEnum):
    """Media type of a picture imagegen accepts and publishes."""

    PNG = "image/png"
    JPEG = "image/jpeg"
    WEBP = "image/webp"

    @property
    def request_format(self) -> Format:
        """The request's word for it."""
        return Format(self.value.removeprefix("image/"))

    @property
    def extension(self) -> str:
        """File name ending without the dot: `png`, `jpg`, `webp`."""
        return "jpg" if self is ContentType.JPEG else self.value.removeprefix("image/")

    @classmethod
    def of(cls, format: Format | str) -> ContentType:
        """The media type of a request's `format` (`png`, `jpeg`, `webp`)."""
        return cls(f"image/{Format(format).value}")


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a file, `data[start:end]`: a PNG or WebP chunk or a JPEG segment, and whether the picture needs it.

    Entropy-coded JPEG data is part of its scan's segment.
    """

    kind: bytes
    start: int
    end: int
    needed: bool


def sniff(head: bytes) -> ContentType | None:
    """The picture type of a file's first bytes (12 suffice), or None when it is none of the three."""
    if head.startswith(PNG_SIGNATURE):
        return ContentType.PNG
    if head.startswith(b"\xff\xd8\xff"):
        return ContentType.JPEG
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ContentType.WEBP
    return None


_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"GIF8", "a GIF image"),
    (b"BM", "a BMP image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"\x00\x00\x01\x00", "an icon file"),
)


def describe(head: bytes) -> str:
    """What a file looks like, for an error message: `an HTML page`, `JSON`, `text`. Quotes no content."""
    known = sniff(head)
    if known is not None:
        return f"a {known.request_format.value.upper()} picture"
    if not head.strip():
        return "empty" if not head else "blank"
    if head[4:8] == b"ftyp":
        return "an AVIF, HEIC or MP4 file"
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    return _describe_text(head)


def _describe_text(head: bytes) -> str:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:256].lower()
    if re.match(rb"<!doctype html|<html|<head|<body", start):
        return "an HTML page"
    if start.startswith(b"<?xml") or start.startswith(b"<svg") or start.startswith(b"<error"):
        return "an SVG image" if b"<svg" in start else "an XML document"
    if start[:1] in (b"{", b"["):
        return "JSON"
    printable = sum(byte >= 0x20 or byte in b"\t\r\n" for byte in head)
    return "text" if printable == len(head) and b"\x7f" not in head else "of an unknown type"


def parts(data: bytes, content_type: ContentType) -> list[Part]:
    """The file's pieces in order, up to its own end mark; what trails it belongs to none.

    Raises `BadArtifact` (truncated) when the file stops before its end mark.
    """
    walk = {ContentType.PNG: _png_parts, ContentType.JPEG: _jpeg_parts, ContentType.WEBP: _webp_parts}[content_type]
    try:
        return list(walk(data))
    except (struct.error, IndexError):
        raise truncated(data, content_type) from None


def truncated(data: bytes, content_type: ContentType) -> BadArtifact:
    """The error for a file that stops early."""
    name = content_type.request_format.value.upper()
    return BadArtifact(f"the {name} picture is truncated: it stops after {len(data)} bytes, before it is whole")


def png_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels that a PNG's header claims. Raises `BadArtifact` where there is no header."""
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise BadArtifact("the PNG picture is truncated or damaged: it has no header")
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def check_png_sums(data: bytes) -> None:
    """Raises `BadArtifact` when a chunk's bytes do not match its CRC (section 5.4): damaged on the way."""
    for part in parts(data, ContentType.PNG):
        (expected,) = struct.unpack_from(">I", data, part.end - 4)
        if zlib.crc32(memoryview(data)[part.start + 4 : part.end - 4]) != expected:
            raise BadArtifact(f"the PNG picture is damaged: a checksum does not match at byte {part.start}")


def without_metadata(data: bytes, content_type: ContentType) -> bytes | None:
    """The same picture, untouched, without text, EXIF, profiles, provenance and trailing bytes.

    Returns `data` itself when it carries none, and None when its pixels cannot be kept as they stand
    (an animation, an unusual file). Raises `BadArtifact` when the file is truncated.
    """
    found = parts(data, content_type)
    if any(part.kind in (b"ANIM", b"ANMF") for part in found):
        return None
    prefix = {ContentType.PNG: 8, ContentType.JPEG: 2, ContentType.WEBP: 12}[content_type]
    if all(part.needed for part in found) and found[-1].end == len(data):
        return data
    kept = [data[part.start : part.end] for part in found if part.needed]
    if content_type is ContentType.WEBP:
        return _webp_file(kept)
    return data[:prefix] + b"".join(kept)


def _png_parts(data: bytes) -> Iterator[Part]:
    start, kind = 8, b""
    while kind != b"IEND":
        (length,) = struct.unpack_from(">I", data, start)
        kind = data[start + 4 : start + 8]
        end = start + 12 + length
        if end > len(data):
            raise IndexError
        yield Part(kind, start, end, kind in _PNG_KEPT)
        start = end


def _jpeg_parts(data: bytes) -> Iterator[Part]:
    start, marker = 2, 0
    while marker != _JPEG_EOI:
        found = _JPEG_MARKER.search(data, start)
        if found is None:
            raise IndexError
        marker, after = data[found.end() - 1], found.end()
        end = after
        if marker not in (0x01, _JPEG_EOI):
            (length,) = struct.unpack_from(">H", data, after)
            end = after + length
        if marker == _JPEG_SOS:
            following = _JPEG_MARKER.search(data, end)
            if following is None:
                raise IndexError
            end = following.start()
        if end > len(data):
            raise IndexError
        # FF fill bytes and stray bytes before the marker go with nothing: decoders skip them.
        yield Part(bytes([marker]), after - 2, end, _jpeg_needed(marker, data[after + 2 : after + 8]))
        start = end


def _jpeg_needed(marker: int, head: bytes) -> bool:
    """JFIF says the pixel shape, Adobe the colour transform; other application segments and comments are metadata."""
    if marker == 0xE0:
        return head.startswith(b"JFIF")
    if marker == 0xEE:
        return head.startswith(b"Adobe")
    return not (0xE1 <= marker <= 0xEF or marker == 0xFE)


def _webp_parts(data: bytes) -> Iterator[Part]:
    (size,) = struct.unpack_from("<I", data, 4)
    stop = 8 + size
    if stop > len(data):
        raise IndexError
    start = 12
    while start + 8 <= stop:
        kind = data[start : start + 4]
        (length,) = struct.unpack_from("<I", data, start + 4)
        end = min(start + 8 + length + (length & 1), stop)
        yield Part(kind, start, end, kind in _WEBP_KEPT)
        start = end


def _webp_file(chunks: list[bytes]) -> bytes:
    """A WebP file of these chunks; the extended header stops announcing what was left out."""
    body = bytearray(b"".join(chunks))
    if body[:4] == b"VP8X":
        body[8] &= ~_WEBP_METADATA_FLAGS & 0xFF
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + bytes(body)
