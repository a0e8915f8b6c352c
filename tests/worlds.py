"""Fixture: the pipeline's world with everything in memory."""

from __future__ import annotations

import pytest

from imagegen.testing.memory import MemoryJobs
from tests.jobs_kit import MemoryStore
from tests.pipeline_parts import World


@pytest.fixture
def world() -> World:
    """Everything in memory."""
    return World(MemoryStore(MemoryJobs()))
