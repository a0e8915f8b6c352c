"""Somebody: a storybook figure a hundred units tall, drawn from the back forward on a sheet of its own."""

from __future__ import annotations

from random import Random

from PIL import Image, ImageChops, ImageDraw

from imagegen.emulator.picture.brief import Figure
from imagegen.emulator.picture.colour import Colour, darker, lighter, mix
from imagegen.emulator.picture.creature import HEDGEHOG, WHALE, draw_hedgehog, draw_whale
from imagegen.emulator.picture.head import REACH, draw_back_hair, draw_head, furred
from imagegen.emulator.picture.pen import SHOULDER, Pen, Point
from imagegen.emulator.picture.props import HEIGHTS, PROPS, prop_colour

HANDS: dict[str, tuple[Point, Point, Point, Point]] = {
    "stand": ((-15, 47), (-16, 34), (15, 47), (17, 35)),
    "wave": ((-16, 46), (-16, 34), (19, 60), (25, 76)),
    "hips": ((-21, 48), (-11, 38), (18, 48), (20, 36)),
    "offer": ((-15, 46), (-17, 33), (19, 51), (28, 52)),
    "run": ((-19, 52), (-22, 40), (18, 50), (24, 58)),
}
"""Left elbow and hand, right elbow and hand."""


def extent(figure: Figure) -> Point:
    """Width and height of a figure's sheet in units; its middle foot stands 4 above the lower edge."""
    if figure.kind == "whale":
        return WHALE
    if figure.kind == "hedgehog":
        return HEDGEHOG
    raised = HANDS[figure.pose][3][1] + HEIGHTS.get(figure.prop or "", 4)
    top = max(raised, *(REACH.get(part or "", 101) for part in _tops(figure)))
    return 116, top + SHOULDER * (figure.stature - 1) + 8


def _tops(figure: Figure) -> tuple[str | None, ...]:
    covered = figure.hat or figure.kind != "human"
    return figure.kind, figure.hat, None if covered else figure.hair


def sheet(figure: Figure, scale: float, light: Colour, random: Random, *, ink: bool, smooth: int = 1) -> Image.Image:
    """The figure as RGBA, `scale` pixels per unit, lit from one side, outlined.

    It is drawn `smooth` times as large and shrunk, which smooths its edges.
    """
    wide, tall = extent(figure)
    size = (round(wide * scale) * smooth, round(tall * scale) * smooth)
    image = Image.new("RGBA", size, (0, 0, 0, 0))
    big = scale * smooth
    stature, breadth = (1.0, 1.0) if figure.kind in _DRAWN else (figure.stature, figure.breadth)
    pen = Pen(ImageDraw.Draw(image), big, size[0] / 2, size[1] - 4 * big, stature, breadth)
    _DRAWN.get(figure.kind, draw_figure)(pen, figure, random)
    if smooth > 1:
        image = image.reduce(smooth)
    return _lit(image, light, scale, ink=ink)


def held(figure: Figure) -> Point | None:
    """Where on its sheet a figure's lantern shines, in units from the middle foot; None without one."""
    if figure.kind == "whale":
        return 34, 12
    if figure.prop != "lantern":
        return None
    x, y = (27.0, 36.0) if figure.kind == "hedgehog" else HANDS[figure.pose][3]
    return x * figure.breadth, (y - 11) * (1.0 if figure.kind == "hedgehog" else figure.stature)


def draw_figure(pen: Pen, figure: Figure, random: Random) -> None:
    """Everything, the farthest first."""
    hands = HANDS[figure.pose]
    if figure.colours.cape is not None:
        _cape(pen, figure.colours.cape, random)
    if figure.kind == "fox":
        _brush(pen, figure.colours.hair)
    elif figure.kind == "cat":
        pen.limb([(6, 30), (24, 22), (33, 34), (30, 46)], 4, figure.colours.hair)
    draw_back_hair(pen, figure)
    _legs(pen, figure)
    _arm(pen, figure, (-10, 59), hands[0], hands[1], darker(figure.cloth, 0.14))
    _body(pen, figure)
    if figure.prop is not None:
        PROPS[figure.prop](pen, *hands[3], prop_colour(figure))
    _arm(pen, figure, (10, 59), hands[2], hands[3], darker(figure.cloth, 0.05))
    _collar(pen, figure)
    draw_head(pen, figure)


def _brush(pen: Pen, fur: Colour) -> None:
    pen.curve([(4, 28), (16, 16), (32, 20), (41, 36), (36, 56), (27, 46), (22, 34), (10, 34)], fur)
    pen.curve([(40, 38), (36, 56), (27.5, 46), (31, 43), (34, 44), (36, 40)], lighter(fur, 0.8))


def _cape(pen: Pen, colour: Colour, random: Random) -> None:
    wind = random.choice((-1, 1)) * random.uniform(3, 9)
    hem: list[Point] = [(24 + wind, 9), (15 + wind, 5), (7 + wind, 9), (-2 + wind, 5), (-11 + wind, 9), (-22 + wind, 6)]
    pen.shape([(-9, 63), (9, 63), (18, 42), *hem, (-17, 40)], colour)
    pen.shape([(2, 60), (9, 63), (18, 42), *hem[:3], (7, 30)], darker(colour, 0.2))


def _legs(pen: Pen, figure: Figure) -> None:
    colours = figure.colours
    bare = figure.outfit == "fur"
    trousers, boots = (
        (darker(colours.hair, 0.1), darker(colours.hair, 0.55)) if bare else (colours.trousers, colours.boots)
    )
    stride = 8 if figure.pose == "run" else 0
    for x, foot, lift in ((-5, -6 - stride, 0), (5, 6 + stride, stride * 0.6)):
        pen.limb([(x, 33), ((x + foot) / 2, 18 + lift / 2), (foot, 6 + lift)], 7.4, trousers)
        pen.limb([(foot - (foot - x) * 0.2, 11 + lift), (foot, 4.4 + lift)], 7.6, boots)
        pen.oval(foot + 1.6, 3.2 + lift, 6, 3, boots)


