"""Pixels per aspect ratio and tier, as the real models draw them.

The Gemini 3.x image family's table is from ai.google.dev/gemini-api/docs/image-generation; 2K and 4K are exactly two
and four times 1K. The first Nano Banana (2.5-flash-image) has one size per ratio, a table of its own.
"""

from __future__ import annotations

import math

Size = tuple[int, int]

ONE_K: dict[str, Size] = {
    "1:1": (1024, 1024),
    "2:3": (848, 1264),
    "3:2": (1264, 848),
    "3:4": (896, 1200),
    "4:3": (1200, 896),
    "4:5": (928, 1152),
    "5:4": (1152, 928),
    "9:16": (768, 1376),
    "16:9": (1376, 768),
    "21:9": (1584, 672),
    "1:4": (512, 2048),
    "4:1": (2048, 512),
    "1:8": (384, 3072),
    "8:1": (3072, 384),
}
FIRST: dict[str, Size] = {
    "1:1": (1024, 1024),
    "2:3": (832, 1248),
    "3:2": (1248, 832),
    "3:4": (864, 1184),
    "4:3": (1184, 864),
    "4:5": (896, 1152),
    "5:4": (1152, 896),
    "9:16": (768, 1344),
    "16:9": (1344, 768),
    "21:9": (1536, 672),
}
TIERS = {"1K": 1, "2K": 2, "4K": 4}
TEN = frozenset(FIRST)
FOURTEEN = frozenset(ONE_K)


def pixels(ratio: str, tier: str) -> Size:
    """Width and height of a Gemini 3.x picture."""
    width, height = ONE_K[ratio]
    scale = TIERS[tier]
    return width * scale, height * scale


def nearest(size: Size, allowed: frozenset[str] = FOURTEEN) -> str:
    """The allowed ratio closest to a picture's own: what a model uses where none was asked for."""
    wanted = math.log(size[0] / size[1])

    def distance(ratio: str) -> tuple[float, str]:
        width, height = ONE_K[ratio]
        return abs(wanted - math.log(width / height)), ratio

    return min(allowed, key=distance)
