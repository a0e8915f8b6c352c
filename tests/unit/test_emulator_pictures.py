"""The emulator's pictures: exact, repeatable, told apart by their words."""

from __future__ import annotations

import io
from itertools import combinations

import pytest
from PIL import Image, ImageChops, ImageStat

from imagegen.emulator import sizes
from imagegen.emulator.picture.brief import read
from imagegen.emulator.picture.colour import MOODS, NAMED, distance, found, lightness, mood_of
from imagegen.emulator.picture.sitting import Sitting
from imagegen.emulator.picture.studio import Studio
from imagegen.emulator.references import NotAPicture, References

MARA = (
    "A reference picture of one character.\nMara: a detective; outfit: grey coat.\nin a rainy city at night\n\n"
    "Style: noir.\nAvoid: forest."
)
BRIEFS = (
    MARA,
    "Pip: a curious fox explorer in sunny meadow hills, red scarf",
    "Queen Isolde, a proud queen in a crimson gown before her castle at sunset",
    "Nova, an astronaut waving on mars under a starry sky",
)


def drawn(sitting: Sitting) -> Image.Image:
    """A decoded picture."""
    with Image.open(io.BytesIO(Studio().picture(sitting))) as picture:
        picture.load()
        return picture.convert("RGB")


@pytest.mark.parametrize("format", ["png", "jpeg"])
@pytest.mark.parametrize("plain", [False, True])
def test_the_same_sitting_gives_the_same_bytes(format: str, plain: bool) -> None:
    """Two studios draw identical bytes for equal words, seed and size, and other bytes for other words or seeds."""
    sitting = Sitting("a fox", 320, 180, format)
    assert Studio(plain=plain).picture(sitting) == Studio(plain=plain).picture(sitting)
    others = {Studio(plain=plain).picture(Sitting(words, 320, 180, format, seed)) for words, seed in
              (("a fox", 0), ("a fox", 1), ("a bear", 0))}  # fmt: skip
    assert len(others) == 3


def test_four_briefs_look_different() -> None:
    """Every two of four briefs differ clearly in the picture above the card, not only in their caption."""
    pictures = [drawn(Sitting(prompt, 480, 270)).crop((0, 0, 480, 190)) for prompt in BRIEFS]
    for one, other in combinations(pictures, 2):
        assert sum(ImageStat.Stat(ImageChops.difference(one, other)).mean) > 60


@pytest.mark.parametrize("ratio", sizes.ONE_K)
@pytest.mark.parametrize("plain", [False, True])
def test_every_ratio_has_its_exact_pixels(ratio: str, plain: bool) -> None:
    """A picture is exactly as large as asked, in every shape from 1:8 to 8:1, as JPEG and PNG."""
    size = sizes.pixels(ratio, "1K")
    small = (size[0] // 4, size[1] // 4)
    for format in ("jpeg", "png"):
        with Image.open(io.BytesIO(Studio(plain=plain).picture(Sitting("a ship at sea", *small, format)))) as picture:
            picture.load()
            assert (picture.size, picture.format) == (small, format.upper())


@pytest.mark.parametrize("tier", ["2K", "4K"])
def test_large_tiers_have_their_exact_pixels(tier: str) -> None:
    """2K and 4K pictures are painted at another size and still come out exact."""
    size = sizes.pixels("16:9", tier)
    assert drawn(Sitting("a ship at sea", *size)).size == size


@pytest.mark.parametrize("scene", ["city", "forest", "sea", "desert", "snow", "space", "room", "castle", "hills"])
@pytest.mark.parametrize("manner", ["noir", "sepia", "pixel", "ink", "watercolour", ""])
def test_every_place_and_manner_can_be_drawn(scene: str, manner: str) -> None:
    """Each word for a place leads to that place, in each manner."""
    assert read(f"somebody, {scene}").scene == scene
    assert drawn(Sitting(f"a robot with a sword, {scene}, {manner}", 160, 90)).size == (160, 90)


@pytest.mark.parametrize("prompt", ["", " ", "\n\n", "😀", "日本語", "w" * 20_000, "a b " * 5000, "#fff #000", "{}%s"])
def test_strange_words_still_give_a_picture(prompt: str) -> None:
    """No prompt breaks the hand that draws."""
    assert drawn(Sitting(prompt, 120, 68)).size == (120, 68)


def test_a_brief_is_understood() -> None:
    """Name, caption, place, light, manner and clothes come from the words; what is to be avoided does not."""
    brief = read(MARA)
    assert (brief.name, brief.scene, brief.manner, brief.rain) == ("Mara", "city", "noir", True)
    assert brief.caption.startswith("A detective; outfit: grey coat.")
    assert (brief.figure.hat, brief.figure.cloth) == ("fedora", NAMED["grey"])


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("Queen Isolde, a proud queen", "Queen Isolde"),
        ("Unit 7: a robot", "Unit 7"),
        ("Lena is a librarian", "Lena"),
        ("a knight named Sir Bors at dawn", "Sir Bors"),
        ("a quiet harbour", None),
        ("The sea, at night", None),
        ("Pose: running", None),
    ],
)
def test_a_name_is_found_where_there_is_one(prompt: str, name: str | None) -> None:
    """Names lead a line or follow 'named'; labels and ordinary first words are none."""
    assert read(prompt).name == name


