"""What a prompt asks for, as far as this hand can draw it: somebody, somewhere, in some light and manner.

Words decide where they can; the rest is thrown by dice seeded with the prompt, so other words give another picture.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from random import Random

from imagegen.emulator.picture.colour import MOODS, NAMED, Colour, Mood, clear_of, found, mood_of, vivid

Words = Mapping[str, str]
HAIRS: tuple[Colour, ...] = (
    (58, 38, 30), (116, 68, 38), (222, 178, 92), (32, 30, 40), (170, 74, 38), (226, 226, 232)
)  # fmt: skip
SKINS: tuple[Colour, ...] = ((250, 220, 196), (238, 196, 160), (206, 152, 112), (156, 104, 72), (112, 74, 54))

SCENES: Words = {
    "city": "city street alley rooftop rooftops skyline downtown neon cyberpunk metropolis tokyo town market",
    "forest": "forest jungle woods grove tree trees swamp elf druid",
    "sea": "sea ocean harbor harbour beach island ship boat sailor pirate lighthouse coast lake river fisherman",
    "desert": "desert dune dunes sand canyon oasis nomad wasteland mesa",
    "snow": "snow snowy mountain mountains ice icy winter glacier arctic peak frozen",
    "space": "space planet spaceship astronaut galaxy alien moonbase mars orbit star-pilot starship cosmic",
    "room": "room library office kitchen interior indoors study workshop laboratory lab tavern cafe studio detective",
    "castle": "castle kingdom knight king queen prince princess ruins tower medieval dragon",
    "hills": "hill hills meadow field valley farm village garden spring countryside",
}
LIGHTS: Words = {
    "neon": "neon cyberpunk synthwave vaporwave",
    "storm": "storm stormy rain rainy overcast fog foggy thunder gloomy noir",
    "night": "night midnight moon moonlit moonlight starry dark lantern-lit",
    "dusk": "dusk sunset evening golden twilight ember autumn",
    "dawn": "dawn sunrise morning early pastel",
    "day": "day noon sunny daylight bright summer",
}
MANNERS: Words = {
    "noir": "noir monochrome black-and-white greyscale grayscale charcoal-drawing",
    "sepia": "sepia vintage daguerreotype antique",
    "pixel": "pixel pixelart pixel-art 8-bit 16-bit voxel",
    "ink": "comic comics manga ink inked cel cel-shaded anime cartoon graphic",
    "soft": "watercolor watercolour pastel gouache storybook dreamy gentle",
}
KINDS: Words = {
    "robot": "robot android automaton mech cyborg droid",
    "fox": "fox kitsune vixen",
    "cat": "cat kitten feline",
    "bear": "bear panda",
    "rabbit": "rabbit hare bunny",
}
HATS: Words = {
    "wizard": "wizard witch sorcerer sorceress mage warlock",
    "crown": "king queen prince princess crown emperor empress",
    "bubble": "astronaut cosmonaut spacesuit diver",
    "helmet": "knight helmet soldier warrior guard pilot paladin viking",
    "fedora": "detective fedora spy inspector gangster reporter cowboy",
    "cap": "cap captain sailor mechanic engineer boy driver baker",
    "hood": "hood hooded assassin ranger thief rogue monk nomad",
}
PROPS: Words = {
    "staff": "staff wizard witch sorcerer mage druid shepherd monk",
    "sword": "sword knight warrior samurai paladin blade swordswoman pirate soldier",
    "lantern": "lantern lamp miner keeper night-watch torch",
    "book": "book librarian scholar student teacher reader scientist",
    "umbrella": "umbrella parasol rain",
    "flag": "flag banner explorer pilot astronaut scout",
}
OUTFITS: Words = {
    "robe": "robe robes wizard witch mage monk sorcerer priest nomad toga",
    "dress": "dress gown skirt princess queen ballerina girl",
    "coat": "coat trenchcoat jacket detective scientist captain spy raincoat overcoat",
    "armour": "armor armour knight paladin soldier warrior mech",
    "tunic": "tunic ranger shirt farmer sailor boy elf",
}
HAIR: Words = {
    "long": "long-haired long-hair flowing princess girl woman she her queen braid braids witch",
    "spiky": "spiky wild punk messy anime",
    "bun": "bun librarian dancer ballerina grandmother",
    "bald": "bald monk shaved",
    "curly": "curly curls afro",
}
POSES: Words = {
    "wave": "waving wave greeting raised arms cheering celebrating victory triumphant",
    "run": "running run runs chasing leaping sprinting walking marching walks",
    "hips": "confident proud hips heroic stern defiant",
}
FACES: Words = {
    "smile": "smile smiling happy cheerful joyful kind laughing curious warm proud confident",
    "stern": "angry stern fierce determined grim serious defiant focused",
    "open": "surprised shocked amazed singing shouting scared astonished",
    "sad": "sad melancholy tired lonely weary worried",
}
_LABEL = re.compile(r"^(style|colou?r palette|palette|avoid|negative(?: prompt)?)\s*:\s*(.*)$", re.IGNORECASE)
_NAMED = re.compile(
    r"^([A-Z][\w'\u2019.-]*(?: (?:the |of |de |von |van )?[A-Z0-9][\w'\u2019.-]*){0,3})\s*(?:[:,—]|\bis\b|\bthe\b)"
)
_CALLED = re.compile(r"\b(?:named|called|[Cc]haracter:|[Nn]ame:)\s+([A-Z][\w'\u2019-]*(?: [A-Z][\w'\u2019-]*){0,2})")
_NOT_NAMES = frozenset(
    {"a", "an", "the", "pose", "expression", "setting", "keep", "scene", "character", "name", "in", "on", "at", "with"}
)
_CAPED = frozenset({"cape", "cloak", "hero", "wizard", "knight", "prince", "king", "traveler", "traveller"})
_CLOTHES = (
    "cape|cloak|coat|raincoat|overcoat|trenchcoat|jacket|dress|gown|robes?|tunic|armou?r|shirt|blouse|vest|apron|scarf|"
    "uniform|outfit|sweater|hoodie|suit|smock|oilskin|cap|hat|hood|beret"
)
_WORN = re.compile(rf"\b({'|'.join(NAMED)})[\w\s-]{{0,14}}?\b({_CLOTHES})\b", re.IGNORECASE)
_HAIRED = re.compile(
    rf"\b({'|'.join(NAMED)})[\s-]+(?:\w+[\s-]+)?(?:hair|haired|braids?|curls|fur|furred)\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Figure:
    """Somebody. `cape` None means none is worn, `hat_colour` None that the words name no colour for it."""

    kind: str
    hat: str | None
    prop: str | None
    outfit: str
    hair: str
    pose: str
    face: str
    skin: Colour
    hair_colour: Colour
    cloth: Colour
    trim: Colour
    cape: Colour | None
    hat_colour: Colour | None
    beard: bool
    glasses: bool


@dataclass(frozen=True)
class Brief:
    """A prompt, understood."""

    name: str | None
    caption: str
    scene: str
    light: str
    mood: Mood
    manner: str | None
    figure: Figure
    accent: Colour
    rain: bool


def dice(prompt: str, seed: int, purpose: str = "") -> Random:
    """Dice that fall the same way for the same words, seed and purpose."""
    return Random(int.from_bytes(sha256(f"{seed}\0{purpose}\0{prompt}".encode()).digest()[:8]))


def read(prompt: str, seed: int = 0) -> Brief:
    """Understands a prompt."""
    wanted, style, palette_words = _sections(prompt)
    words = _tokens(f"{wanted} {style}")
    random = dice(prompt, seed)
    palette = found(palette_words) or found(style)
    plain = random.choice(("day", "dawn", "dusk", "night", "mint"))
    scene = _pick(SCENES, words) or random.choice(("hills", "sea", "forest", "snow", "castle", "city"))
    light = _pick(LIGHTS, words) or ("night" if scene == "space" else plain)
    name = _name(wanted)
    figure = _figure(wanted, words, random, palette)
    rain = bool(words & {"rain", "rainy", "raining", "storm", "stormy", "downpour"})
    mood = mood_of(palette, MOODS[light])
    return Brief(name, _caption(wanted, name), scene, light, mood, _pick(MANNERS, words), figure, figure.cloth, rain)


def _figure(text: str, words: frozenset[str], random: Random, palette: list[Colour]) -> Figure:
    worn = {match[2].lower(): NAMED[match[1].lower()] for match in _WORN.finditer(text)}
    hats = [worn.pop(name) for name in ("cap", "hat", "hood", "beret") if name in worn]
    cape = worn.pop("cape", None) or worn.pop("cloak", None)
    accents = palette[2:] or palette
    skin = random.choice(SKINS)
    cloth = next(iter(worn.values()), None) or (random.choice(accents) if accents else clear_of(skin, random))
    haired = _HAIRED.search(text)
    kind = _pick(KINDS, words) or "human"
    furs = {"fox": NAMED["ginger"], "bear": NAMED["brown"], "robot": NAMED["silver"], "rabbit": (236, 226, 214)}
    natural = random.choice(HAIRS)
    hair_colour = NAMED[haired[1].lower()] if haired else furs.get(kind, natural)
    if cape is None and words & _CAPED:
        cape = vivid(random)
    return Figure(
        kind=kind,
        hat=_pick(HATS, words),
        prop=_pick(PROPS, words),
        outfit=_pick(OUTFITS, words) or random.choice(("tunic", "coat", "dress", "robe")),
        hair=_pick(HAIR, words) or random.choice(("short", "long", "spiky", "bun", "curly")),
        pose=_pick(POSES, words) or random.choice(("stand", "wave", "hips")),
        face=_pick(FACES, words) or random.choice(("smile", "smile", "stern")),
        skin=skin,
        hair_colour=hair_colour,
        cloth=cloth,
        trim=vivid(random),
        cape=cape,
        hat_colour=hats[0] if hats else None,
        beard=bool(words & {"beard", "bearded", "grandfather", "dwarf"}),
        glasses=bool(words & {"glasses", "spectacles", "goggles", "librarian", "scientist"}),
    )


def _sections(prompt: str) -> tuple[str, str, str]:
    """What is wanted, its style, its palette; what is to be avoided is left out."""
    wanted: list[str] = []
    style: list[str] = []
    palette: list[str] = []
    for line in prompt.splitlines():
        match = _LABEL.match(line.strip())
        if match is None:
            wanted.append(line.strip())
        elif "palette" in match[1].lower():
            palette.append(match[2])
        elif match[1].lower() == "style":
            style.append(match[2])
    return "\n".join(line for line in wanted if line), " ".join(style), " ".join(palette)


def _name(wanted: str) -> str | None:
    called = _CALLED.search(wanted)
    if called:
        return called[1]
    for line in wanted.splitlines():
        match = _NAMED.match(line)
        if match and match[1].split()[0].lower() not in _NOT_NAMES and len(match[1]) <= 32:
            return match[1]
    return None


def _caption(wanted: str, name: str | None) -> str:
    """The words for the card: from the line with the name on, the name itself not twice."""
    lines = wanted.splitlines()
    start = next((row for row, line in enumerate(lines) if name and line.startswith(name)), 0)
    text = " ".join(line if line.endswith((".", "!", "?", ",", ";", ":")) else f"{line}." for line in lines[start:])
    if name and text.startswith(name) and not text[len(name) :].startswith(" is "):
        text = text[len(name) :].lstrip(" :,—-")
    return text[:1].upper() + text[1:]


def _tokens(text: str) -> frozenset[str]:
    words = re.findall(r"[a-z0-9][a-z0-9-]*", text.lower())
    return frozenset(words) | {part for word in words if "-" in word for part in word.split("-")}


def _pick(table: Words, words: Iterable[str]) -> str | None:
    """The entry most of whose words are there; the earlier one at a draw."""
    present = frozenset(words)
    scores = {name: len(present & frozenset(listed.split())) for name, listed in table.items()}
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] else None
