"""Values of options and files: durations, times, pairs, briefs, and pictures that lie beside their file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest

from imagegen.cli import options
from imagegen.cli.output import columns, dollars
from imagegen.errors import InvalidRequest

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def test_a_time_is_a_moment_or_a_duration() -> None:
    """RFC 3339 stands for itself, a duration counts from now or back from it."""
    assert options.moment_after(options.moment("10m"), NOW) == NOW + timedelta(minutes=10)
    assert options.moment_before(options.moment("10m"), NOW) == NOW - timedelta(minutes=10)
    assert options.moment_after(options.moment("2026-12-01T09:00:00Z"), NOW) == datetime(2026, 12, 1, 9, tzinfo=UTC)


def test_a_pair_takes_json_or_text() -> None:
    """A value that is JSON keeps its type; any other is text, with every further = in it."""
    assert options.pair("n=1") == ("n", 1)
    assert options.pair("tags=[1, 2]") == ("tags", [1, 2])
    assert options.pair("q=a=b") == ("q", "a=b")
    with pytest.raises(click.BadParameter):
        options.pair("=x")


def test_a_character_is_a_file_inline_json_or_a_name(tmp_path: Path) -> None:
    """The three spellings of --character."""
    (tmp_path / "ada.yaml").write_text("name: Ada\nhat: red\n")
    for text, brief in (
        (str(tmp_path / "ada.yaml"), {"name": "Ada", "hat": "red"}),
        ('{"name": "Bo"}', {"name": "Bo"}),
        ("Marisol Tern", {"name": "Marisol Tern"}),
    ):
        assert options.request_body(None, {"character": text}, NOW)["character"] == brief


def test_a_style_is_a_file_inline_json_or_a_stored_one() -> None:
    """What is neither a file nor JSON is the id of a stored capsule."""
    assert options.request_body("x", {"style": "noir"}, NOW) == {"prompt": "x", "visualStyleCapsuleId": "noir"}
    assert options.request_body("x", {"style": '{"name": "Noir"}'}, NOW)["style"] == {"name": "Noir"}


def test_options_not_given_are_not_sent() -> None:
    """Neither empty lists nor missing values reach the request."""
    assert options.request_body("x", {"seed": None, "referenceImages": (), "fresh": None}, NOW) == {"prompt": "x"}


def test_pictures_of_a_file_lie_beside_it(tmp_path: Path) -> None:
    """Relative paths are taken from the file's folder wherever they stand; URLs and ids stay as they are."""
    placed = options.with_paths_below(
        tmp_path,
        {
            "referenceImages": ["a.png", "https://x/y.png", "job:1"],
            "style": {"name": "n", "references": ["s/b.png"]},
            "requests": [{"sourceImage": "c.png", "mask": "/d.png", "prompt": "e.png"}],
        },
    )
    assert placed == {
        "referenceImages": [str(tmp_path / "a.png"), "https://x/y.png", "job:1"],
        "style": {"name": "n", "references": [str(tmp_path / "s/b.png")]},
        "requests": [{"sourceImage": str(tmp_path / "c.png"), "mask": "/d.png", "prompt": "e.png"}],
    }


@pytest.mark.parametrize("text", ["[1, 2]", "just words", "1: x", "a: [", ""])
def test_a_file_without_fields_is_refused(text: str) -> None:
    """Only an object with named fields is a request; anything else names the file."""
    with pytest.raises(InvalidRequest, match="FILE: f"):
        options.parse_data(text, "FILE", "f")


def test_money_has_two_to_six_decimals() -> None:
    """Cents are always shown, fractions where there are any, a dash while unknown."""
    assert [dollars(amount) for amount in (None, 0, 0.04, 0.039, 1.5, 0.0336, 12)] == [
        "-", "$0.00", "$0.04", "$0.039", "$1.50", "$0.0336", "$12.00",
    ]  # fmt: skip


def test_columns_line_up() -> None:
    """Each column is as wide as its widest cell; chosen ones stand to the right."""
    assert columns([("A", "B", "C"), ("long", "1", "x")], frozenset({1})) == "A     B  C\nlong  1  x"
