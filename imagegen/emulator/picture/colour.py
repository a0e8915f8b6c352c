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
    "night": Mood((16, 22, 56), (38, 52, 110), (98, 112, 172), (244, 240, 214), (46, 66, 96), dark=True),
    "dawn": Mood((104, 138, 204), (242, 182, 170), (255, 226, 178), (255, 244, 214), (118, 142, 110)),
    "day": Mood((62, 142, 214), (138, 200, 238), (228, 243, 246), (255, 246, 206), (98, 164, 92)),
    "dusk": Mood((52, 38, 98), (188, 82, 112), (255, 176, 104), (255, 222, 150), (106, 72, 92)),
    "storm": Mood((46, 58, 74), (90, 104, 120), (158, 168, 172), (214, 222, 226), (74, 92, 90), dark=True),
    "neon": Mood((20, 12, 52), (92, 24, 128), (255, 92, 168), (124, 240, 255), (44, 26, 82), dark=True),
    "mint": Mood((44, 120, 132), (124, 196, 182), (244, 240, 206), (255, 250, 224), (72, 138, 112)),
}


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """`one` with `share` (0 to 1) of `other` in it."""
    return (
        round(one[0] + (other[0] - one[0]) * share),
        round(one[1] + (other[1] - one[1]) * share),
        round(one[2] + (other[2] - one[2]) * share),
    )


def darker(colour: Colour, share: float = 0.3) -> Colour:
    """Towards a deep blue-black."""
    return mix(colour, (16, 16, 34), share)


def lighter(colour: Colour, share: float = 0.3) -> Colour:
    """Towards a warm white."""
    return mix(colour, (255, 250, 240), share)


def luminance(colour: Colour) -> float:
    """0 (black) to 255 (white)."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def vivid(random: Random) -> Colour:
    """Some clear, not too bright colour."""
    red, green, blue = colorsys.hsv_to_rgb(random.random(), random.uniform(0.55, 0.8), random.uniform(0.6, 0.88))
    return round(red * 255), round(green * 255), round(blue * 255)


def found(text: str) -> list[Colour]:
    """Hex codes and colour names in a text, in their order, each once."""
    marks = [(match.start(), ImageColor.getrgb(match.group())[:3]) for match in _HEX.finditer(text)]
    marks += [(match.start(), NAMED[match.group().lower()]) for match in _WORD.finditer(text)]
    return list(dict.fromkeys(colour for _, colour in sorted(marks)))


def distance(one: Colour, other: Colour) -> float:
    """How unlike two colours are, 0 to about 440."""
    return math.dist(one, other)


def clear_of(colour: Colour, random: Random) -> Colour:
    """A vivid colour that stands out against the given one."""
    return max((vivid(random) for _ in range(3)), key=lambda candidate: min(160.0, distance(candidate, colour)))


def mood_of(palette: Sequence[Colour], base: Mood) -> Mood:
    """A mood drawn towards a palette: every part takes the palette's nearest colour, the light stays light."""
    if len(palette) < 2:
        return base

    def towards(colour: Colour, share: float) -> Colour:
        return mix(colour, min(palette, key=lambda candidate: distance(candidate, colour)), share)

    return Mood(
        towards(base.top, 0.75),
        towards(base.middle, 0.6),
        towards(base.horizon, 0.6),
        towards(base.light, 0.3),
        towards(base.land, 0.75),
        base.dark,
    )
