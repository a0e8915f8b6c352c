"""The crisp part of a place: ridges, trees, houses, water, each in layers that fade into the horizon's light."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageDraw

from imagegen.emulator.picture.brief import Brief
from imagegen.emulator.picture.colour import Colour, darker, lighter, mix


@dataclass
class Canvas:
    """A picture being painted: `height` is laid out by, `bottom` is how far down the colour goes.

    `sun` is where the sun or the moon stands, in shares of width and height.
    """

    image: Image.Image
    draw: ImageDraw.ImageDraw
    brief: Brief
    random: Random
    width: int
    height: int
    bottom: int
    sun: tuple[float, float]

    @property
    def unit(self) -> float:
        """A hundredth of the picture's typical side."""
        return math.sqrt(self.width * self.height) / 100

    def depth(self, near: float) -> Colour:
        """The land's colour from 0 (in the haze of the horizon) to 1 (at our feet)."""
        mood = self.brief.mood
        far = mix(mix(mood.horizon, mood.middle, 0.45), mood.land, 0.25)
        return mix(far, darker(mood.land, 0.42), near)

    def ridge(self, at: float, swing: float, colour: Colour, *, jagged: bool = False) -> list[tuple[float, float]]:
        """Fills from a hill line down; `at` and `swing` are shares of the height. Gives the line's points."""
        steps = 14 if jagged else 48
        waves = [(self.random.uniform(0.6, 3.4), self.random.uniform(0, math.tau), 1 / (row + 1)) for row in range(3)]
        line = []
        for step in range(steps + 1):
            x = step / steps
            y = sum(math.sin(math.tau * x * often + phase) * much for often, phase, much in waves) / 1.8
            if jagged:
                y = y * 0.5 + (0.9 if step % 2 else -0.9) * self.random.uniform(0.4, 1.0)
            line.append((x * self.width, (at - y * swing) * self.height))
        self.draw.polygon([*line, (self.width, self.bottom), (0, self.bottom)], fill=colour)
        return line

    def mist(self, at: float, depth: float) -> None:
        """A band of the horizon's light that thins out upwards and downwards."""
        band = max(2, round(depth * self.height))
        fade = Image.new("L", (1, 64))
        for row in range(64):
            fade.putpixel((0, row), round(110 * math.sin(math.pi * row / 63) ** 2))
        mask = fade.resize((self.width, band), Image.Resampling.BILINEAR)
        self.image.paste(self.brief.mood.horizon, (0, round(at * self.height - band / 2)), mask)

    def pine(self, x: float, y: float, size: float, colour: Colour) -> None:
        """A fir tree on its foot."""
        self.draw.rectangle((x - size * 0.05, y - size * 0.2, x + size * 0.05, y), fill=darker(colour, 0.4))
        for tier in range(3):
            top, half = y - size * (0.4 + tier * 0.3), size * (0.36 - tier * 0.09)
            low = top + size * 0.36
            self.draw.polygon(
                [(x, top - size * 0.08), (x + half, low), (x - half, low)], fill=lighter(colour, tier * 0.07)
            )

    def tree(self, x: float, y: float, size: float, colour: Colour) -> None:
        """A round tree on its foot."""
        trunk = mix((96, 66, 48), colour, 0.35)
        self.draw.rectangle((x - size * 0.06, y - size * 0.5, x + size * 0.06, y), fill=trunk)
        for dx, dy, r, light in ((-0.2, 0.55, 0.26, 0.0), (0.2, 0.6, 0.28, 0.06), (0.0, 0.82, 0.3, 0.14)):
            cx, cy, radius = x + dx * size, y - dy * size, r * size
            self.draw.ellipse((cx - radius, cy - radius, cx + radius, cy + radius), fill=lighter(colour, light))


def hills(canvas: Canvas) -> None:
    """Rolling meadows with trees and flowers."""
    random = canvas.random
    canvas.ridge(0.55, 0.09, canvas.depth(0.05))
    canvas.ridge(0.61, 0.07, canvas.depth(0.25))
    canvas.mist(0.66, 0.14)
    line = canvas.ridge(0.68, 0.05, canvas.depth(0.45))
    for x, y in random.sample(line[2:-2], 7):
        canvas.tree(x, y + canvas.unit, canvas.unit * random.uniform(5, 10), canvas.depth(0.55))
    canvas.ridge(0.78, 0.04, canvas.depth(0.66))
    canvas.ridge(0.9, 0.03, canvas.depth(0.86))
    _flowers(canvas)


