"""The seaside: water to the horizon with light upon it, sails, a lighthouse, and the sand we stand on."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFilter

from imagegen.emulator.picture.colour import darker, lighter, mix
from imagegen.emulator.picture.land import Canvas


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
