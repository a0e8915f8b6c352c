"""Bodies that are not built like ours: a hedgehog as round as a ball, a whale that swims through the air."""

from __future__ import annotations

import math
from random import Random

from imagegen.emulator.picture.brief import Figure
from imagegen.emulator.picture.colour import Colour, darker, lighter, mix
from imagegen.emulator.picture.head import INK, draw_face
from imagegen.emulator.picture.pen import Pen, Point
from imagegen.emulator.picture.props import PROPS, lantern, prop_colour, watch

WHALE: Point = (166.0, 106.0)
HEDGEHOG: Point = (100.0, 100.0)
"""The sheets of both in units."""
GOLD: Colour = (255, 216, 116)


def draw_hedgehog(pen: Pen, figure: Figure, random: Random) -> None:
    """A ball of spines with a face, a waistcoat and very small feet."""
    spines = figure.colours.hair
    face = mix(lighter(spines, 0.72), (255, 226, 186), 0.5)
    for radius, count, colour in (
        (45, 30, darker(spines, 0.35)),
        (39.5, 27, spines),
        (34.5, 24, lighter(spines, 0.16)),
    ):
        _spines(pen, radius, count, colour)
    for side in (-1, 1):
        pen.oval(side * 11, 2.6, 8.4, 3.6, darker(face, 0.3))
    pen.oval(0, 34, 30, 32, face)
    _waistcoat(pen, figure)
    for side in (-1, 1):
        pen.oval(side * 21, 62, 5.4, 5.8, face)
        pen.oval(side * 21, 62, 3, 3.4, mix(face, (226, 128, 120), 0.5))
    pen.curve([(-27, 54), (-18, 70), (0, 75), (18, 70), (27, 54), (14, 62), (0, 65), (-14, 62)], spines)
    for x, lean in ((-8, -5), (0, 0), (8, 5)):
        pen.shape([(x - 4, 68), (x + 4, 68), (x + lean, 89 - abs(lean))], lighter(spines, 0.1))
    _muzzle(pen.grown(1.35, 52 - 81), figure, face)
    _paws(pen, figure, face)


def _spines(pen: Pen, radius: float, count: int, colour: Colour) -> None:
    """A star; seen from the front the spines lie back, so the lowest are the shortest."""
    points: list[Point] = []
    for step in range(count * 2):
        turn = math.tau * step / (count * 2)
        reach = radius if step % 2 else radius * 0.8
        points.append((math.sin(turn) * reach, max(2.0, 40 + math.cos(turn) * reach)))
    pen.shape(points, colour)


def _waistcoat(pen: Pen, figure: Figure) -> None:
    if figure.outfit == "fur":
        return
    cloth = figure.cloth
    for side in (-1, 1):
        edge: list[Point] = [(side * 2, 35), (side * 14, 43), (side * 27, 44), (side * 30.4, 32), (side * 26, 15)]
        pen.shape([*edge, (side * 18, 5.6), (side * 9, 3), (side * 2, 8)], cloth if side < 0 else darker(cloth, 0.14))
        pen.shape([(side * 2, 35), (side * 14, 43), (side * 9, 28)], lighter(cloth, 0.22))
    for row in range(4):
        for side in (-1, 1):
            shade = (figure.colours.third, figure.trim, GOLD, (226, 96, 78))[(row + (side > 0)) % 4]
            pen.oval(side * 4.6, 11 + row * 5.6, 1.5, 1.5, lighter(shade, 0.2))
    scarf = figure.trim if figure.trim != figure.colours.hair else figure.colours.third
    pen.curve([(-20, 41), (0, 35), (20, 41), (14, 45), (0, 41), (-14, 45)], scarf)
    pen.shape([(-3, 38), (3, 38), (7, 28), (0, 31), (-7, 28)], darker(scarf, 0.1))


def _muzzle(pen: Pen, figure: Figure, face: Colour) -> None:
    pen.oval(0, 74, 9, 7, lighter(face, 0.5))
    draw_face(pen, figure, face)
    pen.oval(0, 77.4, 3.6, 2.9, INK)
    pen.oval(-1.1, 78.4, 1, 0.8, (255, 255, 255))


def _paws(pen: Pen, figure: Figure, face: Colour) -> None:
    sleeve = lighter(figure.colours.hair, 0.2)
    pen.limb([(-27, 38), (-31, 30), (-26, 24)], 6.4, sleeve)
    pen.oval(-25.6, 23.6, 4, 4, face)
    if figure.prop == "watch":
        pen.arc(8, 24, 14, 12, (10, 100), 0.9, GOLD)
        watch(pen, 16, 16, figure.trim)
    elif figure.prop is not None:
        PROPS[figure.prop](pen, 27, 36, prop_colour(figure))
    pen.limb([(27, 38), (32, 34), (27, 36)], 6.4, sleeve)
    pen.oval(26.6, 35.6, 4, 4, face)