def forest(canvas: Canvas) -> None:
    """Firs in four ranks, the nearest as tall as the picture."""
    random = canvas.random
    for rank, (ground, size, near) in enumerate(((0.6, 14, 0.1), (0.68, 20, 0.3), (0.77, 30, 0.5))):
        canvas.ridge(ground, 0.02, canvas.depth(near))
        for step in range(16 - rank * 4):
            x = canvas.width * (step + random.uniform(0, 1)) / (16 - rank * 4)
            canvas.pine(x, ground * canvas.height + canvas.unit * 2, canvas.unit * size, canvas.depth(near))
        canvas.mist(ground + 0.03, 0.1)
    for x in (-0.02, 0.09, 0.95, 1.04):
        half = canvas.unit * random.uniform(2.2, 3.6)
        trunk = canvas.depth(0.9)
        canvas.draw.rectangle((x * canvas.width - half, 0, x * canvas.width + half, canvas.bottom), fill=trunk)
    canvas.ridge(0.9, 0.025, canvas.depth(0.85))
    _flowers(canvas)


def desert(canvas: Canvas) -> None:
    """Mesas far away, dunes with a lit and a shaded side."""
    random = canvas.random
    sand = mix(canvas.brief.mood.horizon, (222, 160, 92), 0.55)
    for _ in range(3):
        x, half = random.random() * canvas.width, canvas.unit * random.uniform(6, 14)
        top = canvas.height * random.uniform(0.44, 0.54)
        shape = [
            (x - half, canvas.height * 0.7),
            (x - half * 0.7, top),
            (x + half * 0.7, top),
            (x + half, canvas.height * 0.7),
        ]
        canvas.draw.polygon(shape, fill=mix(canvas.depth(0.2), (176, 96, 72), 0.4))
    for at, near in ((0.64, 0.0), (0.72, 0.14), (0.81, 0.3), (0.91, 0.46)):
        colour = darker(sand, near)
        line = canvas.ridge(at, 0.045, colour)
        peak = min(line[6:-6], key=lambda point: point[1])
        low = (peak[0] + canvas.unit * 18, peak[1] + canvas.unit * 12)
        canvas.draw.polygon(
            [peak, (peak[0] + canvas.unit * 34, low[1]), (peak[0] - canvas.unit, low[1])], fill=darker(colour, 0.13)
        )
        canvas.draw.polygon(
            [*line[-1:], (canvas.width, canvas.bottom), (0, canvas.bottom), (0, low[1]), low], fill=colour
        )
    _cactus(canvas, canvas.width * random.choice((0.12, 0.88)), canvas.height * 0.84)


def snow(canvas: Canvas) -> None:
    """Capped peaks, firs, falling flakes."""
    random, white = canvas.random, lighter(canvas.brief.mood.horizon, 0.65)
    mood = canvas.brief.mood
    for at, swing, near in ((0.5, 0.14, 0.1), (0.6, 0.1, 0.32)):
        rock = mix(canvas.depth(near), mix(mood.middle, mood.top, near), 0.6)
        line = canvas.ridge(at, swing, rock, jagged=True)
        for left, peak, right in zip(line, line[1:], line[2:], strict=False):
            if peak[1] < left[1] and peak[1] < right[1]:
                _cap(canvas, left, peak, right, white)
    canvas.mist(0.66, 0.12)
    line = canvas.ridge(0.7, 0.03, mix(white, mood.middle, 0.3))
    for x, y in random.sample(line, 16):
        canvas.pine(x, y + canvas.unit * 1.5, canvas.unit * random.uniform(8, 15), canvas.depth(0.7))
    canvas.ridge(0.82, 0.03, mix(white, mood.middle, 0.12))
    canvas.ridge(0.92, 0.02, white)
    for _ in range(150):
        x, y, r = (
            random.random() * canvas.width,
            random.random() * canvas.height,
            canvas.unit * random.uniform(0.12, 0.36),
        )
        canvas.draw.ellipse((x - r, y - r, x + r, y + r), fill=(255, 255, 255))


