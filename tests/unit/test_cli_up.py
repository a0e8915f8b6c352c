"""What `imagegen up` prints of its parts."""

from __future__ import annotations

from pathlib import Path

from imagegen.cli.up import address_lines
from imagegen.settings import Settings

PARTS = {"postgres": "postgresql://…", "provider": "http://127.0.0.1:8090"}


def lines(environ: dict[str, str]) -> list[str]:
    return list(address_lines(PARTS, Settings.load(environ, Path("/nowhere"))))


def test_real_money_is_written_on_the_wall() -> None:
    """With USE_REAL_IMAGE=true every provider has a line of its own that ends in REAL."""
    told = lines({"USE_REAL_IMAGE": "true", "GEMINI_API_KEY": "key", "NANO_BANANA_API_KEY": "key"})
    assert told == ["postgres postgresql://…", "provider nanobanana REAL", "provider gemini REAL"]


def test_an_emulated_provider_is_an_address() -> None:
    """Without it the line names the emulator's address, and nothing says REAL."""
    assert lines({}) == ["postgres postgresql://…", "provider http://127.0.0.1:8090"]