def _body(pen: Pen, figure: Figure) -> None:
    cloth = furred(figure) if figure.outfit == "fur" else figure.cloth
    shade = darker(cloth, 0.11)
    hem, width = {
        "robe": (3, 20),
        "dress": (12, 21),
        "coat": (15, 15),
        "armour": (27, 12),
        "tunic": (25, 12.5),
        "fur": (24, 14),
    }[figure.outfit]
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
    if figure.outfit == "fur":
        pen.oval(0, 42, 8, 17, lighter(cloth, 0.7))
    elif figure.outfit == "armour":
        _plates(pen, cloth)
    else:
        _trimmings(pen, figure, hem, width)


def _plates(pen: Pen, cloth: Colour) -> None:
    for y in (52, 46):
        pen.limb([(-9, y), (9, y)], 0.9, lighter(cloth, 0.4))
    pen.oval(-10.5, 60, 5, 4, lighter(cloth, 0.25))
    pen.oval(10.5, 60, 5, 4, darker(cloth, 0.05))
    _belt(pen, (126, 84, 52))


def _trimmings(pen: Pen, figure: Figure, hem: float, width: float) -> None:
    cloth, trim = figure.cloth, figure.trim
    if figure.outfit == "tunic":
        for y in (57, 53, 49, 45) if figure.striped else ():
            pen.limb([(-9.4, y), (9.4, y)], 1.2, trim)
        pen.box(-width * 0.98, hem, width * 0.98, hem + 2.6, trim)
        return
    if figure.outfit == "coat":
        pen.shape([(-5, 62), (5, 62), (0.4, 48)], trim)
        for y in (55, 53, 51) if figure.striped else ():
            pen.limb([(-(y - 48) / 2.8, y), ((y - 48) / 2.8, y)], 0.8, lighter(trim, 0.75))
        pen.box(-width * 0.86, 23, -width * 0.4, 24.6, darker(cloth, 0.4), 0.6)
        pen.box(width * 0.4, 23, width * 0.86, 24.6, darker(cloth, 0.5), 0.6)
    if figure.outfit in ("coat", "robe"):
        pen.limb([(0, 50), (0.6, hem + 1)], 0.8, darker(cloth, 0.4))
        for y in (46, 36, 30):
            pen.oval(-2, y, 1, 1, lighter(trim, 0.6))
    if figure.outfit in ("dress", "robe"):
        pen.shape([(-width, hem), (width, hem), (width * 0.97, hem + 3), (-width * 0.97, hem + 3)], trim)
    if figure.outfit != "coat":
        _belt(pen, darker(mix(trim, (126, 84, 52), 0.5), 0.1))


def _belt(pen: Pen, leather: Colour) -> None:
    pen.box(-10.6, 40.5, 10.6, 43.5, leather)
    pen.box(-2, 40, 2, 44, (244, 200, 92), 0.6)


def _arm(pen: Pen, figure: Figure, shoulder: Point, elbow: Point, hand: Point, colour: Colour) -> None:
    sleeve = darker(furred(figure), 0.1) if figure.outfit == "fur" else colour
    pen.limb([shoulder, elbow, hand], 6.6, sleeve)
    if figure.outfit == "tunic":
        share = 0.62
        pen.limb(
            [(elbow[0] + (hand[0] - elbow[0]) * share, elbow[1] + (hand[1] - elbow[1]) * share), hand], 6.8, figure.trim
        )
    pen.oval(hand[0], hand[1], 3.7, 3.7, furred(figure))


def _collar(pen: Pen, figure: Figure) -> None:
    pen.box(-3.5, 60, 3.5, 68, darker(furred(figure), 0.16))
    colours = figure.colours
    if figure.outfit == "fur":
        scarf = colours.cape or colours.cloth
        pen.limb([(-8, 62), (0, 60), (8, 62)], 6, scarf)
        pen.shape([(3, 61), (8, 60), (9, 44), (3, 45)], darker(scarf, 0.14))
        return
    pen.shape([(-9, 63), (-4, 66), (4, 66), (9, 63), (0, 57)], colours.cape or colours.trim)
    if figure.outfit != "tunic":
        pen.oval(0, 60, 1.8, 1.8, (248, 210, 104))


def _lit(image: Image.Image, light: Colour, scale: float, *, ink: bool) -> Image.Image:
    """A rim of light on the left, shade on the right, and an outline: three shifted copies of the silhouette."""
    mask = image.getchannel("A")
    rim = max(1, round(0.9 * scale))
    edge = ImageChops.subtract(mask, ImageChops.offset(mask, rim, rim // 2))
    image.paste((*lighter(light, 0.3), 255), (0, 0), edge.point(lambda value: value * 3 // 5))
    shade = ImageChops.subtract(mask, ImageChops.offset(mask, -rim * 3, -rim))
    image.paste((44, 26, 92, 255), (0, 0), shade.point(lambda value: value // 5))
    thick = max(1, round((1.0 if ink else 0.45) * scale))
    halo = mask
    for dx, dy in ((thick, 0), (-thick, 0), (0, thick), (0, -thick)):
        halo = ImageChops.lighter(halo, ImageChops.offset(mask, dx, dy))
    outlined = Image.new("RGBA", image.size, (40, 26, 56, 255))
    outlined.putalpha(halo)
    outlined.paste(image, (0, 0), mask)
    return outlined


_DRAWN = {"hedgehog": draw_hedgehog, "whale": draw_whale}
