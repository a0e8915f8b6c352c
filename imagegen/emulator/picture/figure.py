"""Somebody: a storybook figure a hundred units tall, drawn from the back forward on a sheet of its own."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from PIL import Image, ImageChops, ImageDraw

from imagegen.emulator.picture.brief import Figure
from imagegen.emulator.picture.colour import Colour, darker, lighter, mix
from imagegen.emulator.picture.head import draw_back_hair, draw_head

Point = tuple[float, float]
WIDE, TALL = 110, 126
"""The sheet in units; the feet stand at (55, 4), y grows upwards."""


@dataclass
class Pen:
    """Draws in units on the figure's sheet."""

    draw: ImageDraw.ImageDraw
    scale: float

    def at(self, x: float, y: float) -> Point:
        """Pixels of a point in units."""
        return (x + WIDE / 2) * self.scale, (TALL - 4 - y) * self.scale

    def shape(self, points: list[Point], fill: Colour) -> None:
        """A filled outline."""
        self.draw.polygon([self.at(*point) for point in points], fill=fill)

    def oval(self, x: float, y: float, across: float, up: float, fill: Colour) -> None:
        """An ellipse by its centre and half axes."""
        left, top = self.at(x - across, y + up)
        right, low = self.at(x + across, y - up)
        self.draw.ellipse((left, top, right, low), fill=fill)

    def box(self, x: float, y: float, right: float, top: float, fill: Colour, radius: float = 0) -> None:
        """A rectangle from its lower left to its upper right corner."""
        corners = (*self.at(x, top), *self.at(right, y))
        self.draw.rounded_rectangle(corners, radius=radius * self.scale, fill=fill)

    def limb(self, points: list[Point], thick: float, fill: Colour) -> None:
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


HANDS: dict[str, tuple[Point, Point, Point, Point]] = {
    "stand": ((-15, 47), (-16, 34), (15, 47), (17, 35)),
    "wave": ((-16, 46), (-16, 34), (19, 60), (25, 76)),
    "hips": ((-21, 48), (-11, 38), (18, 48), (20, 36)),
    "run": ((-19, 52), (-22, 40), (18, 50), (24, 58)),
}
"""Left elbow and hand, right elbow and hand."""


def sheet(figure: Figure, tall: int, light: Colour, random: Random, *, ink: bool, smooth: int = 1) -> Image.Image:
    """The figure as RGBA, `tall` pixels from sole to hat's tip and a little more, lit from one side, outlined.

    It is drawn `smooth` times as large and shrunk, which smooths its edges.
    """
    scale = tall / TALL
    image = Image.new("RGBA", (round(WIDE * scale) * smooth, tall * smooth), (0, 0, 0, 0))
    draw_figure(Pen(ImageDraw.Draw(image), scale * smooth), figure, random)
    if smooth > 1:
        image = image.reduce(smooth)
    return _lit(image, light, scale, ink=ink)


def draw_figure(pen: Pen, figure: Figure, random: Random) -> None:
    """Everything, the farthest first."""
    hands = HANDS[figure.pose]
    if figure.cape is not None:
        _cape(pen, figure.cape, random)
    if figure.kind in ("fox", "cat"):
        tail: list[Point] = [(6, 30), (24, 22), (33, 34), (30, 46)]
        pen.limb(tail, 7 if figure.kind == "fox" else 4, figure.hair_colour)
        pen.oval(
            30,
            47,
            4.4 if figure.kind == "fox" else 2,
            5 if figure.kind == "fox" else 2,
            lighter(figure.hair_colour, 0.7),
        )
    draw_back_hair(pen, figure)
    _legs(pen, figure)
    _arm(pen, figure, (-10, 59), hands[0], hands[1], darker(figure.cloth, 0.22))
    _body(pen, figure)
    _prop(pen, figure, hands[3])
    _arm(pen, figure, (10, 59), hands[2], hands[3], darker(figure.cloth, 0.1))
    _collar(pen, figure)
    draw_head(pen, figure)


