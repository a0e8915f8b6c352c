"""A sheet of pictures worth looking at: the demo's four characters side by side, with their prices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from math import ceil

from PIL import Image, ImageDraw, ImageFilter, ImageFont

PAPER, INK, FAINT, LINE = (251, 246, 234), (52, 42, 36), (140, 124, 108), (222, 208, 182)
FRAME = (255, 253, 248)
WIDTH, MARGIN, GAP = 1640, 84, 56
"""Width of the sheet, paper around the pictures and between them, in pixels."""
BORDER, CAPTION, HEAD, FOOT = 16, 66, 200, 136
"""Passe-partout of a picture, and the heights of its caption, of the sheet's head and of its foot, in pixels."""
COLUMNS = 2


@dataclass(frozen=True)
class Plate:
    """One picture of the sheet: its bytes, and what stands below it: title on the left, note on the right, and between
    them a faint detail where there is room for it."""

    data: bytes
    title: str
    note: str
    detail: str = ""


def contact_sheet(title: str, subtitle: str, plates: Sequence[Plate], footer: str) -> bytes:
    """The sheet as PNG. Every picture keeps its shape; those of a row share the row's height."""
    pictures = [_opened(plate.data) for plate in plates]
    rows = [pictures[at : at + COLUMNS] for at in range(0, len(pictures), COLUMNS)]
    cell = (WIDTH - 2 * MARGIN - GAP * (COLUMNS - 1)) // COLUMNS
    heights = [max(_height(picture, cell) for picture in row) + CAPTION for row in rows]
    full = HEAD + sum(heights) + GAP * (len(rows) - 1) + FOOT
    sheet = Image.new("RGB", (WIDTH, full), PAPER)
    _head(sheet, title, subtitle)
    top = HEAD
    for number, height in enumerate(heights):
        for column, picture in enumerate(rows[number]):
            plate = plates[number * COLUMNS + column]
            _plate(sheet, picture, plate, MARGIN + column * (cell + GAP), top, cell, height - CAPTION)
        top += height + GAP
    _foot(sheet, footer, full)
    out = BytesIO()
    sheet.save(out, "PNG", optimize=False, compress_level=6)
    return out.getvalue()


def _opened(data: bytes) -> Image.Image:
    with Image.open(BytesIO(data)) as picture:
        return picture.convert("RGB")


def _height(picture: Image.Image, cell: int) -> int:
    return ceil((cell - 2 * BORDER) * picture.height / picture.width) + 2 * BORDER


def _plate(sheet: Image.Image, picture: Image.Image, plate: Plate, left: int, top: int, cell: int, height: int) -> None:
    """A picture in its passe-partout, standing on the row's base line, with a soft shadow and its caption."""
    tall = _height(picture, cell)
    top += height - tall
    _shadow(sheet, left, top, cell, tall)
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((left, top, left + cell - 1, top + tall - 1), fill=FRAME, outline=LINE)
    inside = (cell - 2 * BORDER, tall - 2 * BORDER)
    sheet.paste(picture.resize(inside, Image.Resampling.LANCZOS), (left + BORDER, top + BORDER))
    base = top + tall + 50
    large, small = _font(30), _font(25)
    room = cell - draw.textlength(plate.note, small) - 24
    title = _cut(draw, plate.title, large, room)
    draw.text((left, base), title, INK, large, anchor="ls")
    taken = draw.textlength(f"{title}   ", large)
    if draw.textlength(plate.detail, small) <= room - taken:
        draw.text((left + taken, base), plate.detail, FAINT, small, anchor="ls")
    draw.text((left + cell, base), plate.note, INK, small, anchor="rs")


def _shadow(sheet: Image.Image, left: int, top: int, width: int, height: int) -> None:
    spread = 28
    mask = Image.new("L", (width + 2 * spread, height + 2 * spread), 0)
    ImageDraw.Draw(mask).rectangle((spread, spread, spread + width, spread + height), fill=70)
    soft = mask.filter(ImageFilter.GaussianBlur(spread / 3))
    sheet.paste((70, 52, 34), (left - spread, top - spread + 10), soft)


def _head(sheet: Image.Image, title: str, subtitle: str) -> None:
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, 74), _cut(draw, title, _font(56), WIDTH - 2 * MARGIN), INK, _font(56), anchor="lt")
    draw.text((MARGIN, 148), _cut(draw, subtitle, _font(25), WIDTH - 2 * MARGIN), FAINT, _font(25), anchor="lt")


def _foot(sheet: Image.Image, footer: str, full: int) -> None:
    draw = ImageDraw.Draw(sheet)
    line = full - 96
    draw.line((MARGIN, line, WIDTH - MARGIN, line), LINE, 2)
    draw.text((MARGIN, line + 26), footer, INK, _font(26), anchor="lt")
    draw.text((WIDTH - MARGIN, line + 26), "imagegen", FAINT, _font(26), anchor="rt")


def _cut(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont, room: float) -> str:
    """The text, shortened with an ellipsis where it does not fit."""
    if draw.textlength(text, font) <= room:
        return text
    while text and draw.textlength(f"{text}…", font) > room:
        text = text[:-1]
    return f"{text.rstrip()}…"


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("this Pillow was built without FreeType, so it cannot write text in a size")
    return font
