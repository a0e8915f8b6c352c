"""The pen figures are drawn with: lengths in units, y upwards from the soles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import ImageDraw

from imagegen.emulator.picture.colour import Colour

Point = tuple[float, float]
SHOULDER = 62
"""Below this height a tall figure is longer than a short one; what is above is the same for all."""


@dataclass
class Pen:
    """Draws on a sheet whose middle foot stands at (`foot`, `floor`), pixels; `scale` is pixels per unit."""

    draw: ImageDraw.ImageDraw
    scale: float
    foot: float
    floor: float
    stature: float = 1.0
    breadth: float = 1.0

    def at(self, x: float, y: float) -> Point:
        """Pixels of a point in units."""
        high = y * self.stature if y < SHOULDER else y + SHOULDER * (self.stature - 1)
        return self.foot + x * self.breadth * self.scale, self.floor - high * self.scale

    def grown(self, times: float, lift: float) -> Pen:
        """A pen that draws larger, what is around the middle of a head (81) higher by `lift` units."""
        floor = self.floor - (81 * (1 - times) + lift) * self.scale
        return Pen(self.draw, self.scale * times, self.foot, floor, self.stature, self.breadth)

    def shape(self, points: Sequence[Point], fill: Colour) -> None:
        """A filled outline."""
        self.draw.polygon([self.at(*point) for point in points], fill=fill)

    def curve(self, points: Sequence[Point], fill: Colour, steps: int = 8) -> None:
        """A filled outline that runs smoothly through its points (a closed Catmull-Rom spline)."""
        count = len(points)
        line: list[Point] = []
        for row in range(count):
            ends = [points[(row + shift) % count] for shift in (-1, 0, 1, 2)]
            line += [_between(ends, step / steps) for step in range(steps)]
        self.shape(line, fill)

    def oval(self, x: float, y: float, across: float, up: float, fill: Colour) -> None:
        """An ellipse by its centre and half axes."""
        left, top = self.at(x - across, y + up)
        right, low = self.at(x + across, y - up)
        self.draw.ellipse((left, top, right, low), fill=fill)

    def box(self, x: float, y: float, right: float, top: float, fill: Colour, radius: float = 0) -> None:
        """A rectangle from its lower left to its upper right corner."""
        corners = (*self.at(x, top), *self.at(right, y))
        self.draw.rounded_rectangle(corners, radius=radius * self.scale, fill=fill)

    def limb(self, points: Sequence[Point], thick: float, fill: Colour) -> None:
        """A round-ended line through some points."""
        ends = [self.at(*point) for point in points]
        self.draw.line(ends, fill=fill, width=max(1, round(thick * self.scale)), joint="curve")
        for x, y in points:
            self.oval(x, y, thick / 2, thick / 2, fill)

    def arc(
        self, x: float, y: float, across: float, up: float, turn: tuple[int, int], thick: float, fill: Colour
    ) -> None:
        """A part of an ellipse's line, degrees clockwise from three o'clock."""
        left, top = self.at(x - across, y + up)
        right, low = self.at(x + across, y - up)
        width = max(1, round(thick * self.scale))
        self.draw.arc((left, top, right, low), turn[0], turn[1], fill=fill, width=width)

    def chord(self, x: float, y: float, across: float, up: float, turn: tuple[int, int], fill: Colour) -> None:
        """A filled part of an ellipse, cut off straight; degrees as for `arc`."""
        left, top = self.at(x - across, y + up)
        right, low = self.at(x + across, y - up)
        self.draw.chord((left, top, right, low), turn[0], turn[1], fill=fill)


def _between(ends: Sequence[Point], share: float) -> Point:
    def along(before: float, here: float, there: float, after: float) -> float:
        bend = 2 * before - 5 * here + 4 * there - after
        twist = 3 * (here - there) + after - before
        return here + 0.5 * share * (there - before + share * (bend + share * twist))

    before, here, there, after = ends
    return along(before[0], here[0], there[0], after[0]), along(before[1], here[1], there[1], after[1])