def _cape(pen: Pen, colour: Colour, random: Random) -> None:
    wind = random.choice((-1, 1)) * random.uniform(3, 9)
    hem: list[Point] = [(24 + wind, 9), (15 + wind, 5), (7 + wind, 9), (-2 + wind, 5), (-11 + wind, 9), (-22 + wind, 6)]
    pen.shape([(-9, 63), (9, 63), (18, 42), *hem, (-17, 40)], colour)
    pen.shape([(2, 60), (9, 63), (18, 42), *hem[:3], (7, 30)], darker(colour, 0.2))


def _legs(pen: Pen, figure: Figure) -> None:
    trousers = darker(mix(figure.cloth, (60, 62, 84), 0.7), 0.15)
    boots = darker(mix(figure.trim, (74, 52, 44), 0.75), 0.2)
    stride = 8 if figure.pose == "run" else 0
    for x, foot, lift in ((-5, -6 - stride, 0), (5, 6 + stride, stride * 0.6)):
        pen.limb([(x, 33), ((x + foot) / 2, 18 + lift / 2), (foot, 6 + lift)], 7.4, trousers)
        pen.limb([(foot - (foot - x) * 0.2, 11 + lift), (foot, 4.4 + lift)], 7.6, boots)
        pen.oval(foot + 1.6, 3.2 + lift, 6, 3, boots)


def _body(pen: Pen, figure: Figure) -> None:
    cloth, shade = figure.cloth, darker(figure.cloth, 0.16)
    hem, width = {"robe": (3, 20), "dress": (12, 21), "coat": (15, 15), "armour": (27, 12), "tunic": (25, 12)}[
        figure.outfit
    ]
    middle = (hem + 42) / 2
    pen.shape(
        [
            (-11, 62),
            (11, 62),
            (10, 42),
            (width * 0.8, middle),
            (width, hem),
            (-width, hem),
            (-width * 0.8, middle),
            (-10, 42),
        ],
        cloth,
    )
    pen.shape([(3, 62), (11, 62), (10, 42), (width * 0.8, middle), (width, hem), (width * 0.35, hem), (4, 42)], shade)
    pen.oval(-8.5, 60.5, 4, 3.2, cloth)
    pen.oval(8.5, 60.5, 4, 3.2, shade)
    if figure.outfit == "armour":
        for y in (52, 46):
            pen.limb([(-9, y), (9, y)], 0.9, lighter(cloth, 0.4))
        pen.oval(-10.5, 60, 5, 4, lighter(cloth, 0.25))
        pen.oval(10.5, 60, 5, 4, darker(cloth, 0.05))
    if figure.outfit in ("coat", "robe"):
        pen.limb([(0, 60), (0.6, hem + 1)], 0.8, darker(cloth, 0.4))
        for y in (56, 50, 44):
            pen.oval(-2, y, 0.9, 0.9, lighter(figure.trim, 0.4))
    if figure.outfit in ("dress", "robe"):
        pen.shape([(-width, hem), (width, hem), (width * 0.97, hem + 3), (-width * 0.97, hem + 3)], figure.trim)
    belt = darker(mix(figure.trim, (80, 56, 40), 0.6), 0.1)
    pen.box(-10.6, 40.5, 10.6, 43.5, belt)
    pen.box(-2, 40, 2, 44, (236, 200, 96), 0.6)


def _arm(pen: Pen, figure: Figure, shoulder: Point, elbow: Point, hand: Point, colour: Colour) -> None:
    pen.limb([shoulder, elbow, hand], 6.6, colour)
    pen.oval(hand[0], hand[1], 3.5, 3.5, skin_of(figure))


def skin_of(figure: Figure) -> Colour:
    """Skin, or fur, or tin."""
    return figure.skin if figure.kind == "human" else lighter(figure.hair_colour, 0.12)


