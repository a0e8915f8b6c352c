"""The demo's order and its contact sheet; the demo itself is run by the acceptance tests."""

from __future__ import annotations

from decimal import Decimal
from io import BytesIO

from PIL import Image, ImageChops

from imagegen.cli.contact_sheet import FRAME, PAPER, WIDTH, Plate, contact_sheet
from imagegen.cli.demo import Books, footer, order


def picture(colour: str, size: tuple[int, int] = (90, 120)) -> bytes:
    out = BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


def test_the_demo_orders_four_fresh_characters() -> None:
    """The shipped batch is valid, has four members of one style, and always buys its pictures."""
    members = order().members()
    assert len(members) == 4
    assert all(one.fresh and one.style is not None and one.character is not None for one in members)


def test_the_sheet_shows_every_picture() -> None:
    """Four plates stand in two rows, each in its own colour on its own frame, with paper between them."""
    colours = ("red", "lime", "blue", "yellow")
    plates = [Plate(picture(one), f"{one} " * 30, "$0.04") for one in colours]
    with Image.open(BytesIO(contact_sheet("Title", "sub", plates, "4 pictures"))) as opened:
        sheet = opened.convert("RGB")
    assert sheet.width == WIDTH
    found = {colour for _, colour in sheet.getcolors(1 << 24) or []}
    assert {(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), PAPER, FRAME} <= found
    assert sheet.getpixel((WIDTH // 4, sheet.height // 3)) == (255, 0, 0)
    assert sheet.getpixel((WIDTH * 3 // 4, sheet.height * 2 // 3)) == (255, 255, 0)


def test_pictures_of_other_shapes_keep_them() -> None:
    """One picture alone, or a wide beside a tall one, is neither stretched nor cut."""
    red, blue = Plate(picture("red", (200, 100)), "a", "b"), Plate(picture("blue"), "a", "b")
    wide, mixed = contact_sheet("t", "s", [red], "f"), contact_sheet("t", "s", [red, blue], "f")
    for data, colour, ratio in ((wide, "red", 2.0), (mixed, "red", 2.0), (mixed, "blue", 0.75)):
        left, top, right, bottom = where(data, colour)
        assert abs((right - left) / (bottom - top) - ratio) < 0.02


def test_a_detail_stands_beside_the_title() -> None:
    """Model and seconds are written below a picture where there is room, and a long title leaves them out."""

    def sheet(title: str, detail: str) -> bytes:
        return contact_sheet("t", "s", [Plate(picture("red"), title, "$0.04", detail)], "f")

    assert sheet("Ondine", "nano-banana-2") != sheet("Ondine", "")
    assert sheet("Ondine " * 30, "nano-banana-2") == sheet("Ondine " * 30, "")


def where(data: bytes, colour: str) -> tuple[int, int, int, int]:
    """The box around the pixels of exactly this colour."""
    with Image.open(BytesIO(data)) as opened:
        sheet = opened.convert("RGB")
    same = ImageChops.difference(sheet, Image.new("RGB", sheet.size, colour)).point(lambda value: 255 * (value == 0))
    red, green, blue = same.split()
    box = ImageChops.darker(ImageChops.darker(red, green), blue).getbbox()
    assert box is not None
    return box


def test_the_footer_counts_in_words() -> None:
    """One charge is one charge, four are charges."""
    assert footer(4, Books(4, Decimal("0.16"))) == "4 pictures, 4 charges, $0.16"
    assert footer(1, Books(1, Decimal("0.039"))) == "1 picture, 1 charge, $0.039"
