"""Parts that stay away for minutes: what is paid waits for them, and everything completes when they are back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.acceptance.stand import Orders, standing

AWAY = 60.0
"""Seconds: several leases long, and less than a paid call's outcome waits (`policies.COMMIT_PATIENCE`)."""
AFTER = 90.0

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]


@pytest.mark.parametrize("part", ["postgres", "redis", "store"])
def test_a_minute_without(part: str, tmp_path: Path) -> None:
    """Away for a minute in the middle of thirty jobs: all complete within a minute and a half, each paid once."""
    with standing(tmp_path / "home") as stand:
        orders = Orders(stand.system, f"a minute without {part}")
        orders.send(30)
        orders.bought(8)
        if part == "redis":
            # A request that is no row yet is the caller's to send again; these are about what was accepted.
            orders.accepted()
        with stand.without(part):
            time.sleep(AWAY)
        orders.completed(AFTER)
        # A paid call under way may have been handed to reconcile before its worker could show a sign of life.
        assert "fail" not in orders.moves()
