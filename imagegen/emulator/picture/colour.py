"""Colours: mixing, the names people write, and the moods of light."""

from __future__ import annotations

import colorsys
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from PIL import ImageColor

Colour = tuple[int, int, int]

_OWN = {
    "amber": "#ffbf00",
    "blonde": "#e8c872",
    "bronze": "#b0743a",
    "brunette": "#5b3a29",
    "burgundy": "#7a1f35",
    "cerulean": "#2a7fba",
    "charcoal": "#36404a",
    "cobalt": "#1f4fb2",
    "copper": "#c0723c",
    "cream": "#f6ecd2",
    "denim": "#4a6fa5",
    "emerald": "#1f9d63",
    "golden": "#e6b64c",
    "ginger": "#c8642c",
    "grey": "#8a8f98",
    "gray": "#8a8f98",
    "jade": "#2fa37c",
    "lilac": "#b59ad8",
    "mint": "#9fdcc0",
    "mustard": "#d8a531",
    "ochre": "#c88a2d",
    "peach": "#f7b58f",
    "rose": "#e0708c",
    "ruby": "#b3123f",
    "rust": "#a8482a",
    "sand": "#dcc38f",
    "sapphire": "#1c4fa0",
    "scarlet": "#d4222a",
    "silver": "#c3cad4",
    "turquoise": "#2fb8b0",
    "vermilion": "#e2472e",
    "violet": "#7a4fc4",
    "green": "#3f9b57",
    "blue": "#2f6fc4",
    "red": "#cf3535",
    "yellow": "#f2c43a",
    "orange": "#ef8a34",
    "purple": "#7d4fb0",
    "pink": "#f08fb0",
    "brown": "#7b5136",
    "black": "#23262e",
    "white": "#f7f5ef",
}
_COMMON = "beige coral crimson cyan gold indigo ivory khaki lavender lime magenta maroon navy olive orchid plum salmon"
NAMED: dict[str, Colour] = {
    name: ImageColor.getrgb(value)[:3]
    for name, value in {**{name: name for name in (*_COMMON.split(), "tan", "teal")}, **_OWN}.items()
}
_HEX = re.compile(r"#(?:[0-9a-f]{6}|[0-9a-f]{3})\b", re.IGNORECASE)
_CODED = re.compile(r"[\w -]{0,24}#")
_WORD = re.compile(rf"\b({'|'.join(sorted(NAMED, key=len, reverse=True))})\b", re.IGNORECASE)


@dataclass(frozen=True)
class Mood:
    """The light of a scene: sky from the top down, the sun or moon, and what it does to the land."""

    top: Colour
    middle: Colour
    horizon: Colour
    light: Colour
    land: Colour
    dark: bool = False


MOODS: dict[str, Mood] = {
    "night": Mood((22, 24, 88), (58, 62, 164), (160, 132, 214), (255, 244, 204), (44, 62, 124), dark=True),
    "dawn": Mood((96, 140, 222), (252, 176, 172), (255, 226, 168), (255, 246, 216), (108, 152, 116)),
    "day": Mood((38, 132, 224), (124, 200, 246), (236, 247, 240), (255, 246, 200), (92, 172, 88)),
    "dusk": Mood((66, 44, 132), (222, 84, 122), (255, 182, 96), (255, 226, 150), (112, 70, 112)),
    "storm": Mood((40, 62, 100), (84, 124, 152), (172, 204, 206), (224, 236, 236), (58, 100, 100), dark=True),
    "neon": Mood((20, 12, 60), (96, 24, 140), (255, 84, 172), (124, 240, 255), (44, 26, 92), dark=True),
    "mint": Mood((28, 128, 148), (112, 204, 190), (250, 244, 202), (255, 250, 224), (64, 148, 116)),
}


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """`one` with `share` (0 to 1) of `other` in it."""
    return (
        round(one[0] + (other[0] - one[0]) * share),
        round(one[1] + (other[1] - one[1]) * share),
        round(one[2] + (other[2] - one[2]) * share),
    )


