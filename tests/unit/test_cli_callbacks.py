"""`imagegen providers`: what providers' callbacks came to."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from imagegen.testing.callbacks import MemoryCallbacks
from tests.unit.test_cli_levers import Desk


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A command line over services in memory."""
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path / "var")


def test_callbacks_are_told_per_provider(desk: Desk) -> None:
    """Counts of the last day and week by outcome; a provider without any has empty ones, and no line."""
    books, now = MemoryCallbacks(desk.world.rows), desk.world.clock.now()
    for outcome, days in (("woken", 0), ("woken", 0), ("missed", 0), ("woken", 2), ("forged", 3), ("late", 9)):
        books.count("nanobanana", outcome, at=now - timedelta(days=days))
    books.count("kie", "stale", at=now - timedelta(days=2))
    told = {one["provider"]: one["callbacks"] for one in desk.json("providers")["items"]}
    assert told["nanobanana"] == {"24h": {"missed": 1, "woken": 2}, "7d": {"forged": 1, "missed": 1, "woken": 3}}
    assert told["kie"] == {"24h": {}, "7d": {"stale": 1}}
    assert told["fal"] == {"24h": {}, "7d": {}}
    lines = [line for line in desk.run("providers").stdout.splitlines() if "callbacks" in line]
    assert lines == [
        "  callbacks  24h: 1 missed, 2 woken; 7d: 1 forged, 1 missed, 3 woken",
        "  callbacks  24h: none; 7d: 1 stale",
    ]
