"""The storyboard card: the name large, the words of the prompt below it, and what the picture is."""

from __future__ import annotations

import math
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from imagegen.emulator.picture.brief import Brief
from imagegen.emulator.picture.colour import deep
from imagegen.emulator.picture.sitting import Sitting

Box = tuple[int, int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
PAPER, TEXT, FAINT = (252, 248, 238), (52, 48, 58), (140, 132, 128)


@lru_cache(maxsize=64)
def font(size: int) -> Font:
    """Pillow's own typeface."""
    return ImageFont.load_default(size)


def place(width: int, height: int) -> Box:
    """Where the card lies: a strip at the foot, or a column on the right of a very wide picture."""
    margin = max(4, round(math.sqrt(width * height) * 0.022))
    if width > height * 2.8:
        left = max(width - round(height * 1.5), round(width * 0.6))
        return left, margin, width - margin, height - margin
    share = 0.225 if width >= height else 0.2
    top = height - round(min(height * share, width * 0.42)) - margin
    return margin, top, width - margin, height - margin


def lay(image: Image.Image, brief: Brief, sitting: Sitting, box: Box) -> None:
    """Draws the card with its words, as large as they fit."""
    draw = ImageDraw.Draw(image)
    left, top, right, low = box
    pad = max(3, round(min(right - left, low - top) * 0.1))
    radius = round(pad * 0.9)
    drop = max(1, pad // 5)
    draw.rounded_rectangle((left + drop, top + drop, right + drop, low + drop), radius, fill=(34, 30, 46))
    draw.rounded_rectangle(box, radius, fill=PAPER)
    accent = deep(brief.accent, 0.56)
    draw.rounded_rectangle((left + pad // 2, top + pad, left + pad, low - pad), pad // 4, fill=accent)
    inside = (left + round(pad * 1.7), top + round(pad * 0.75), right - pad, low - round(pad * 0.6))
    foot = _footer(draw, sitting, inside)
    y = inside[1]
    if brief.name:
        size = _fit(draw, brief.name, inside[2] - inside[0], round((low - top) * 0.33))
        draw.text((inside[0], y), brief.name, fill=accent, font=font(size))
        y += round(size * 1.16)
    _words(draw, brief.caption, (inside[0], y, inside[2], foot), (low - top) * (0.22 if brief.name else 0.3))


def _footer(draw: ImageDraw.ImageDraw, sitting: Sitting, box: Box) -> int:
    """The line that says what this is; gives the height at which it begins."""
    size = max(9, round((box[3] - box[1]) * 0.085))
    seed = f" · seed {sitting.seed}" if sitting.seed else ""
    text = f"imagegen emulator · {sitting.width} x {sitting.height}{seed}"
    if draw.textlength(text, font=font(size)) > box[2] - box[0]:
        text = "imagegen emulator"
    draw.text((box[2], box[3]), text, fill=FAINT, font=font(size), anchor="rd")
    return box[3] - round(size * 1.3)


def _fit(draw: ImageDraw.ImageDraw, text: str, width: int, size: int) -> int:
    length = draw.textlength(text, font=font(max(8, size)))
    return max(8, round(size * min(1.0, width / length)) if length else size)


def _words(draw: ImageDraw.ImageDraw, text: str, box: Box, largest: float) -> None:
    """Wraps the text at the largest size at which it fits; what is still too long ends in an ellipsis."""
    left, top, right, low = box
    text = " ".join(text.split())[:600]
    size = max(9, round(largest))
    smallest = max(9, round(largest * 0.5))
    lines = wrap(draw, text, right - left, size)
    while size > smallest and len(lines) * size * 1.28 > low - top:
        size = max(smallest, round(size * 0.9))
        lines = wrap(draw, text, right - left, size)
    room = max(1, int((low - top) // (size * 1.28)))
    if len(lines) > room:
        lines = [*lines[: room - 1], lines[room - 1].rstrip(" ,.;") + "…"]
    for row, line in enumerate(lines):
        draw.text((left, top + row * size * 1.28), line, fill=TEXT, font=font(size))


def wrap(draw: ImageDraw.ImageDraw, text: str, width: int, size: int) -> list[str]:
    """Lines no wider than `width`; a word that alone is wider stands alone."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if line and draw.textlength(longer, font=font(size)) > width:
            lines.append(line)
            line = word
        else:
            line = longer
    return [*lines, line] if line else lines
