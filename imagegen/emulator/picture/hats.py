"""What is worn on a head, drawn around the head's middle."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from imagegen.emulator.picture.brief import Figure
from imagegen.emulator.picture.colour import Colour, darker, mix
from imagegen.emulator.picture.pen import Pen

Y, R = 81.0, 16.5
"""The height of the head's middle and its radius, in units."""


def _wizard(pen: Pen, figure: Figure, colour: Colour) -> None:
    pen.shape([(-12, Y + 11), (12, Y + 11), (6, Y + 26), (10, Y + 36), (-2, Y + 30)], colour)
    pen.oval(0, Y + 11, 23, 4.6, darker(colour, 0.12))
    pen.shape([(-12, Y + 11.6), (12, Y + 11.6), (11, Y + 15.4), (-11, Y + 15.4)], figure.trim)
    pen.oval(0, Y + 21, 2, 2, (250, 222, 120))


def _crown(pen: Pen, figure: Figure, colour: Colour) -> None:
    gold: Colour = (242, 200, 84)
    pen.shape([(-11, Y + 13), (11, Y + 13), (13, Y + 25), (6, Y + 19), (0, Y + 27), (-6, Y + 19), (-13, Y + 25)], gold)
    pen.box(-11, Y + 12, 11, Y + 15, darker(gold, 0.18))
    for x in (-6, 0, 6):
        pen.oval(x, Y + 13.6, 1.3, 1.3, figure.trim)


def _helmet(pen: Pen, figure: Figure, colour: Colour) -> None:
    steel: Colour = (190, 198, 212)
    pen.shape(
        [
            (-R - 1.4, Y + 1),
            (-R, Y + 11),
            (-8, Y + 19),
            (8, Y + 19),
            (R, Y + 11),
            (R + 1.4, Y + 1),
            (R - 3, Y + 6),
            (-R + 3, Y + 6),
        ],
        steel,
    )
    pen.shape(
        [(1, Y + 19.4), (8, Y + 19), (R, Y + 11), (R + 1.4, Y + 1), (R - 3, Y + 6), (1, Y + 6)], darker(steel, 0.2)
    )
    pen.limb([(0, Y + 6), (0, Y + 19)], 1.6, darker(steel, 0.35))
    pen.shape([(-2, Y + 18), (2, Y + 18), (-9, Y + 31), (-16, Y + 28)], figure.trim)


def _fedora(pen: Pen, figure: Figure, colour: Colour) -> None:
    felt = darker(mix(colour, (104, 88, 76), 0.5), 0.2)
    pen.shape([(-12, Y + 11), (12, Y + 11), (9.6, Y + 23), (3, Y + 21), (-3, Y + 23.4), (-9.6, Y + 22)], felt)
    pen.box(-12, Y + 11, 12, Y + 14.4, darker(felt, 0.5))
    pen.oval(0, Y + 11, 22, 3.4, darker(felt, 0.15))


def _cap(pen: Pen, figure: Figure, colour: Colour) -> None:
    pen.chord(0, Y + 7, R + 0.4, 14.6, (180, 360), colour)
    pen.oval(6, Y + 8.4, 14, 3, darker(colour, 0.35))
    pen.oval(0, Y + 15, 2.6, 2.6, (240, 206, 104))


def _hood(pen: Pen, figure: Figure, colour: Colour) -> None:
    pen.shape(
        [
            (-R - 3, 62),
            (-R - 3.4, Y + 4),
            (-9, Y + 19),
            (2, Y + 25),
            (11, Y + 18),
            (R + 3.4, Y + 4),
            (R + 3, 62),
            (R - 3, 65),
            (R - 2.6, Y + 2),
            (8, Y + 11),
            (-8, Y + 11),
            (-R + 2.6, Y + 2),
            (-R + 3, 65),
        ],
        colour,
    )
    pen.shape(
        [(2, Y + 25), (11, Y + 18), (R + 3.4, Y + 4), (R + 3, 62), (R - 3, 65), (R - 2.6, Y + 2), (8, Y + 11)],
        darker(colour, 0.18),
    )


def _bubble(pen: Pen, figure: Figure, colour: Colour) -> None:
    glass: Colour = (206, 236, 248)
    pen.arc(0, Y, 23, 23, (0, 360), 1.8, glass)
    pen.arc(0, Y, 18.4, 18.6, (190, 240), 1.6, (255, 255, 255))
    pen.box(-13, 57.5, 13, 62.5, (226, 230, 238), 2)
    pen.box(-13, 57.5, 13, 59.2, (176, 184, 200), 1)


HATS: Mapping[str, Callable[[Pen, Figure, Colour], None]] = {
    "bubble": _bubble,
    "wizard": _wizard,
    "crown": _crown,
    "helmet": _helmet,
    "fedora": _fedora,
    "cap": _cap,
    "hood": _hood,
}
