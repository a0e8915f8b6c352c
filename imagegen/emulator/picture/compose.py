"""One picture from sky to card.

The painting is done at a working size of about four megapixels, the card at the picture's own size: a 1K picture is
painted twice as large and halved, which smooths every edge; a 4K picture is painted at half and doubled.
"""

from __future__ import annotations

import math

from PIL import Image, ImageDraw, ImageOps

from imagegen.emulator.picture import backdrop, card, figure
from imagegen.emulator.picture.brief import Brief, dice, read
from imagegen.emulator.picture.built import EVERYWHERE
from imagegen.emulator.picture.land import Canvas, rain
from imagegen.emulator.picture.sitting import Sitting

WORKING = 4_300_000
"""Pixels painted, whatever the picture's size."""


def compose(sitting: Sitting) -> Image.Image:
    """The finished picture, RGB, exactly as large as asked for."""
    brief = read(sitting.prompt, sitting.seed)
    size = (sitting.width, sitting.height)
    picture = _paint(brief, sitting, _working(size))
    if picture.size != size:
        half = (sitting.width * 2, sitting.height * 2)
        picture = picture.reduce(2) if picture.size == half else picture.resize(size, Image.Resampling.BILINEAR)
    picture = _manner(picture, brief.manner)
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
    image = backdrop.paint(brief, size, random)
    box = card.place(*size)
    height = size[1] if box[1] < size[1] / 3 else min(size[1], round(box[1] * 1.12))
    canvas = Canvas(image, ImageDraw.Draw(image), brief, random, size[0], height, size[1])
    EVERYWHERE[brief.scene](canvas)
    if brief.rain and brief.scene != "room":
        rain(canvas)
    _stand(image, brief, sitting, size)
    return image


def _stand(image: Image.Image, brief: Brief, sitting: Sitting, size: tuple[int, int]) -> None:
    """Puts the figure on the ground above the card, with a shadow."""
    random = dice(sitting.prompt, sitting.seed, "figure")
    box = card.place(*size)
    column = box[1] < size[1] / 3
    room = (box[0], size[1]) if column else (size[0], box[1])
    tall = round(min(room[1] * (0.96 if column else 0.95), room[0] * 1.1))
    smooth = 1 if size[0] > sitting.width else 2
    person = figure.sheet(brief.figure, tall, brief.mood.light, random, ink=brief.manner == "ink", smooth=smooth)
    share = random.choice((0.34, 0.5, 0.64)) if size[0] > size[1] else 0.5
    left = round(room[0] * share - person.width / 2)
    foot = room[1] - round(tall * 0.015)
    shadow = round(tall * 0.2)
    middle = left + person.width // 2
    draw = ImageDraw.Draw(image)
    ground = (foot - tall * 0.05, foot - tall * 0.005)
    draw.ellipse((middle - shadow, ground[0], middle + shadow, ground[1]), fill=_shaded(brief))
    image.paste(person, (left, foot - person.height), person)


def _shaded(brief: Brief) -> tuple[int, int, int]:
    red, green, blue = brief.mood.land
    return red // 4, green // 4, blue // 3


def _manner(picture: Image.Image, manner: str | None) -> Image.Image:
    """What a style does to the whole painting."""
    if manner == "noir":
        return ImageOps.autocontrast(picture.convert("L"), cutoff=2).convert("RGB")
    if manner == "sepia":
        return ImageOps.colorize(picture.convert("L"), (46, 30, 22), (252, 240, 214), (176, 132, 92))
    if manner == "soft":
        return Image.blend(picture, Image.new("RGB", picture.size, (255, 248, 236)), 0.24)
    if manner == "pixel":
        pixel = max(2, round(math.sqrt(picture.width * picture.height) / 190))
        small = picture.reduce(pixel).quantize(40).convert("RGB")
        large = small.resize((small.width * pixel, small.height * pixel), Image.Resampling.NEAREST)
        return large.crop((0, 0, picture.width, picture.height))
    return picture


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
