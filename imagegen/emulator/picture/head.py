"""A figure's head: hair or ears, a face with a mood, and what is worn on top."""

from __future__ import annotations

import math

from imagegen.emulator.picture.brief import Figure
from imagegen.emulator.picture.colour import Colour, darker, lighter, mix
from imagegen.emulator.picture.hats import HATS, R, Y
from imagegen.emulator.picture.pen import Pen, Point

X = 0.0
INK: Colour = (44, 30, 52)
FRAME: Colour = (92, 58, 44)


REACH = {
    "wizard": 119, "crown": 110, "helmet": 114, "bubble": 106, "fedora": 106, "cap": 105, "hood": 108, "rabbit": 122,
    "fox": 111, "cat": 107, "bear": 103, "robot": 111, "spiky": 109, "bun": 109, "curly": 108,
}  # fmt: skip
"""The height of heads, hats and hair that are higher than others, in units."""


def furred(figure: Figure) -> Colour:
    """Skin, or fur, or tin."""
    return figure.colours.skin if figure.kind == "human" else lighter(figure.colours.hair, 0.12)


def draw_back_hair(pen: Pen, figure: Figure) -> None:
    """What falls behind the shoulders."""
    if figure.kind != "human":
        return
    hair = darker(figure.colours.hair, 0.14)
    if figure.hair == "long":
        pen.oval(X, Y, R + 3.4, R + 2.6, hair)
        pen.shape([(-R - 3, Y), (R + 3, Y), (R + 4.5, 52), (8, 49), (-8, 49), (-R - 4.5, 52)], hair)
    elif figure.hair == "curly":
        for x, y, r in (
            (-17.0, 84.0, 7.0),
            (17, 84, 7),
            (-16, 74, 6),
            (16, 74, 6),
            (-11, 95, 8),
            (11, 95, 8),
            (0, 99, 8),
        ):
            pen.oval(x, y, r, r, hair)
    elif figure.hair == "bun":
        pen.oval(0, Y + R + 4, 6.5, 6, hair)
    elif figure.hair == "braids":
        for side in (-1, 1):
            for row, (x, y) in enumerate(((17.0, 76.0), (20.5, 70.0), (23.0, 63.5), (25.0, 57.0))):
                pen.oval(side * x, y, 4.6 - row * 0.3, 4.4, lighter(hair, 0.05 * (row % 2)))
            pen.oval(side * 25.6, 53.4, 3, 2, figure.colours.third)
            pen.oval(side * 26.2, 49.6, 2.6, 3.6, hair)


def draw_head(pen: Pen, figure: Figure) -> None:
    """Head, face, hair in front, hat."""
    if figure.kind == "robot":
        _robot(pen, figure)
    elif figure.kind == "human":
        _human(pen, figure)
    else:
        _animal(pen, figure)
    if figure.kind != "robot":
        draw_face(pen, figure, figure.colours.skin if figure.kind == "human" else figure.colours.hair)
    _hat(pen, figure)


def _human(pen: Pen, figure: Figure) -> None:
    skin, hair = figure.colours.skin, figure.colours.hair
    for side in (-1, 1):
        pen.oval(side * (R - 0.4), Y - 2, 3, 3.8, darker(skin, 0.08))
    pen.oval(X, Y, R, R * 0.98, skin)
    if figure.beard:
        _beard(pen, hair)
    if figure.hair == "bald" or figure.hat in ("hood", "helmet"):
        return
    crown = [
        (-math.cos(math.pi * step / 20) * (R + 1), Y - 1 + math.sin(math.pi * step / 20) * 20) for step in range(21)
    ]
    fringe: list[Point] = [(R - 2.4, Y + 6), (8, Y + 8.6), (3, Y + 5.4), (-3, Y + 9), (-9, Y + 6), (-R + 2.4, Y + 5)]
    pen.shape([*crown, *fringe], hair)
    pen.arc(-3, Y + 6, 10, 9, (215, 285), 1.6, lighter(hair, 0.3))
    if figure.hair == "spiky":
        for x, lean in ((-13, -6), (-6, -3), (1, 1), (8, 4), (14, 7)):
            pen.shape([(x - 5, Y + 12), (x + 5, Y + 12), (x + lean, Y + 26 - abs(x) * 0.4)], hair)
    if figure.hair == "curly":
        for x, y in ((-12, 10), (-6, 14), (0, 15.5), (6, 14), (12, 10)):
            pen.oval(x, Y + y, 4.8, 4.8, lighter(hair, 0.06))
    if figure.hair == "long":
        for side in (-1, 1):
            pen.shape(
                [
                    (side * (R + 2), Y + 6),
                    (side * (R - 3), Y + 5),
                    (side * (R - 2), Y - 20),
                    (side * (R + 2.6), Y - 18),
                ],
                hair,
            )


def _beard(pen: Pen, hair: Colour) -> None:
    """From ear to ear and down to the chest, with a moustache over the mouth's corners."""
    left: list[Point] = [(-R + 0.6, Y + 1), (-R - 0.4, Y - 8), (-11.5, Y - 19), (-4, Y - 25)]
    pen.curve(
        [
            *left,
            (4, Y - 25),
            (11.5, Y - 19),
            (R + 0.4, Y - 8),
            (R - 0.6, Y + 1),
            (10, Y - 5),
            (0, Y - 5.6),
            (-10, Y - 5),
        ],
        hair,
    )
    for x, y in ((-6, -16), (0, -19), (6, -16)):
        pen.limb([(x, Y + y + 4), (x * 0.9, Y + y)], 0.7, darker(hair, 0.14))


