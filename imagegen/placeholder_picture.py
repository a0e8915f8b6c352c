"""The picture that stands in for one which no provider delivers: plainly none, and exactly as large as asked for.

The same job gives the same bytes. The letters are those that Pillow carries, so that no host needs a font; they are
ASCII, and a name that cannot be written in them is left out.
"""

from __future__ import annotations

import colorsys
import hashlib
import unicodedata
from functools import reduce

import pyvips
from PIL import ImageFont

from imagegen.contracts import Format
from imagegen.decoding import Size
from imagegen.images import Published, publish_form

LONGEST = 2048
"""Pixels of the longest side it is drawn with; a larger one is enlarged."""

WORD = "placeholder"
_LINE = 0.8  # share of the width that a line of text may take
_SMALLEST = 9  # pixels of letters that can still be read
_LONGEST_NAME = 40  # characters


def draw(key: str, name: str | None, width: int, height: int, format: Format | str) -> Published:
    """`key` decides the colours (a job's id), `name` is written above the word, if there is one. Sizes in pixels."""
    size = _within(width, height)
    colours = [_colour(byte) for byte in hashlib.sha256(key.encode()).digest()[:2]]
    picture = _gradient(size, *colours)
    title = _ascii(name or "")
    lines = [(title, 0.11, 0.44), (WORD, 0.055, 0.58)] if title else [(WORD, 0.08, 0.5)]
    picture = reduce(lambda onto, line: _written(onto, *line), lines, picture)
    png: bytes = picture.cast("uchar").copy(interpretation="srgb").pngsave_buffer(compression=1)
    return publish_form(png, width, height, format)


def _within(width: int, height: int) -> Size:
    scale = min(1.0, LONGEST / max(width, height))
    return Size(max(1, round(width * scale)), max(1, round(height * scale)))


def _colour(byte: int) -> list[float]:
    """A muted, rather dark colour, on which white is easy to read."""
    return [255 * part for part in colorsys.hsv_to_rgb(byte / 256, 0.4, 0.55)]


def _gradient(size: Size, corner: list[float], opposite: list[float]) -> pyvips.Image:
    place = pyvips.Image.xyz(size.width, size.height)
    share = (place[0] / size.width + place[1] / size.height) / 2
    one = pyvips.Image.black(size.width, size.height)
    return (one + corner) * (1 - share) + (one + opposite) * share


def _written(onto: pyvips.Image, text: str, tall: float, middle: float) -> pyvips.Image:
    """White text across the middle, `tall` and `middle` as shares of the height; smaller where it is too long."""
    letters = _letters(text, round(min(tall * onto.height, onto.width / 4)), round(_LINE * onto.width))
    if letters is None or letters.height > onto.height:
        return onto
    left, top = (onto.width - letters.width) // 2, round(middle * onto.height - letters.height / 2)
    mask = letters.embed(left, max(0, top), onto.width, onto.height) * (0.85 / 255)
    return onto * (1 - mask) + mask * 255


def _letters(text: str, tall: int, wide: int) -> pyvips.Image | None:
    """The text as a mask of one band, at most `wide` pixels across; None where it would be too small to read."""
    while tall >= _SMALLEST:
        drawn = ImageFont.load_default(tall).getmask(text)
        if drawn.size[0] <= wide:
            return pyvips.Image.new_from_memory(bytes(drawn), *drawn.size, 1, "uchar")
        tall = min(tall - 1, tall * wide // drawn.size[0])
    return None


def _ascii(name: str) -> str:
    """The name without its accents; nothing of one that has other letters too: half a name is a wrong one."""
    decomposed = unicodedata.normalize("NFKD", name)
    plain = " ".join("".join(letter for letter in decomposed if not unicodedata.combining(letter)).split())
    if not plain.isascii():
        return ""
    return plain if len(plain) <= _LONGEST_NAME else f"{plain[: _LONGEST_NAME - 3].rstrip()}..."
