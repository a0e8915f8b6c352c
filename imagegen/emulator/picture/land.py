"""The crisp part of a place: ridges, trees, houses, water, each in layers that fade into the horizon's light."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageDraw, ImageFilter

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


def sea(canvas: Canvas) -> None:
    """Water to the horizon, a sail or two, a cliff with a lighthouse."""
    random, draw, mood = canvas.random, canvas.draw, canvas.brief.mood
    horizon = canvas.height * 0.58
    near = darker(mix(mood.top, mood.middle, 0.35), 0.12)
    for row in range(30):
        top = horizon + (canvas.height - horizon) * (row / 30) ** 1.5
        shade = mix(mix(mood.horizon, mood.middle, 0.55), near, (row / 29) ** 0.7)
        draw.rectangle((0, top, canvas.width, canvas.bottom), fill=shade)
    _glitter(canvas, horizon)
    for _ in range(2):
        across = random.choice((random.uniform(0.04, 0.26), random.uniform(0.74, 0.96)))
        _sail(canvas, across * canvas.width, horizon + canvas.unit, canvas.unit * random.uniform(4, 8))
    # The lighthouse stands across from the sun, so that neither covers the other.
    _lighthouse(canvas, canvas.width * (0.1 if canvas.sun[0] > 0.5 else 0.9), horizon)
    sand = mix((244, 214, 160), mood.land, 0.5) if mood.dark else mix((250, 222, 168), mood.light, 0.25)
    canvas.ridge(0.865, 0.02, lighter(mix(near, sand, 0.3), 0.5))
    canvas.ridge(0.875, 0.02, mix(sand, mood.land, 0.22))
    canvas.ridge(0.9, 0.03, sand)
    for _ in range(60):
        x, y, r = random.random() * canvas.width, random.uniform(0.92, 1.0) * canvas.height, canvas.unit * 0.5
        pebble = mix(sand, random.choice((mood.top, mood.land, canvas.brief.accent, (255, 255, 255))), 0.45)
        draw.ellipse((x - r * 1.5, y - r, x + r * 1.5, y + r), fill=pebble)


def _glitter(canvas: Canvas, horizon: float) -> None:
    """Strokes of light on the water, thickest under the sun or the moon."""
    random, mood = canvas.random, canvas.brief.mood
    for row in range(110):
        depth = random.random() ** 1.5
        y = horizon + (canvas.height - horizon) * depth
        length = canvas.unit * (1 + 7 * depth)
        under = row < 60
        across = canvas.sun[0] + random.gauss(0, 0.03 + 0.07 * depth) if under else random.random()
        colour = lighter(mood.light, 0.2) if under else lighter(mix(mood.horizon, mood.middle, 0.4), 0.2)
        x = across * canvas.width - length / 2
        canvas.draw.line((x, y, x + length, y), fill=colour, width=max(1, round(canvas.unit * (0.15 + 0.3 * depth))))


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


def _sail(canvas: Canvas, x: float, y: float, size: float) -> None:
    hull = darker(canvas.brief.figure.trim, 0.4)
    canvas.draw.polygon(
        [(x - size, y - size * 0.3), (x + size, y - size * 0.3), (x + size * 0.6, y), (x - size * 0.7, y)], fill=hull
    )
    canvas.draw.polygon(
        [(x, y - size * 2.2), (x + size * 0.9, y - size * 0.4), (x, y - size * 0.4)], fill=(250, 244, 230)
    )
    canvas.draw.polygon(
        [(x - size * 0.1, y - size * 1.9), (x - size * 0.8, y - size * 0.4), (x - size * 0.1, y - size * 0.4)],
        fill=canvas.brief.accent,
    )


def _lighthouse(canvas: Canvas, x: float, y: float) -> None:
    unit, mood, draw = canvas.unit * 1.3, canvas.brief.mood, canvas.draw
    rock = mix(darker(mood.land, 0.25), mood.middle, 0.2)
    side = -1 if x > canvas.width / 2 else 1
    if mood.dark:
        _beam(canvas, (x, y - unit * 20.2), side)
    cliff = [(-16, -7), (-9, 3), (-5, 4.4), (5, 4.8), (8, 2), (13, -3), (17, -7)]
    draw.polygon([(x + dx * unit, y - dy * unit) for dx, dy in cliff], fill=rock)
    draw.polygon([(x + dx * unit, y - dy * unit) for dx, dy in cliff[3:]], fill=darker(rock, 0.2))
    for row in range(5):
        half, top = unit * (2.2 - row * 0.2), y - unit * (7 + row * 3)
        colour = (252, 246, 234) if row % 2 else (222, 66, 60)
        low = [(x - half, top + unit * 3.2), (x + half, top + unit * 3.2)]
        draw.polygon([*low, (x + half - unit * 0.2, top), (x - half + unit * 0.2, top)], fill=colour)
        lee = [(x + half * 0.3, top + unit * 3.2), low[1], (x + half - unit * 0.2, top), (x + half * 0.3, top)]
        draw.polygon(lee, fill=darker(colour, 0.16))
    draw.rectangle((x - unit * 1.1, y - unit * 21.4, x + unit * 1.1, y - unit * 19), fill=(255, 236, 150))
    roof = [(x - unit * 1.8, y - unit * 21.4), (x + unit * 1.8, y - unit * 21.4), (x, y - unit * 23.8)]
    draw.polygon(roof, fill=darker((222, 66, 60), 0.45))


def _beam(canvas: Canvas, lamp: tuple[float, float], side: int) -> None:
    """The lamp's light across the sky, drawn small and stretched."""
    small = (max(2, canvas.width // 16), max(2, canvas.height // 16))
    mask = Image.new("L", small, 0)
    x, y = lamp[0] / 16, lamp[1] / 16
    far = small[0] * 1.2 * side
    draw = ImageDraw.Draw(mask)
    for spread, strength in ((0.3, 40), (0.22, 75), (0.13, 110)):
        draw.polygon(
            [(x, y), (x + far, y - far * side * (0.18 + spread)), (x + far, y - far * side * (0.18 - spread / 3))],
            fill=strength,
        )
    mask = mask.filter(ImageFilter.GaussianBlur(2))
    wide = mask.resize((canvas.width, canvas.height), Image.Resampling.BILINEAR)
    canvas.image.paste(lighter((255, 226, 140), 0.2), (0, 0), wide)


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
    "sea": sea,
    "desert": desert,
    "snow": snow,
    "space": space,
}