def space(canvas: Canvas) -> None:
    """A ringed planet above a cratered plain with a dome."""
    random, draw, mood = canvas.random, canvas.draw, canvas.brief.mood
    x, y, r = canvas.width * random.choice((0.2, 0.8)), canvas.height * 0.3, min(canvas.width, canvas.height) * 0.17
    body = canvas.brief.figure.trim
    ring = (x - r * 1.9, y - r * 0.42, x + r * 1.9, y + r * 0.42)
    width = max(2, round(r * 0.12))
    draw.ellipse((x - r, y - r, x + r, y + r), fill=body)
    for band in range(4):
        dy = r * (-0.5 + band * 0.3)
        half = math.sqrt(max(0.0, r * r - dy * dy)) * 0.97
        draw.rectangle((x - half, y + dy, x + half, y + dy + r * 0.11), fill=lighter(body, 0.12 + 0.08 * band))
    draw.arc(ring, 168, 372, fill=lighter(mood.horizon, 0.3), width=width)
    draw.arc(ring, 0, 180, fill=lighter(mood.horizon, 0.3), width=width)
    canvas.ridge(0.7, 0.05, canvas.depth(0.3), jagged=True)
    canvas.ridge(0.8, 0.02, canvas.depth(0.55))
    for _ in range(9):
        cx, cy = random.random() * canvas.width, canvas.height * random.uniform(0.83, 0.97)
        half = canvas.unit * random.uniform(2, 7)
        draw.ellipse((cx - half, cy - half * 0.28, cx + half, cy + half * 0.28), fill=canvas.depth(0.8))
        draw.arc((cx - half, cy - half * 0.28, cx + half, cy + half * 0.28), 10, 170, fill=canvas.depth(0.3), width=3)


def _cap(
    canvas: Canvas, left: tuple[float, float], peak: tuple[float, float], right: tuple[float, float], white: Colour
) -> None:
    def part(point: tuple[float, float], share: float) -> tuple[float, float]:
        return peak[0] + (point[0] - peak[0]) * share, peak[1] + (point[1] - peak[1]) * share

    edge = [part(left, 0.42), part(left, 0.24), (peak[0], part(left, 0.38)[1]), part(right, 0.26), part(right, 0.4)]
    canvas.draw.polygon([peak, *edge], fill=white)


def _flowers(canvas: Canvas) -> None:
    random = canvas.random
    colours = [canvas.brief.accent, canvas.brief.figure.trim, lighter(canvas.brief.mood.light, 0.2)]
    for _ in range(90):
        x, y = random.random() * canvas.width, canvas.height * random.uniform(0.92, 1.0)
        r = canvas.unit * random.uniform(0.25, 0.6)
        canvas.draw.ellipse((x - r, y - r, x + r, y + r), fill=random.choice(colours))


def _cactus(canvas: Canvas, x: float, y: float) -> None:
    unit, green = canvas.unit * 1.2, darker((82, 140, 92), 0.2)
    for box in ((-1, -14, 1, 1), (-4.6, -10, -3, -5), (3, -12, 4.6, -7), (-4.6, -6.4, 0, -5), (0, -8.4, 4.6, -7)):
        left, top, right, low = (value * unit for value in box)
        canvas.draw.rounded_rectangle((x + left, y + top, x + right, y + low), radius=unit * 0.8, fill=green)


def rain(canvas: Canvas) -> None:
    """Slanting drops over everything painted so far."""
    colour = mix(canvas.brief.mood.horizon, (225, 235, 245), 0.5)
    for _ in range(220):
        x, y = canvas.random.random() * canvas.width * 1.1, canvas.random.random() * canvas.height
        length = canvas.unit * canvas.random.uniform(1.5, 4)
        thick = max(1, round(canvas.unit * 0.1))
        canvas.draw.line((x, y, x - length * 0.35, y + length), fill=colour, width=thick)


PLACES: Mapping[str, Callable[[Canvas], None]] = {
    "hills": hills,
    "forest": forest,
    "desert": desert,
    "snow": snow,
    "space": space,
}
