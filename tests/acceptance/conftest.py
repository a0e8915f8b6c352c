"""One running system for the acceptance tests; its books are empty at the start of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from imagegen.emulator import Emulator
from tests.acceptance.stand import Stand, standing
from tests.acceptance.system import System, started


@pytest.fixture(scope="session")
def running_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The session's system: five workers, beat, HTTP door, embedded Redis and PostgreSQL."""
    home: Path = tmp_path_factory.mktemp("system") / "home"
    with Emulator(plain=True) as emulator, started(home, emulator) as system:
        yield system


@pytest.fixture
def system(running_system: System) -> System:
    """The session's system with empty books and no faults."""
    running_system.emulator.reset()
    return running_system


@pytest.fixture(scope="session")
def running_stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """The session's system whose parts may be taken away."""
    with standing(tmp_path_factory.mktemp("stand") / "home") as stand:
        yield stand


@pytest.fixture
def stand(running_stand: Stand) -> Stand:
    """That system with empty books and no faults."""
    running_stand.system.emulator.reset()
    return running_stand