def draw_whale(pen: Pen, figure: Figure, random: Random) -> None:
    """A whale calf swimming to the left and upwards, stars along its side, a lantern under its tail."""
    back = figure.cloth if figure.outfit != "fur" or figure.cloth != figure.trim else figure.colours.hair
    belly = lighter(figure.trim, 0.2)
    pen.limb([(30, 58), (34, 24)], 0.7, lighter(back, 0.6))
    lantern(pen, 34, 24, prop_colour(figure))
    pen.curve([(60, 60), (54, 78), (44, 90), (58, 92), (68, 82), (76, 90), (80, 78), (70, 66)], darker(back, 0.12))
    body: list[Point] = [(-68, 58), (-62, 76), (-42, 86), (-14, 82), (14, 68), (40, 60), (58, 68), (68, 74)]
    pen.curve([*body, (70, 62), (56, 46), (30, 36), (-2, 28), (-36, 30), (-60, 42)], back)
    pen.curve(
        [(-14, 81), (14, 67.5), (40, 59.5), (20, 60), (-10, 70), (-42, 78), (-58, 74), (-42, 84.5)], lighter(back, 0.2)
    )
    under: list[Point] = [(-66.6, 53), (-50, 50), (-26, 50), (4, 45), (38, 45), (54, 48), (30, 37)]
    pen.curve([*under, (-2, 29), (-36, 31), (-59, 43)], belly)
    for drop in range(4):
        y = 46 - drop * 4
        pen.limb([(-56 + drop * 5, y - 1), (-36, y), (-12 + drop * 4, y - 3)], 0.8, darker(belly, 0.2))
    for step in range(6):
        size = 11 - step * 1.7
        pen.oval(-8, 53, size, size * 0.9, mix(mix(back, belly, 0.3), (255, 214, 140), 0.15 + step * 0.16))
    pen.curve([(-22, 42), (-4, 40), (-2, 26), (-14, 10), (-24, 4), (-24, 22)], darker(back, 0.1))
    pen.curve([(24, 62), (34, 64), (42, 74), (34, 74), (26, 68)], darker(back, 0.1))
    _whale_face(pen, figure, back)
    _constellations(pen, random)
    _mist(pen, lighter(belly, 0.45))


def _whale_face(pen: Pen, figure: Figure, back: Colour) -> None:
    pen.oval(-46, 60, 4.6, 5.6, INK)
    pen.oval(-47.6, 62.4, 1.8, 2.2, (255, 255, 255))
    pen.oval(-44.6, 57.6, 0.9, 1.1, lighter(back, 0.6))
    pen.limb([(-52, 68.6), (-47, 70), (-43, 68.4)], 1, darker(back, 0.5))
    pen.oval(-40, 53, 4.4, 2.6, mix(back, (255, 130, 140), 0.5))
    pen.arc(-56, 54, 9, 6, (20, 130), 1.3, darker(back, 0.55))


def _constellations(pen: Pen, random: Random) -> None:
    stars: list[Point] = [(-28, 72), (-18, 64), (-6, 72), (4, 60), (16, 62), (26, 54), (40, 56), (52, 62)]
    pen.draw.line([pen.at(*star) for star in stars], fill=(226, 216, 255), width=max(1, round(0.3 * pen.scale)))
    for x, y in stars:
        size = random.uniform(0.9, 1.7)
        pen.oval(x, y, size, size, (255, 252, 232))
    for _ in range(12):
        along = random.random()
        pen.oval(-24 + along * 70, 66 - along * 10 + random.uniform(-4, 4), 0.6, 0.6, (240, 232, 255))
    for row, (x, y) in enumerate(((-20, 0), (-12, 4), (-8, -1), (0, 5), (3, 14), (8, 8))):
        pen.oval(x, y, 2.4 - row * 0.22, 2.4 - row * 0.22, lighter(GOLD, 0.3))


def _mist(pen: Pen, pale: Colour) -> None:
    """A crest that streams back from the brow like steam."""
    wisps: tuple[list[Point], ...] = (
        [(-60, 76), (-60, 90), (-50, 99), (-38, 99), (-47, 94), (-50, 84)],
        [(-54, 82), (-48, 93), (-36, 97), (-24, 93), (-36, 91), (-42, 84)],
        [(-44, 84), (-36, 90), (-26, 90), (-16, 85), (-28, 85), (-34, 82)],
    )
    for row, wisp in enumerate(wisps):
        pen.curve(wisp, lighter(pale, 0.1 * row))
