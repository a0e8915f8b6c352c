"""One picture from sky to card.

The painting is done at a working size of about four megapixels, the card at the picture's own size: a 1K picture is
painted twice as large and halved, which smooths every edge; a 4K picture is painted at half and doubled.
"""

from __future__ import annotations

import math
from random import Random

from PIL import Image, ImageDraw, ImageFilter, ImageOps

from imagegen.emulator.picture import backdrop, card, figure
from imagegen.emulator.picture.brief import Brief, dice, read
from imagegen.emulator.picture.built import EVERYWHERE
from imagegen.emulator.picture.colour import Colour, darker, lighter
from imagegen.emulator.picture.land import Canvas, rain
from imagegen.emulator.picture.sitting import Sitting

WORKING = 4_300_000
"""Pixels painted, whatever the picture's size."""
SMALLEST, BODY = 104, 72
"""Units that have to fit at least: the height of somebody small (who looks small for it), and any body's width."""
PAPER = (253, 247, 232)


def compose(sitting: Sitting) -> Image.Image:
    """The finished picture, RGB, exactly as large as asked for."""
    brief = read(sitting.prompt, sitting.seed)
    size = (sitting.width, sitting.height)
    picture = _paint(brief, sitting, _working(size))
    if picture.size != size:
        half = (sitting.width * 2, sitting.height * 2)
        picture = picture.reduce(2) if picture.size == half else picture.resize(size, Image.Resampling.BILINEAR)
    picture = _manner(picture, brief, sitting)
    box = card.place(*size)
    _pin_references(picture, sitting, box)
    card.lay(picture, brief, sitting, box)
    return picture


def _working(size: tuple[int, int]) -> tuple[int, int]:
    pixels = size[0] * size[1]
    if pixels * 4 <= WORKING * 1.1:
        return size[0] * 2, size[1] * 2
    if pixels <= WORKING * 1.1:
        return size
    shrink = math.sqrt(WORKING / pixels)
    return round(size[0] * shrink), round(size[1] * shrink)


def _paint(brief: Brief, sitting: Sitting, size: tuple[int, int]) -> Image.Image:
    random = dice(sitting.prompt, sitting.seed, "place")
    sun = backdrop.sun_of(random)
    image = backdrop.paint(brief, size, sun, random)
    box = card.place(*size)
    height = size[1] if _column(box, size) else min(size[1], round(box[1] * 1.12))
    canvas = Canvas(image, ImageDraw.Draw(image), brief, random, size[0], height, size[1], sun)
    EVERYWHERE[brief.scene](canvas)
    if brief.rain and brief.scene != "room":
        rain(canvas)
    _stand(image, brief, sitting, size)
    return image


def _column(box: card.Box, size: tuple[int, int]) -> bool:
    """Whether the card is a column at the right, so that a figure has the whole height."""
    return box[1] < size[1] / 3