def _collar(pen: Pen, figure: Figure) -> None:
    pen.box(-3.5, 60, 3.5, 68, darker(skin_of(figure), 0.14))
    pen.shape([(-9, 63), (-4, 66), (4, 66), (9, 63), (0, 57)], figure.cape or figure.trim)
    pen.oval(0, 60, 1.8, 1.8, (240, 206, 104))


def _prop(pen: Pen, figure: Figure, hand: Point) -> None:
    x, y = hand
    wood, metal = (116, 78, 52), (214, 220, 230)
    if figure.prop == "staff":
        pen.limb([(x, 2), (x, y + 40)], 2.2, wood)
        pen.oval(x, y + 43, 6.4, 6.4, mix(figure.trim, (255, 255, 255), 0.35))
        pen.oval(x - 1.6, y + 44.6, 2.2, 2.2, (255, 255, 255))
    elif figure.prop == "sword":
        pen.shape([(x - 1.9, y), (x + 1.9, y), (x + 1.6, y + 38), (x, y + 44), (x - 1.6, y + 38)], metal)
        pen.shape([(x, y), (x + 1.9, y), (x + 1.6, y + 38), (x, y + 44)], darker(metal, 0.25))
        pen.limb([(x - 6.5, y + 1), (x + 6.5, y + 1)], 2, (224, 182, 84))
        pen.limb([(x, y), (x, y - 7)], 2.2, wood)
    elif figure.prop == "lantern":
        pen.limb([(x, y), (x, y - 5)], 0.8, (60, 56, 60))
        pen.box(x - 4.4, y - 17, x + 4.4, y - 5, (60, 56, 60), 1.4)
        pen.oval(x, y - 11, 3.3, 4.6, (255, 226, 130))
        pen.oval(x, y - 11.4, 1.6, 2.6, (255, 250, 220))
    elif figure.prop == "book":
        pen.shape([(x - 10, y + 1), (x, y - 1.5), (x, y + 11), (x - 10, y + 13)], darker(figure.trim, 0.15))
        pen.shape([(x + 10, y + 1), (x, y - 1.5), (x, y + 11), (x + 10, y + 13)], figure.trim)
        pen.shape(
            [(x - 8.6, y + 2.2), (x, y), (x + 8.6, y + 2.2), (x + 8.6, y + 12.4), (x, y + 10.4), (x - 8.6, y + 12.4)],
            (250, 246, 232),
        )
    elif figure.prop == "umbrella":
        pen.limb([(x, y - 4), (x, y + 34)], 1.4, wood)
        left, top = pen.at(x - 24, y + 50)
        right, low = pen.at(x + 24, y + 12)
        pen.draw.pieslice((left, top, right, low), 180, 360, fill=figure.trim)
    elif figure.prop == "flag":
        pen.limb([(x, 2), (x, y + 42)], 1.8, wood)
        pen.shape([(x, y + 42), (x + 20, y + 38), (x + 15, y + 33), (x + 21, y + 27), (x, y + 24)], figure.trim)


def _lit(image: Image.Image, light: Colour, scale: float, *, ink: bool) -> Image.Image:
    """A rim of light on the left, shade on the right, and an outline: three shifted copies of the silhouette."""
    mask = image.getchannel("A")
    rim = max(1, round(0.9 * scale))
    edge = ImageChops.subtract(mask, ImageChops.offset(mask, rim, rim // 2))
    image.paste((*lighter(light, 0.3), 255), (0, 0), edge.point(lambda value: value * 3 // 5))
    shade = ImageChops.subtract(mask, ImageChops.offset(mask, -rim * 3, -rim))
    image.paste((22, 20, 44, 255), (0, 0), shade.point(lambda value: value // 4))
    thick = max(1, round((1.0 if ink else 0.45) * scale))
    halo = mask
    for dx, dy in ((thick, 0), (-thick, 0), (0, thick), (0, -thick)):
        halo = ImageChops.lighter(halo, ImageChops.offset(mask, dx, dy))
    outlined = Image.new("RGBA", image.size, (24, 22, 40, 255))
    outlined.putalpha(halo)
    outlined.paste(image, (0, 0), mask)
    return outlined
