"""pytest fixture for users' own tests; pytest finds it wherever the wheel is installed (entry point `pytest11`)."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from imagegen.emulator import Emulator


@pytest.fixture
def imagegen_emulator() -> Iterator[Emulator]:
    """A running provider emulator on a free loopback port: `.url`, `.fault(...)`, `.ledger()`, `.reset()`."""
    # Loaded here because pytest imports this module in every session, also where nobody asks for the fixture.
    emulator: Emulator
    with import_module("imagegen.emulator").Emulator() as emulator:
        yield emulator
