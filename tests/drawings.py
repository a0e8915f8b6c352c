"""Drawn pictures and their files, for tests; read back by another library than the one under test."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache

from PIL import Image, ImageDraw

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
