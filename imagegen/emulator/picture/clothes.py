"""Which colours somebody wears: the character's own, in the order the words give them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

from imagegen.emulator.picture.colour import NAMED, Colour, clear_of, darker, found, lightness, mix, vivid
from imagegen.emulator.picture.parts import Parts, tokens
from imagegen.emulator.picture.words import BOOTS, CAPED, OLD, TRIMS, TROUSERS

HAIRS: tuple[Colour, ...] = (
    (74, 44, 34), (128, 72, 38), (232, 186, 92), (44, 38, 56), (188, 82, 38), (232, 230, 236)
)  # fmt: skip
SKINS: dict[str, Colour] = {
    "pale fair ivory porcelain": (252, 210, 180),
    "dark deep black": (122, 76, 54),
    "light tan olive": (230, 180, 138),
    "warm brown": (178, 112, 74),
    "rosy": (248, 202, 176),
}
FURS: dict[str, Colour] = {
    "fox": (214, 104, 40), "bear": (142, 92, 58), "robot": NAMED["silver"], "rabbit": (240, 228, 214),
    "hedgehog": (132, 82, 48), "whale": (96, 126, 200), "cat": (224, 148, 74),
}  # fmt: skip
_CLOTHES = (
    "cape|cloak|coat|raincoat|overcoat|trenchcoat|jacket|dress|gown|robes?|tunic|armou?r|shirt|blouse|vest|apron|scarf|"
    "uniform|outfit|sweater|hoodie|suit|smock|oilskin|cap|hat|hood|beret"
)
_WORN = re.compile(rf"\b({'|'.join(NAMED)})[\w\s-]{{0,14}}?\b({_CLOTHES})\b", re.IGNORECASE)
_HAIRED = re.compile(
    rf"\b({'|'.join(NAMED)})[\s-]+(?:\w+[\s-]+)?(?:hair|haired|braids?|curls|coils|fur|furred|beard|spines)\b",
    re.IGNORECASE,
)
_BODY = re.compile(
    r"\b(?:[\w-]{1,20}\s+){1,2}(?:skin|hair|eyes|braids|curls|coils|beard|fur|cape|cloak|cap|hat|hood)\b"
)
_OLD = re.compile(r"\b[Oo]ld (?:man|woman|lady|[A-Z]\w+)")
_SKINNED = re.compile(r"\b((?:[a-z-]{1,20}\s+){1,2})skin\b", re.IGNORECASE)


@dataclass(frozen=True)
class Colours:
    """What a figure is painted in. `cape` None means none is worn, `hat` None that the words name no colour for it."""

    skin: Colour
    hair: Colour
    cloth: Colour
    trim: Colour
    third: Colour
    boots: Colour
    trousers: Colour
    cape: Colour | None
    hat: Colour | None


def dressed(parts: Parts, kind: str, palette: list[Colour], random: Random) -> Colours:
    """The colours of a figure. Dice fall as often whatever the words say, so that one word more changes one thing."""
    thrown = (random.choice(list(SKINS.values())), random.choice(HAIRS), vivid(random), random.choice((0, 1)))
    skin = _skin(parts.wanted) or thrown[0]
    worn = {match[2].lower(): NAMED[match[1].lower()] for match in _WORN.finditer(parts.wanted)}
    hats = [worn.pop(name) for name in ("cap", "hat", "hood", "beret") if name in worn]
    cape = worn.pop("cape", None) or worn.pop("cloak", None)
    hair = _hair(parts, kind, thrown[1])
    lead, second, third = _own(parts, worn, hair if kind not in ("human", "robot") else None)
    spare = [colour for colour in palette[2:] if 0.35 < lightness(colour) < 0.85] or [clear_of(skin, random)]
    cloth = lead or spare[thrown[3] % len(spare)]
    outfit = parts.fields.get("outfit", parts.wanted)
    trim = _piece(outfit, TRIMS) or second or _beside(cloth, thrown[2])
    trousers = darker(mix(cloth, (70, 72, 110), 0.7), 0.2)
    if cape is None and tokens(parts.wanted) & CAPED:
        cape = vivid(random)
    return Colours(
        skin=skin,
        hair=hair,
        cloth=cloth,
        trim=trim,
        third=third or trim,
        boots=_piece(outfit, BOOTS) or darker(mix(trim, (120, 74, 48), 0.7), 0.25),
        trousers=_piece(outfit, TROUSERS) or trousers,
        cape=cape,
        hat=hats[0] if hats else None,
    )


def _own(
    parts: Parts, worn: dict[str, Colour], fur: Colour | None
) -> tuple[Colour | None, Colour | None, Colour | None]:
    """The lead colour, the accent and a third: of the character's palette, else of what is worn, else of the look."""
    own = found(parts.fields.get("palette", "")) or found(parts.fields.get("outfit", ""))
    if not own:
        look = found(_BODY.sub("", parts.look or parts.wanted))
        own = list(dict.fromkeys([*worn.values(), *(colour for colour in look if colour != fur)]))
    first, second, third, *_ = [*own, None, None, None]
    return first, second, third


def _piece(outfit: str, nouns: str) -> Colour | None:
    """The colour of a piece of clothing: the last one said before it, in the same clause."""
    for clause in re.split(r"[,;.]", outfit):
        match = re.search(rf"\b({'|'.join(nouns.split())})\b", clause, re.IGNORECASE)
        colours = found(clause[: match.start()]) if match else []
        if colours:
            return colours[-1]
    return None


def _hair(parts: Parts, kind: str, thrown: Colour) -> Colour:
    said = _HAIRED.search(parts.wanted)
    field = found(re.split(r"\b(?:tied|with|under)\b", parts.fields.get("hair", ""))[0]) if kind == "human" else []
    if field or said:
        colour = field[0] if field else NAMED[str(said and said[1]).lower()]
        return darker(colour, 0.35) if "dark" in tokens(parts.fields.get("hair", "")) else colour
    if kind == "human":
        return (236, 232, 232) if tokens(parts.wanted) & OLD or _OLD.search(parts.wanted) else thrown
    named = re.search(rf"\b({'|'.join(NAMED)})\s+(?:\w+\s+)?{kind}\b", parts.wanted, re.IGNORECASE)
    fur = NAMED[named[1].lower()] if named else FURS[kind]
    return mix(fur, FURS[kind], 0.35) if named and named[1].lower() == "red" else fur


def _skin(text: str) -> Colour | None:
    match = _SKINNED.search(text)
    if match is None:
        return None
    words = tokens(match[1])
    return next((colour for listed, colour in SKINS.items() if words & set(listed.split())), None)


def _beside(cloth: Colour, thrown: Colour) -> Colour:
    """An accent that goes with a cloth and stands out from it."""
    warm = cloth[0] > cloth[2]
    partner: Colour = (40, 110, 150) if warm else (250, 190, 84)
    return mix(partner, thrown, 0.35)
