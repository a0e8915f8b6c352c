"""Built places: a city at its windows, a room with a view, a castle on its hill."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from imagegen.emulator.picture.colour import Colour, darker, lighter, mix
from imagegen.emulator.picture.land import PLACES, Canvas
from imagegen.emulator.picture.shore import sea

WINDOW: Colour = (255, 226, 138)
CLOCKS = frozenset({"clock", "clocks", "pendulum", "pendulums", "clock-mender", "clockmaker", "watchmaker"})
SEASIDE = frozenset({"lighthouse", "sea", "cove", "harbour", "harbor", "beach", "coast", "keeper"})


def city(canvas: Canvas) -> None:
    """Three ranks of houses with lit windows, and the roof we stand on."""
    for low, high, near, wide in ((0.3, 0.46, 0.08, 7), (0.4, 0.56, 0.34, 10), (0.5, 0.68, 0.62, 14)):
        _rank(canvas, low, high, near, wide)
        if near < 0.5:
            canvas.mist(0.62 + near / 5, 0.14)
    roof = canvas.depth(0.94)
    top = canvas.height * 0.9
    canvas.draw.rectangle((0, top, canvas.width, canvas.bottom), fill=roof)
    canvas.draw.rectangle((0, top, canvas.width, top + canvas.unit), fill=lighter(roof, 0.16))


def _rank(canvas: Canvas, low: float, high: float, near: float, wide: float) -> None:
    random, draw = canvas.random, canvas.draw
    colour = canvas.depth(near)
    lit = mix(WINDOW, canvas.brief.mood.light, 0.25)
    x = -canvas.unit * random.uniform(0, wide)
    while x < canvas.width:
        width = canvas.unit * wide * random.uniform(0.6, 1.2)
        top = canvas.height * random.uniform(low, high)
        draw.rectangle((x, top, x + width, canvas.height), fill=colour)
        _roof(canvas, x, top, width, colour)
        if near > 0.2:
            _windows(canvas, (x, top, width), lit if random.random() < 0.8 else canvas.brief.accent, wide)
        x += width + canvas.unit * random.uniform(0.0, 0.8)


def _roof(canvas: Canvas, x: float, top: float, width: float, colour: Colour) -> None:
    draw, unit = canvas.draw, canvas.unit
    kind = canvas.random.randrange(4)
    if kind == 0:
        draw.polygon([(x, top + 1), (x + width / 2, top - unit * 4), (x + width, top + 1)], fill=colour)
    elif kind == 1:
        draw.line((x + width / 2, top, x + width / 2, top - unit * 7), fill=colour, width=max(1, round(unit * 0.35)))
    elif kind == 2:
        draw.rectangle((x + width * 0.2, top - unit * 2, x + width * 0.5, top), fill=colour)


def _windows(canvas: Canvas, house: tuple[float, float, float], lit: Colour, wide: float) -> None:
    x, top, width = house
    pane, gap = canvas.unit * wide * 0.09, canvas.unit * wide * 0.21
    columns = int(width // gap) - 1
    for row in range(int((canvas.height * 0.86 - top) // (gap * 1.2))):
        for column in range(columns):
            if canvas.random.random() < 0.42:
                left, up = x + gap * (column + 0.8), top + gap * (row * 1.2 + 0.7)
                canvas.draw.rectangle((left, up, left + pane, up + pane * 1.4), fill=lit)


def room(canvas: Canvas) -> None:
    """A warm wall with a window to the sky, shelves of books, a lamp, boards and a rug."""
    draw, unit, width, height = canvas.draw, canvas.unit, canvas.width, canvas.height
    mood = canvas.brief.mood
    wall = (
        lighter(mix(mood.land, mood.middle, 0.3), 0.08)
        if mood.dark
        else mix((255, 236, 206), canvas.random.choice((mood.horizon, mood.middle, canvas.brief.accent)), 0.26)
    )
    floor = height * 0.8
    left, right, top, low = width * 0.05, width * 0.34, height * 0.1, height * 0.56
    _sea_outside(canvas, (left, low))
    for box in ((0, 0, width, top), (0, 0, left, floor), (right, 0, width, floor), (0, low, width, floor)):
        draw.rectangle(box, fill=wall)
    for row in range(7):
        y = low + (floor - low) * (0.2 + row * 0.13)
        draw.line((0, y, width, y), fill=darker(wall, 0.05), width=max(1, round(unit * 0.2)))
    frame = mix((150, 96, 62), wall, 0.15)
    for x in (left, (left + right) / 2, right):
        draw.rectangle((x - unit * 0.6, top - unit, x + unit * 0.6, low + unit), fill=frame)
    for y in (top, (top + low) / 2, low):
        draw.rectangle((left - unit * 1.2, y - unit * 0.6, right + unit * 1.2, y + unit * 0.6), fill=frame)
    _shelf(canvas, (0.7 * width, 0.12 * height, 0.98 * width, floor))
    if canvas.brief.words & CLOCKS:
        _pendulums(canvas)
    boards = mix(wall, (172, 104, 62), 0.7)
    draw.rectangle((0, floor, width, canvas.bottom), fill=boards)
    for line in range(9):
        x = width * line / 8
        draw.line(
            (width / 2 + (x - width / 2) * 0.9, floor, width / 2 + (x - width / 2) * 1.6, height),
            fill=darker(boards, 0.2),
            width=max(1, round(unit * 0.3)),
        )
    draw.ellipse((width * 0.18, height * 0.86, width * 0.82, height * 1.04), fill=darker(canvas.brief.accent, 0.35))
    draw.ellipse((width * 0.21, height * 0.87, width * 0.79, height * 1.03), fill=canvas.brief.accent)


def _sea_outside(canvas: Canvas, corner: tuple[float, float]) -> None:
    """Water up to half the window, of a house by the sea."""
    if canvas.brief.words & SEASIDE:
        mood, top = canvas.brief.mood, corner[1] - canvas.height * 0.16
        canvas.draw.rectangle((corner[0], top, canvas.width * 0.36, corner[1]), fill=mix(mood.top, mood.middle, 0.3))
        canvas.draw.line(
            (corner[0], top, canvas.width * 0.36, top), fill=mood.light, width=max(1, round(canvas.unit / 4))
        )


def _pendulums(canvas: Canvas) -> None:
    """Clockwork hung from the ceiling, each at its own moment."""
    random, draw, unit = canvas.random, canvas.draw, canvas.unit
    for step in range(6):
        x, low = canvas.width * (0.08 + step * 0.17), canvas.height * random.uniform(0.05, 0.24)
        swing, r = unit * random.uniform(-3, 3), unit * random.uniform(1.3, 2.4)
        draw.line((x, 0, x + swing, low), fill=(120, 82, 60), width=max(1, round(unit * 0.28)))
        draw.ellipse((x + swing - r, low - r, x + swing + r, low + r), fill=(196, 138, 52))
        r *= 0.78
        draw.ellipse((x + swing - r, low - r, x + swing + r, low + r), fill=(252, 206, 104))


def _shelf(canvas: Canvas, box: tuple[float, float, float, float]) -> None:
    random, draw, unit = canvas.random, canvas.draw, canvas.unit
    left, top, right, low = box
    wood = darker(mix(canvas.brief.mood.land, (164, 100, 60), 0.8), 0.15)
    draw.rectangle(box, fill=wood)
    tall = (low - top) / 5
    for row in range(5):
        base = top + tall * (row + 1) - unit * 0.5
        draw.rectangle((left + unit, top + tall * row + unit * 0.8, right - unit, base), fill=darker(wood, 0.4))
        x = left + unit * 1.4
        while x < right - unit * 3:
            thick, high = unit * random.uniform(0.9, 2.0), tall * random.uniform(0.55, 0.86)
            spine = random.choice(
                (canvas.brief.accent, canvas.brief.figure.trim, (244, 196, 96), (78, 142, 178), (214, 92, 74))
            )
            draw.rectangle((x, base - high, x + thick, base), fill=mix(spine, wood, 0.12))
            x += thick + unit * random.choice((0.15, 0.15, 0.15, 1.6))


def castle(canvas: Canvas) -> None:
    """Towers with flags on a far hill, fields before them."""
    canvas.ridge(0.56, 0.08, canvas.depth(0.06))
    x, ground = canvas.width * canvas.random.choice((0.24, 0.76)), canvas.height * 0.64
    stone = mix(canvas.depth(0.3), (176, 170, 182), 0.3)
    for dx, half, high in ((-13, 3.2, 24), (13, 3.2, 22), (-5, 2.6, 31), (5.5, 3.0, 36)):
        _tower(canvas, x + dx * canvas.unit, ground, (half * canvas.unit, high * canvas.unit), stone)
    unit = canvas.unit
    canvas.draw.rectangle(
        (x - unit * 16, ground - unit * 13, x + unit * 16, ground + unit * 4), fill=darker(stone, 0.12)
    )
    for step in range(11):
        left = x - unit * 16 + step * unit * 3
        canvas.draw.rectangle(
            (left, ground - unit * 14.6, left + unit * 1.7, ground - unit * 13), fill=darker(stone, 0.12)
        )
    canvas.draw.pieslice(
        (x - unit * 3, ground - unit * 6, x + unit * 3, ground + unit * 4), 180, 360, fill=darker(stone, 0.6)
    )
    canvas.ridge(0.68, 0.04, canvas.depth(0.36))
    canvas.mist(0.7, 0.1)
    line = canvas.ridge(0.78, 0.04, canvas.depth(0.6))
    for px, py in canvas.random.sample(line, 9):
        canvas.pine(px, py + unit, unit * canvas.random.uniform(5, 9), canvas.depth(0.72))
    canvas.ridge(0.9, 0.03, canvas.depth(0.86))


def _tower(canvas: Canvas, x: float, ground: float, size: tuple[float, float], stone: Colour) -> None:
    half, high = size
    draw, top = canvas.draw, ground - high
    draw.rectangle((x - half, top, x + half, ground), fill=stone)
    draw.rectangle((x, top, x + half, ground), fill=darker(stone, 0.14))
    roof = darker(canvas.brief.figure.trim, 0.15)
    draw.polygon([(x - half * 1.35, top), (x + half * 1.35, top), (x, top - half * 3)], fill=roof)
    draw.line((x, top - half * 3, x, top - half * 4.2), fill=darker(stone, 0.5), width=max(1, round(half * 0.12)))
    flag = [(x, top - half * 4.2), (x + half * 1.3, top - half * 3.8), (x, top - half * 3.4)]
    draw.polygon(flag, fill=canvas.brief.accent)
    draw.rectangle((x - half * 0.2, top + high * 0.18, x + half * 0.2, top + high * 0.3), fill=WINDOW)


EVERYWHERE: Mapping[str, Callable[[Canvas], None]] = {
    **PLACES,
    "sea": sea,
    "city": city,
    "room": room,
    "castle": castle,
}