def darker(colour: Colour, share: float = 0.3) -> Colour:
    """Towards a deep tone of the same hue, a little bluer, so that shade stays colour and never turns to grey."""
    return mix(colour, (round(colour[0] * 0.2), round(colour[1] * 0.18), round(colour[2] * 0.28 + 8)), share)


def lighter(colour: Colour, share: float = 0.3) -> Colour:
    """Towards a warm white."""
    return mix(colour, (255, 250, 240), share)


def vivid(random: Random) -> Colour:
    """Some clear, not too bright colour."""
    red, green, blue = colorsys.hsv_to_rgb(random.random(), random.uniform(0.55, 0.8), random.uniform(0.6, 0.88))
    return round(red * 255), round(green * 255), round(blue * 255)


def found(text: str) -> list[Colour]:
    """Hex codes and colour names in a text, in their order, each once; a name right before its code is that code."""
    marks = [(match.start(), ImageColor.getrgb(match.group())[:3]) for match in _HEX.finditer(text)]
    marks += [
        (match.start(), NAMED[match.group().lower()])
        for match in _WORD.finditer(text)
        if not _CODED.match(text, match.end())
    ]
    return list(dict.fromkeys(colour for _, colour in sorted(marks)))


def distance(one: Colour, other: Colour) -> float:
    """How unlike two colours are, 0 to about 440."""
    return math.dist(one, other)


def clear_of(colour: Colour, random: Random) -> Colour:
    """A vivid colour that stands out against the given one."""
    return max((vivid(random) for _ in range(3)), key=lambda candidate: min(160.0, distance(candidate, colour)))


def lightness(colour: Colour) -> float:
    """How light a colour looks, 0 to 1 (the L of Oklab)."""
    return _lab(colour)[0]


def deep(colour: Colour, most: float = 0.52) -> Colour:
    """The same hue, dark enough to be read on white paper."""
    light, a, b = _lab(colour)
    return colour if light <= most else _rgb(most, a * 1.1, b * 1.1)


def mood_of(palette: Sequence[Colour], base: Mood) -> Mood:
    """A mood in a palette's hues: every part keeps about its lightness and takes the palette's nearest colour."""
    if len(palette) < 2:
        return base
    return Mood(
        _towards(base.top, palette, 0.9),
        _towards(base.middle, palette, 0.8),
        _towards(base.horizon, palette, 0.7),
        _towards(base.light, palette, 0.35),
        _towards(base.land, palette, 0.7),
        base.dark,
    )


def _towards(colour: Colour, palette: Sequence[Colour], share: float) -> Colour:
    light, a, b = _lab(colour)
    known = [_lab(candidate) for candidate in palette]
    near = min(known, key=lambda one: (0.35 * (one[0] - light)) ** 2 + (one[1] - a) ** 2 + (one[2] - b) ** 2)
    strength = math.hypot(near[1], near[2])
    # A pale swatch still names a hue: it is brought near the strength the light of this hour has there.
    kinship = (near[1] * a + near[2] * b) / max(1e-6, strength * math.hypot(a, b)) if strength > 0.02 else 1.0
    share *= max(0.25, 0.5 + kinship / 2)
    boost = min(2.2, max(1.15, 0.85 * math.hypot(a, b) / strength)) if strength > 0.02 else 1.0
    return _rgb(light + (near[0] - light) * 0.25, a + (near[1] * boost - a) * share, b + (near[2] * boost - b) * share)


def _lab(colour: Colour) -> tuple[float, float, float]:
    """Oklab (Ottosson 2020) of an sRGB colour: lightness, green to red, blue to yellow."""
    red, green, blue = (_linear(value / 255) for value in colour)
    long = math.cbrt(0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue)
    middle = math.cbrt(0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue)
    short = math.cbrt(0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue)
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )


def _rgb(light: float, a: float, b: float) -> Colour:
    long = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (light - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        _byte(4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short),
        _byte(-1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short),
        _byte(-0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short),
    )


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def _byte(linear: float) -> int:
    value = min(1.0, max(0.0, linear))
    return round(255 * (value * 12.92 if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055))
