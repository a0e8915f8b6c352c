"""What a figure holds, drawn from the hand that holds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from imagegen.emulator.picture.brief import Figure
from imagegen.emulator.picture.colour import Colour, darker, lighter, lightness, mix
from imagegen.emulator.picture.pen import Pen

WOOD: Colour = (140, 88, 54)
METAL: Colour = (216, 224, 236)
BRASS: Colour = (236, 190, 84)
IRON: Colour = (62, 56, 74)

Prop = Callable[[Pen, float, float, Colour], None]


def lantern(pen: Pen, x: float, y: float, colour: Colour) -> None:
    """A lit lantern on its ring."""
    frame = darker(colour, 0.22)
    pen.limb([(x, y), (x, y - 5)], 0.8, IRON)
    pen.box(x - 5, y - 18, x + 5, y - 5, frame, 1.6)
    pen.oval(x, y - 11.4, 3.9, 5.4, (255, 214, 104))
    pen.oval(x, y - 11.8, 2.2, 3.4, (255, 250, 220))
    pen.box(x - 5.6, y - 19, x + 5.6, y - 17, darker(frame, 0.3), 0.8)
    pen.box(x - 3.6, y - 6.4, x + 3.6, y - 4.4, darker(frame, 0.3), 0.8)


def _staff(pen: Pen, x: float, y: float, colour: Colour) -> None:
    pen.limb([(x, 2), (x, y + 40)], 2.2, WOOD)
    pen.oval(x, y + 43, 6.4, 6.4, mix(colour, (255, 255, 255), 0.3))
    pen.oval(x - 1.6, y + 44.6, 2.2, 2.2, (255, 255, 255))


def _sword(pen: Pen, x: float, y: float, colour: Colour) -> None:
    pen.shape([(x - 1.9, y), (x + 1.9, y), (x + 1.6, y + 38), (x, y + 44), (x - 1.6, y + 38)], METAL)
    pen.shape([(x, y), (x + 1.9, y), (x + 1.6, y + 38), (x, y + 44)], darker(METAL, 0.25))
    pen.limb([(x - 6.5, y + 1), (x + 6.5, y + 1)], 2, BRASS)
    pen.limb([(x, y), (x, y - 7)], 2.2, WOOD)


def _book(pen: Pen, x: float, y: float, colour: Colour) -> None:
    pen.shape([(x - 10, y + 1), (x, y - 1.5), (x, y + 11), (x - 10, y + 13)], darker(colour, 0.15))
    pen.shape([(x + 10, y + 1), (x, y - 1.5), (x, y + 11), (x + 10, y + 13)], colour)
    pages = [(x - 8.6, y + 2.2), (x, y), (x + 8.6, y + 2.2), (x + 8.6, y + 12.4), (x, y + 10.4), (x - 8.6, y + 12.4)]
    pen.shape(pages, (252, 248, 232))


def _umbrella(pen: Pen, x: float, y: float, colour: Colour) -> None:
    pen.limb([(x, y - 4), (x, y + 34)], 1.4, WOOD)
    left, top = pen.at(x - 24, y + 50)
    right, low = pen.at(x + 24, y + 12)
    pen.draw.pieslice((left, top, right, low), 180, 360, fill=colour)
    pen.draw.pieslice((left, top, right, low), 180, 232, fill=lighter(colour, 0.2))
    pen.draw.pieslice((left, top, right, low), 308, 360, fill=darker(colour, 0.25))


def _flag(pen: Pen, x: float, y: float, colour: Colour) -> None:
    pen.limb([(x, 2), (x, y + 42)], 1.8, WOOD)
    pen.shape([(x, y + 42), (x + 20, y + 38), (x + 15, y + 33), (x + 21, y + 27), (x, y + 24)], colour)


def _spyglass(pen: Pen, x: float, y: float, colour: Colour) -> None:
    pen.limb([(x - 6, y - 2), (x + 3, y + 3)], 4, darker(BRASS, 0.25))
    pen.limb([(x + 3, y + 3), (x + 13, y + 8.5)], 5.4, BRASS)
    pen.limb([(x + 12.6, y + 8.3), (x + 13.6, y + 8.8)], 6.6, darker(BRASS, 0.35))
    pen.oval(x + 14.6, y + 9.4, 2.1, 2.9, (196, 234, 250))


def watch(pen: Pen, x: float, y: float, colour: Colour) -> None:
    """A pocket watch as wide as a belly."""
    pen.oval(x, y, 7.6, 7.6, darker(BRASS, 0.3))
    pen.oval(x, y, 6.7, 6.7, BRASS)
    pen.oval(x, y, 5.3, 5.3, (255, 252, 240))
    pen.limb([(x, y), (x, y + 3.8)], 0.8, IRON)
    pen.limb([(x, y), (x + 2.6, y - 1.2)], 0.8, IRON)
    pen.box(x - 1.4, y + 7, x + 1.4, y + 9.4, darker(BRASS, 0.2), 0.6)


def prop_colour(figure: Figure) -> Colour:
    """The third colour of a character, or its accent where that is too dark to be seen in a hand."""
    colours = figure.colours
    return colours.third if lightness(colours.third) > 0.42 else colours.trim


PROPS: Mapping[str, Prop] = {
    "staff": _staff,
    "sword": _sword,
    "lantern": lantern,
    "book": _book,
    "umbrella": _umbrella,
    "flag": _flag,
    "spyglass": _spyglass,
    "watch": watch,
}
HEIGHTS: Mapping[str, float] = {"staff": 50, "sword": 45, "umbrella": 51, "flag": 43, "book": 14, "spyglass": 13}
"""How far a prop reaches above the hand, in units."""