def _stand(image: Image.Image, brief: Brief, sitting: Sitting, size: tuple[int, int]) -> None:
    """Puts the figure on the ground above the card, as large as there is room, in its own light and shadow."""
    random = dice(sitting.prompt, sitting.seed, "figure")
    box = card.place(*size)
    room = (box[0], size[1]) if _column(box, size) else (size[0], box[1])
    one = brief.figure
    floating = one.kind == "whale"
    wide, tall = figure.extent(one)
    needed = (wide, tall) if floating else (BODY, max(tall, SMALLEST))
    scale = min(room[0] * 0.93 / needed[0], room[1] * 0.97 / needed[1])
    smooth = 1 if size[0] > sitting.width else 2
    person = figure.sheet(one, scale, brief.mood.light, random, ink=brief.manner == "ink", smooth=smooth)
    share = random.choice((0.36, 0.5, 0.64)) if size[0] > size[1] and not floating else 0.5
    middle = round(room[0] * share)
    low = round((room[1] + person.height) / 2) if floating else room[1] - round(scale * 0.6)
    _glow(image, (middle, low - person.height * 0.55), person.height * 0.62, lighter(brief.mood.horizon, 0.3), 110)
    if not floating:
        across = scale * (40 if one.kind == "hedgehog" else 24)
        ground = (low - scale * 7, low - scale * 1)
        ImageDraw.Draw(image).ellipse((middle - across, ground[0], middle + across, ground[1]), fill=_shaded(brief))
    lamp = figure.held(one)
    flame = (middle + lamp[0] * scale, low - (lamp[1] + 4) * scale) if lamp else None
    if flame is not None:
        _glow(image, flame, 34 * scale, (255, 222, 140), 220)
    image.paste(person, (middle - person.width // 2, low - person.height), person)
    if flame is not None:
        _glow(image, flame, 16 * scale, (255, 226, 150), 80)


def _glow(image: Image.Image, at: tuple[float, float], radius: float, colour: Colour, strength: int) -> None:
    """Soft light around a point."""
    side = max(2, round(radius * 2))
    halo = Image.radial_gradient("L").point(lambda value: max(0, 255 - value * 2) * strength // 255)
    mask = halo.resize((side, side), Image.Resampling.BILINEAR)
    image.paste(colour, (round(at[0] - radius), round(at[1] - radius)), mask)


def _shaded(brief: Brief) -> Colour:
    return darker(brief.mood.land, 0.72)


def _manner(picture: Image.Image, brief: Brief, sitting: Sitting) -> Image.Image:
    """What a style does to the whole painting."""
    manner = brief.manner
    if manner == "noir":
        return ImageOps.autocontrast(picture.convert("L"), cutoff=2).convert("RGB")
    if manner == "sepia":
        return ImageOps.colorize(picture.convert("L"), (46, 30, 22), (252, 240, 214), (176, 132, 92))
    if manner == "soft":
        _bleed(picture, card.place(*picture.size), dice(sitting.prompt, sitting.seed, "paper"))
    if manner == "pixel":
        pixel = max(2, round(math.sqrt(picture.width * picture.height) / 190))
        small = picture.reduce(pixel).quantize(40).convert("RGB")
        large = small.resize((small.width * pixel, small.height * pixel), Image.Resampling.NEAREST)
        return large.crop((0, 0, picture.width, picture.height))
    return picture


def _bleed(picture: Image.Image, box: card.Box, random: Random) -> None:
    """Lets the painting end in a brush's uneven edge on cream paper; the card lies on bare paper."""
    small = (max(8, picture.width // 4), max(8, picture.height // 4))
    mask = Image.new("L", small, 255)
    edge = max(1.0, min(small) * 0.022)
    beside = _column(box, picture.size)
    # Far enough under the card that its rounded corners show no paper.
    under = (box[3] - box[1] if not beside else box[2] - box[0]) * 0.3
    right = (box[0] + under) / 4 if beside else small[0] - 1.0
    low = small[1] - 1.0 if beside else (box[1] + under) / 4
    corners = ((0.0, 0.0), (right, 0.0), (right, low), (0.0, low))
    line: list[tuple[float, float]] = []
    for (x, y), (end_x, end_y) in zip(corners, (*corners[1:], corners[0]), strict=True):
        waves = [(random.uniform(2, 5) * 2**row, random.uniform(0, math.tau), 0.5 / (row + 1)) for row in range(4)]
        for step in range(120):
            share = step / 120
            inward = edge * (
                1.15 + sum(math.sin(often * math.tau * share + turn) * much for often, turn, much in waves)
            )
            # A quarter turn to the right of the way along an edge points into the picture.
            along_x, along_y = (end_x > x) - (end_x < x), (end_y > y) - (end_y < y)
            line.append((x + (end_x - x) * share - along_y * inward, y + (end_y - y) * share + along_x * inward))
    ImageDraw.Draw(mask).polygon(line, fill=0)
    soft = mask.filter(ImageFilter.GaussianBlur(max(0.6, edge / 5))).resize(picture.size, Image.Resampling.BILINEAR)
    picture.paste(PAPER, (0, 0), soft)


def _pin_references(picture: Image.Image, sitting: Sitting, box: card.Box) -> None:
    """Up to three reference pictures, pinned down the right side like snapshots."""
    side = round(min(picture.width, picture.height) * 0.14)
    border = max(2, side // 14)
    right = (box[0] if box[1] < picture.height / 3 else picture.width) - border * 4
    top = border * 4
    draw = ImageDraw.Draw(picture)
    for reference in sitting.references[:3]:
        thumb = ImageOps.fit(reference.thumb, (side, side), Image.Resampling.BILINEAR)
        left = right - side - border
        draw.rectangle((left - border + 3, top - border + 3, right + 3, top + side + border * 3 + 3), fill=(30, 28, 40))
        draw.rectangle((left - border, top - border, right, top + side + border * 3), fill=(252, 250, 244))
        picture.paste(thumb, (left, top))
        top += side + border * 7