KEEPER = (
    "A reference picture of one character: a single figure, clearly lit and fully in frame.\n"
    "Grandfather Pell: The last keeper; very tall, narrow, pale skin; outfit: a brick red #A83A2A pullover darned in "
    "cream #F3E6CB, charcoal #3B3A3C trousers; hair: a white beard, a bald freckled crown under a knitted cap; "
    "accessories: half-moon spectacles; palette: lead brick red #A83A2A, cream #F3E6CB.\n"
    "Pose: a lit lamp held out at arm's length. Setting: inside the lighthouse, dusk blue in a window.\n\n"
    "Style: loose watercolour.\nColour palette: paper cream #FBF4E4, tide blue #4F8FA8, lamp gold #F7C65B.\n"
    "Avoid: a crown, night."
)


def test_a_whole_brief_is_followed() -> None:
    """A character's own palette dresses it, its words shape it, its setting says where it is."""
    brief = read(KEEPER)
    one = brief.figure
    assert (one.cloth, one.trim, one.colours.trousers) == ((168, 58, 42), (243, 230, 203), (59, 58, 60))
    assert (brief.scene, brief.light, brief.manner) == ("room", "dusk", "soft")
    assert (one.hat, one.hair, one.beard, one.eyewear) == ("cap", "bald", True, "glasses")
    assert (one.prop, one.pose, one.outfit) == ("lantern", "offer", "tunic")
    assert one.stature > 1 > one.breadth
    assert "#" not in brief.caption


def test_a_crown_is_worn_only_where_it_is_meant() -> None:
    """The crown of a head is no headgear, a king's is."""
    assert read("Old Sam: a man with a bald brown crown").figure.hat is None
    assert read("Sam: a man with a golden crown").figure.hat == "crown"
    assert read("King Sam").figure.hat == "crown"


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [
        ("a red fox in the snow", "fox"),
        ("Bramble: a hedgehog in a green waistcoat with a pocket watch", "hedgehog"),
        ("a hedgehog holding a lantern", "hedgehog"),
        ("Ondine: a whale calf made of mist; palette: violet #7C5BB5, teal #1E9C97", "whale"),
        ("a girl with two braids and a spyglass", "human"),
    ],
)
def test_bodies_follow_the_words(prompt: str, kind: str) -> None:
    """Animals have the bodies of their kind, and every body can be drawn in every shape of picture."""
    assert read(prompt).figure.kind == kind
    for size in ((120, 160), (160, 90), (320, 40), (40, 320)):
        assert drawn(Sitting(prompt, *size)).size == size


@pytest.mark.parametrize("light", sorted(MOODS))
def test_a_palette_tints_the_light_and_leaves_it_its_contrast(light: str) -> None:
    """A mood in a style's colours is another one, and its sky still runs from deep to light."""
    base = MOODS[light]
    tinted = mood_of(found("#FBF4E4, #5A4030, #4F8FA8, #F7C65B"), base)
    assert max(distance(base.top, tinted.top), distance(base.horizon, tinted.horizon)) > 8
    assert lightness(tinted.horizon) - lightness(tinted.top) > 0.12
    assert mood_of(found("teal"), base) == base


def test_colours_are_found_as_codes_and_words() -> None:
    """Hex codes and colour names in their order, each once."""
    assert found("#2a9d8f, teal, #2A9D8F and #fff") == [(42, 157, 143), NAMED["teal"], (255, 255, 255)]
    assert found("brick red #A83A2A and deep blue-grey #8B9DB0") == [(168, 58, 42), (139, 157, 176)]


def test_a_reference_shows_in_the_picture() -> None:
    """A picture sent along is pinned into the new one and changes its bytes."""
    out = io.BytesIO()
    Image.new("RGB", (90, 60), (255, 0, 255)).save(out, "PNG")
    reference = References().look_at(out.getvalue())
    assert (reference.width, reference.height) == (90, 60)
    picture = drawn(Sitting("a fox", 480, 270, "png", references=(reference,)))
    counted = picture.getcolors(480 * 270) or []
    assert sum(count for count, colour in counted if colour == (255, 0, 255)) > 1000


def test_a_broken_reference_is_no_picture() -> None:
    """Half a file, a text and an accepted type by name only are refused."""
    out = io.BytesIO()
    Image.effect_noise((90, 60), 50).save(out, "PNG")
    gif = io.BytesIO()
    Image.new("RGB", (9, 9)).save(gif, "GIF")
    for data in (out.getvalue()[:900], b"text", b"", gif.getvalue()):
        with pytest.raises(NotAPicture):
            References().look_at(data)


def test_memory_is_bounded() -> None:
    """A studio forgets the oldest pictures beyond its bound and draws them again, alike."""
    studio = Studio(memory=30_000)
    sitting = Sitting("first", 160, 90)
    first = studio.picture(sitting)
    for number in range(20):
        studio.picture(Sitting(f"fox {number}", 160, 90))
    assert studio.remembered <= 30_000
    assert studio.picture(sitting) == first
