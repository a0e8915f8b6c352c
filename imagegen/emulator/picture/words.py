"""The words this hand understands. Where several entries of a table fit, the one most of whose words are there wins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Words = Mapping[str, str]

SCENES: Words = {
    "city": "city street alley rooftop rooftops skyline downtown neon cyberpunk metropolis tokyo town market tram "
    "arcade canal subway",
    "forest": "forest jungle woods grove tree trees swamp elf druid",
    "sea": "sea ocean harbor harbour beach island ship boat sailor pirate lighthouse coast lake river fisherman cove "
    "tide pier shore whale",
    "desert": "desert dune dunes sand canyon oasis nomad wasteland mesa",
    "snow": "snow snowy mountain mountains ice icy winter glacier arctic peak frozen",
    "space": "space planet spaceship astronaut galaxy alien moonbase mars orbit star-pilot starship cosmic",
    "room": "room library office kitchen interior indoors study workshop workbench laboratory lab tavern cafe studio "
    "detective attic porch",
    "castle": "castle kingdom knight king queen prince princess ruins tower medieval dragon",
    "hills": "hill hills meadow field valley farm village garden spring countryside",
}
INDOORS = frozenset({"inside", "interior", "indoors", "workbench"})
"""Words that mean a room whatever else is named, such as the lighthouse one is in."""

LIGHTS: Words = {
    "neon": "neon cyberpunk synthwave vaporwave electric halogen",
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
    "ink": "comic comics manga ink inked cel cel-shaded anime cartoon graphic linocut",
    "soft": "watercolor watercolour pastel gouache storybook dreamy gentle",
}
KINDS: Words = {
    "hedgehog": "hedgehog hedgehogs porcupine",
    "whale": "whale whales orca narwhal",
    "robot": "robot android automaton mech cyborg droid",
    "fox": "fox kitsune vixen wolf",
    "cat": "cat kitten feline tiger",
    "bear": "bear panda badger mouse",
    "rabbit": "rabbit hare bunny",
}
HATS: Words = {
    "wizard": "wizard witch sorcerer sorceress mage warlock",
    "crown": "king queen prince princess crown crowned emperor empress",
    "bubble": "astronaut cosmonaut spacesuit diver",
    "helmet": "knight helmet soldier warrior guard pilot paladin viking",
    "fedora": "detective fedora spy inspector gangster reporter cowboy hat",
    "cap": "cap captain sailor mechanic engineer boy driver baker beret beanie bonnet",
    "hood": "hood hooded assassin ranger thief rogue monk nomad",
}
PROPS: Words = {
    "staff": "staff wizard witch sorcerer mage druid shepherd monk",
    "sword": "sword knight warrior samurai paladin blade swordswoman pirate soldier",
    "lantern": "lantern lamp miner keeper night-watch torch",
    "spyglass": "spyglass telescope binoculars",
    "watch": "pocket-watch watch stopwatch",
    "book": "book librarian scholar student teacher reader scientist",
    "umbrella": "umbrella parasol rain",
    "flag": "flag banner explorer pilot astronaut scout",
}
OUTFITS: Words = {
    "robe": "robe robes wizard witch mage monk sorcerer priest nomad toga",
    "dress": "dress gown skirt princess queen ballerina girl",
    "coat": "coat trenchcoat jacket windbreaker detective scientist captain spy raincoat overcoat oilskin",
    "armour": "armor armour knight paladin soldier warrior mech",
    "tunic": "tunic ranger shirt farmer sailor boy elf pullover sweater jersey jumper cardigan waistcoat apron hoodie",
}
HAIR: Words = {
    "braids": "braid braids plait plaits pigtails",
    "long": "long-haired long-hair flowing princess girl woman she her queen witch",
    "spiky": "spiky wild punk messy anime",
    "bun": "bun librarian dancer ballerina grandmother",
    "bald": "bald monk shaved",
    "curly": "curly curls coils afro",
    "short": "short cropped fringe",
}
POSES: Words = {
    "wave": "waving wave greeting raised arms cheering celebrating victory triumphant shading",
    "offer": "held arm's-length holding offering reaching giving",
    "run": "running run runs chasing leaping sprinting walking marching walks",
    "hips": "confident proud hips heroic stern defiant",
}
FACES: Words = {
    "smile": "smile smiling happy cheerful kind laughing curious warm proud confident amused patient grin gap",
    "grin": "delighted delight joyful laughing shout beaming gleeful",
    "stern": "angry stern fierce determined grim serious defiant focused concentration watchful",
    "open": "surprised shocked amazed singing shouting scared astonished",
    "sad": "sad melancholy tired lonely weary worried",
}
STATURES: Words = {
    "tall": "tall towering lanky giant stooped broad-shouldered",
    "small": "small little tiny short knee-high child kid toddler petite",
}
BREADTHS: Words = {"narrow": "narrow slender thin lean lanky slim", "round": "round stout plump chubby burly stocky"}
BEARDED = frozenset({"beard", "bearded", "grandfather", "dwarf"})
OLD = frozenset({"grandfather", "grandmother", "elderly", "seventies", "eighties"})
SIGHTED = frozenset({"glasses", "spectacles", "goggles", "librarian", "scientist"})
LENSED = frozenset({"monocle", "loupe", "magnifying"})
CAPED = frozenset({"cape", "cloak", "hero", "wizard", "knight", "prince", "king", "traveler", "traveller"})
WET = frozenset({"rain", "rainy", "raining", "storm", "stormy", "downpour"})
BOOTS = "boots shoes wellingtons slippers sandals"
TROUSERS = "trousers breeches jeans leggings pants"
TRIMS = "scarf neckerchief bandana collar lining straps sash shawl"


def pick(table: Words, words: Iterable[str]) -> str | None:
    """The entry most of whose words are there; the earlier one at a draw."""
    return weighed(table, ((words, 1),))


def weighed(table: Words, texts: Iterable[tuple[Iterable[str], int]]) -> str | None:
    """The same over several texts, each word counting as much as its text weighs."""
    known = [(frozenset(words), weight) for words, weight in texts]
    scores = {
        name: sum(len(words & frozenset(listed.split())) * weight for words, weight in known)
        for name, listed in table.items()
    }
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] else None