def _animal(pen: Pen, figure: Figure) -> None:
    fur = figure.colours.hair
    pale = lighter(fur, 0.72)
    for side in (-1, 1):
        if figure.kind == "bear":
            pen.oval(side * 12, Y + 14, 6.2, 6.2, fur)
            pen.oval(side * 12, Y + 14, 3.4, 3.4, darker(fur, 0.2))
        elif figure.kind == "rabbit":
            pen.oval(side * 7, Y + 26, 4.4, 14, fur)
            pen.oval(side * 7, Y + 25, 2.2, 10, (238, 168, 170))
        else:
            high = 29 if figure.kind == "fox" else 25
            pen.shape([(side * 16, Y + 4), (side * 3, Y + 13), (side * 14.5, Y + high)], fur)
            pen.shape([(side * 13.6, Y + 8), (side * 6, Y + 13), (side * 13.2, Y + high - 5)], darker(pale, 0.12))
    pen.oval(X, Y, R + 1, R - 0.4, fur)
    if figure.kind == "fox":
        for side in (-1, 1):
            pen.shape([(side * (R + 1), Y - 1), (side * 3, Y - 3), (side * 2, Y - 15), (side * 12, Y - 12)], pale)
    pen.oval(X, Y - 7.4, 8, 6, pale)
    pen.oval(X, Y - 4.6, 2.3, 1.7, INK)


def _robot(pen: Pen, figure: Figure) -> None:
    tin, glow = figure.colours.hair, lighter(figure.trim, 0.35)
    pen.limb([(0, Y + 14), (0, Y + 24)], 1.6, darker(tin, 0.3))
    pen.oval(0, Y + 26, 3, 3, figure.trim)
    for side in (-1, 1):
        pen.box(side * 17 - 2.6, Y - 5, side * 17 + 2.6, Y + 5, darker(tin, 0.25), 1.6)
    pen.box(-R, Y - 14, R, Y + 15, tin, 6)
    pen.box(-R + 3.4, Y - 8, R - 3.4, Y + 9, (28, 32, 46), 4.6)
    for side in (-1, 1):
        pen.oval(side * 5.8, Y + 2, 3, 3.4, glow)
        pen.oval(side * 5.8 - 1, Y + 3.2, 1, 1, (255, 255, 255))
    pen.arc(0, Y - 1.6, 3.6, 3.4, (20, 160), 1.1, glow)


def draw_face(pen: Pen, figure: Figure, skin: Colour) -> None:
    """Eyes, cheeks, mouth, and what one sees through."""
    for side in (-1, 1):
        x = side * 6.2
        pen.oval(x, Y - 1, 2.5, 3.4, INK)
        pen.oval(x - 0.8, Y + 0.5, 0.95, 1.15, (255, 255, 255))
        slope = {"stern": -1.5, "sad": 1.5}.get(figure.face, 0.0)
        lift = 7.4 if figure.face == "open" else 5.6
        if figure.kind in ("human", "cat", "fox"):
            inner, outer = (x - side * 2.6, Y + lift + slope), (x + side * 3, Y + lift - slope * 0.4)
            pen.limb([inner, outer], 1.1, darker(figure.colours.hair if figure.kind == "human" else INK, 0.3))
        pen.oval(side * 10.2, Y - 6.2, 2.6, 1.6, mix(skin, (240, 110, 110), 0.3))
        for away, low in ((11.6, 3.4), (9.4, 4.4), (7.4, 3.6)) if figure.freckles else ():
            pen.oval(side * away, Y - low, 0.55, 0.5, darker(skin, 0.3))
    _mouth(pen, figure)
    if figure.eyewear == "glasses":
        for side in (-1, 1):
            pen.arc(side * 6.2, Y - 1, 5.2, 5.2, (0, 360), 1, FRAME)
        pen.limb([(-1.2, Y - 0.4), (1.2, Y - 0.4)], 0.9, FRAME)
    elif figure.eyewear == "monocle":
        pen.oval(6.2, Y - 1, 3.2, 4.3, INK)
        pen.oval(5.2, Y + 0.8, 1.3, 1.6, (255, 255, 255))
        pen.arc(6.2, Y - 1, 6.2, 6.2, (0, 360), 1.6, (236, 190, 84))


def _mouth(pen: Pen, figure: Figure) -> None:
    low = Y - 8.6 if figure.kind == "human" else Y - 9
    lip = mix((166, 58, 62), INK, 0.2)
    if figure.beard and figure.kind == "human":
        for side in (-1, 1):
            half: list[Point] = [
                (0, Y - 5),
                (side * 4, Y - 4.6),
                (side * 10, Y - 8),
                (side * 4.4, Y - 8.8),
                (0, Y - 7.4),
            ]
            pen.curve(half, lighter(figure.colours.hair, 0.25))
        low -= 2.6
    if figure.face == "grin":
        pen.chord(0, low + 2.4, 5.2, 5.6, (0, 180), lip)
        pen.box(-3.6, low + 1.2, 3.6, low + 2.4, (255, 252, 246), 0.4)
        pen.oval(0, low - 1.4, 2.6, 1.2, (236, 120, 116))
    elif figure.face == "open":
        pen.oval(0, low - 0.6, 2.4, 2.9, lip)
    elif figure.face == "stern":
        pen.limb([(-2.8, low - 0.6), (2.8, low - 0.6)], 1, lip)
    elif figure.face == "sad":
        pen.arc(0, low - 3, 3.4, 2.6, (200, 340), 1, lip)
    else:
        pen.arc(0, low + 1.6, 4, 3.4, (20, 160), 1.1, lip)


def _hat(pen: Pen, figure: Figure) -> None:
    if figure.hat is None or figure.kind == "robot":
        return
    colour = figure.colours.hat or figure.colours.cape or darker(figure.cloth, 0.15)
    HATS[figure.hat](pen, figure, colour)
