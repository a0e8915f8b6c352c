"""Fixture: the door's streams before the pipeline's world."""

from __future__ import annotations

import pytest

from imagegen.api import live
from tests.event_door import Served
from tests.pipeline_parts import World

pytest_plugins = ["tests.worlds"]


@pytest.fixture
def served(world: World, monkeypatch: pytest.MonkeyPatch) -> Served:
    """The door before a world; looks follow each other at once."""
    monkeypatch.setattr(live, "STREAM_LOOK", 0.001)
    return Served(world)
