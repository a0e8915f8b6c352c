"""What a prompt asks for, as far as this hand can draw it: somebody, somewhere, in some light and manner.

Words decide where they can; the rest is thrown by dice seeded with the prompt, so other words give another picture.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from random import Random

from imagegen.emulator.picture.clothes import Colours, dressed
from imagegen.emulator.picture.colour import MOODS, Colour, Mood, found, mood_of
from imagegen.emulator.picture.parts import Parts, take_apart, tokens
from imagegen.emulator.picture.words import (
    BEARDED,
    BREADTHS,
    FACES,
    HAIR,
    HATS,
    INDOORS,
    KINDS,
    LENSED,
    LIGHTS,
    MANNERS,
    OUTFITS,
    POSES,
    PROPS,
    SCENES,
    SIGHTED,
    STATURES,
    WET,
    pick,
    weighed,
)

STATURE = {"tall": 1.3, "small": 0.8, None: 1.0}
"""How long legs and trunk are beside a head, by the word."""
BREADTH = {"narrow": 0.9, "round": 1.1, None: 1.0}
_NO_HAT = re.compile(r"\bbald\b[\w\s-]{0,20}\bcrown\b|\bcrown of (?:the|his|her) head\b", re.IGNORECASE)
_FIRST_FIELD = re.compile(r";\s*[\w -]{1,20}:")
_FACED = re.compile(r"\b\w{1,20}\s+(?:\w{1,20}\s+)?(?:face|faced|eyes|hair|braids|beard)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Figure:
    """Somebody. `outfit` "fur" means an animal as nature dressed it; `eyewear` is glasses, monocle or None."""

    kind: str
    hat: str | None
    prop: str | None
    outfit: str
    hair: str
    pose: str
    face: str
    colours: Colours
    stature: float
    breadth: float
    beard: bool
    eyewear: str | None
    freckles: bool
    striped: bool

    @property
    def cloth(self) -> Colour:
        """The lead colour."""
        return self.colours.cloth

    @property
    def trim(self) -> Colour:
        """The accent."""
        return self.colours.trim


@dataclass(frozen=True)
class Brief:
    """A prompt, understood. `words` are those that say where it is."""

    name: str | None
    caption: str
    scene: str
    light: str
    mood: Mood
    manner: str | None
    figure: Figure
    accent: Colour
    rain: bool
    words: frozenset[str]


def dice(prompt: str, seed: int, purpose: str = "") -> Random:
    """Dice that fall the same way for the same words, seed and purpose."""
    return Random(int.from_bytes(sha256(f"{seed}\0{purpose}\0{prompt}".encode()).digest()[:8]))


def read(prompt: str, seed: int = 0) -> Brief:
    """Understands a prompt."""
    parts = take_apart(prompt)
    random = dice(prompt, seed)
    place, look, style = tokens(parts.place), tokens(parts.look), tokens(parts.style)
    thrown_scene = random.choice(("hills", "sea", "forest", "snow", "castle", "city"))
    thrown_light = random.choice(("day", "dawn", "dusk", "day", "mint"))
    scene = "room" if place & INDOORS else weighed(SCENES, ((place, 3), (look, 1), (style, 1))) or thrown_scene
    light = weighed(LIGHTS, ((place, 2), (style, 2), (look - {"dark"}, 1))) or (
        "night" if scene == "space" else thrown_light
    )
    palette = found(parts.palette) or found(parts.style)
    figure = _figure(parts, random, palette)
    return Brief(
        name=parts.name,
        caption=parts.caption,
        scene=scene,
        light=light,
        mood=mood_of(palette, MOODS[light]),
        manner=pick(MANNERS, tokens(parts.wanted) | style),
        figure=figure,
        accent=figure.colours.cloth,
        rain=bool(WET & (place | look | style)),
        words=place | look,
    )


def _figure(parts: Parts, random: Random, palette: list[Colour]) -> Figure:
    field = parts.fields
    words = tokens(_NO_HAT.sub("bald", parts.look if "outfit" in field else parts.wanted))
    held = tokens(" ".join((field.get("accessories", ""), field.get("pose", ""))))
    kind = weighed(KINDS, ((words, 1), (tokens(field.get("silhouette", "")), 1))) or "human"
    shapes = tokens(_FACED.sub("", _FIRST_FIELD.split(parts.look)[0] or parts.wanted))
    outfit = weighed(OUTFITS, ((tokens(field.get("outfit", "")), 3), (words, 1)))
    bare = kind not in ("human", "robot") and outfit is None
    thrown = (
        random.choice(("tunic", "coat", "dress", "robe")),
        random.choice(("short", "long", "spiky", "bun", "curly")),
        random.choice(("stand", "wave", "hips")),
        random.choice(("smile", "smile", "grin")),
    )
    return Figure(
        kind=kind,
        hat=weighed(HATS, ((words - {"her"}, 1), (tokens(field.get("outfit", "")), 1))),
        prop=weighed(PROPS, ((held, 3), (words, 1))),
        outfit="fur" if bare else outfit or thrown[0],
        hair=weighed(HAIR, ((tokens(field.get("hair", "")), 4), (words, 1))) or thrown[1],
        pose=pick(POSES, tokens(field["pose"]) if "pose" in field else words) or thrown[2],
        face=pick(FACES, tokens(field["expression"]) if "expression" in field else words) or thrown[3],
        colours=dressed(parts, kind, palette, random),
        stature=STATURE[pick(STATURES, shapes)],
        breadth=BREADTH[pick(BREADTHS, shapes)],
        beard=bool(words & BEARDED),
        eyewear="glasses" if words & SIGHTED else "monocle" if (words | held) & LENSED else None,
        freckles=bool(words & {"freckled", "freckles"}),
        striped="striped" in words,
    )
