"""The soft part of a picture: sky, glow, clouds. Painted small and stretched, which costs little and blurs for free."""

from __future__ import annotations

import math
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from imagegen.emulator.picture.brief import Brief
from imagegen.emulator.picture.colour import Colour, Mood, lighter, mix

SHRINK = 8


def sun_of(random: Random) -> tuple[float, float]:
    """Where the sun or the moon stands, in shares of the picture: to the left or the right of somebody's head."""
    across = random.uniform(0.72, 0.86) if random.random() < 0.5 else random.uniform(0.14, 0.28)
    return across, random.uniform(0.12, 0.24)


def paint(brief: Brief, size: tuple[int, int], sun: tuple[float, float], random: Random) -> Image.Image:
    """The sky over the whole canvas, with its sun or moon, clouds and stars."""
    width, height = size
    small = _gradient(brief.mood, (max(8, width // SHRINK), max(8, height // SHRINK)))
    _glow(small, brief.mood, sun)
    if brief.scene != "space":
        _clouds(small, brief, random)
    sky = small.resize(size, Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(sky)
    if (brief.mood.dark and brief.light != "storm") or brief.scene == "space":
        _stars(draw, size, random, 260 if brief.scene == "space" else 150)
    _disc(draw, brief, size, sun)
    return sky


def _gradient(mood: Mood, size: tuple[int, int]) -> Image.Image:
    column = Image.new("RGB", (1, size[1]))
    turn = size[1] * 0.42
    end = size[1] * 0.78
    for row in range(size[1]):
        if row < turn:
            colour = mix(mood.top, mood.middle, row / turn)
        else:
            colour = mix(mood.middle, mood.horizon, min(1.0, (row - turn) / (end - turn)))
        column.putpixel((0, row), colour)
    return column.resize(size, Image.Resampling.NEAREST)


def _glow(small: Image.Image, mood: Mood, sun: tuple[float, float]) -> None:
    width, height = small.size
    radius = round(min(width, height) * 0.62)
    halo = Image.radial_gradient("L").resize((radius * 2, radius * 2)).point(lambda value: max(0, 175 - value))
    light = Image.new("RGB", small.size)
    light.paste(mood.light, (round(sun[0] * width) - radius, round(sun[1] * height) - radius), halo)
    # Added as light is, not mixed as paint is: yellow over blue would give grey.
    small.paste(ImageChops.screen(small, light))


def _clouds(small: Image.Image, brief: Brief, random: Random) -> None:
    width, height = small.size
    layer = Image.new("L", small.size, 0)
    draw = ImageDraw.Draw(layer)
    for _ in range(8 if brief.light == "storm" else 5):
        x, y = random.uniform(-0.1, 1.0) * width, random.uniform(0.06, 0.4) * height
        puff = random.uniform(0.02, 0.042) * max(width, height)
        count = random.randint(4, 6)
        strength = random.randint(110, 190)
        for step in range(count):
            size = puff * (0.65 + 0.75 * math.sin(math.pi * (step + 0.5) / count)) * random.uniform(0.85, 1.15)
            across = x + step * puff * 1.15
            draw.ellipse((across - size, y - size, across + size, y + size * 0.5), fill=strength)
        draw.rounded_rectangle(
            (x - puff * 1.2, y - puff * 0.2, x + puff * 1.15 * count, y + puff * 0.5), puff * 0.35, fill=strength
        )
    mood = brief.mood
    pale = lighter(mix(mood.horizon, mood.light, 0.5), 0.45)
    colour = lighter(mix(mood.middle, mood.horizon, 0.4), 0.08) if mood.dark else pale
    small.paste(colour, (0, 0), layer.filter(ImageFilter.GaussianBlur(max(1.0, min(small.size) / 110))))


def _stars(draw: ImageDraw.ImageDraw, size: tuple[int, int], random: Random, count: int) -> None:
    unit = math.sqrt(size[0] * size[1]) / 1000
    for _ in range(count):
        x, y = random.random() * size[0], random.random() ** 1.4 * size[1] * 0.7
        radius = unit * random.choice((0.8, 0.8, 1.2, 2.0))
        shade = random.randint(170, 255)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(shade, shade, min(255, shade + 12)))


def _disc(draw: ImageDraw.ImageDraw, brief: Brief, size: tuple[int, int], sun: tuple[float, float]) -> None:
    if brief.light == "storm" or brief.scene in ("room", "space"):
        return
    radius = min(size) * (0.075 if brief.mood.dark else 0.062)
    x, y = sun[0] * size[0], sun[1] * size[1]
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=brief.mood.light)
    if not brief.mood.dark:
        return
    crater: Colour = mix(brief.mood.light, brief.mood.middle, 0.2)
    for dx, dy, share in ((-0.35, -0.25, 0.2), (0.3, 0.15, 0.26), (-0.1, 0.45, 0.14)):
        cx, cy, r = x + dx * radius, y + dy * radius, share * radius
        draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=crater)
