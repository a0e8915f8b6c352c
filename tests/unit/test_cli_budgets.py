"""The commands about budgets, over services in memory."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from imagegen.admission import admit_image
from imagegen.cli.budgets import bar
from imagegen.cli.main import imagegen
from imagegen.contracts import parse_request
from imagegen.records import Budget
from tests.admission_parts import World as Desk


class Till:
    """A command line over services in memory."""

    def __init__(self, home: Path) -> None:
        self.world, self.home = Desk(), home

    def run(self, *args: str) -> Result:
        env = {"IMAGEGEN_DATABASE_URL": "postgresql://db/x", "IMAGEGEN_HOME": str(self.home), "IMAGEGEN_REDIS_URL": ""}
        app = SimpleNamespace(services=self.world.services)
        return CliRunner().invoke(imagegen, args, obj=SimpleNamespace(app=app), env=env)


@pytest.fixture
def till(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Till:
    monkeypatch.chdir(tmp_path)
    return Till(tmp_path / "var")


def test_budgets_are_set_listed_and_removed(till: Till) -> None:
    """For people with bars, for programs as one list."""
    assert "no budget is set (emulated money)" in till.run("budgets").stdout
    told = till.run("budgets", "set", "all", "$0.10", "--period", "month")
    assert told.stdout == "all: $0.10 per month, hard (emulated money); $0.00 committed, $0.10 remaining\n"
    told = till.run("budgets", "set", "provider:gemini", "5", "--period", "total", "--soft")
    assert told.stdout.startswith("provider:gemini: $5.00 in total, soft (emulated money); ")
    price = admit_image(parse_request({"prompt": "a fox"}), till.world.services, door="cli").jobs[0].cost_estimated
    listed = till.run("budgets").stdout.splitlines()
    assert listed[0].split() == ["SCOPE", "PERIOD", "KIND", "COMMITTED", "LIMIT", "REMAINING"]
    assert "█" in listed[1]
    items = json.loads(till.run("budgets", "--json").stdout)
    assert items["nextCursor"] is None
    first, second = items["items"]
    assert first == {
        "scope": "all", "period": "month", "starts": "2026-11-01", "hard": True, "limit": 0.1,
        "committed": float(price or 0), "remaining": float(Decimal("0.1") - (price or 0)), "currency": "USD",
    }  # fmt: skip
    assert (second["scope"], second["hard"], second["starts"]) == ("provider:gemini", False, None)
    assert till.run("budgets", "remove", "all", "--period", "month").stdout == "removed 1 budget of all\n"
    gone = till.run("budgets", "remove", "all")
    assert (gone.exit_code, gone.stderr.startswith("error NOT_FOUND: all has no budget")) == (2, True)


@pytest.mark.parametrize(
    "args",
    [
        ("set", "all", "0", "--period", "day"),
        ("set", "all", "5"),
        ("set", "all", "5", "--period", "week"),
        ("set", "provider:acme", "5", "--period", "day"),
        ("remove", "batch:x"),
    ],
)
def test_wrong_usage_exits_2(till: Till, args: tuple[str, ...]) -> None:
    """Told with the remedy, nothing is set."""
    assert till.run("budgets", *args).exit_code == 2
    assert json.loads(till.run("budgets", "--json").stdout)["items"] == []


def test_a_submission_without_room_exits_5_with_the_numbers(till: Till) -> None:
    """For people in one line, for programs as numbers."""
    till.run("budgets", "set", "owner:default", "0.001", "--period", "day")
    told = till.run("submit", "a fox")
    assert (told.exit_code, told.stdout) == (5, "")
    assert "limit $0.001, committed $0.00, remaining $0.001, asked for $" in told.stderr
    document = json.loads(till.run("submit", "a fox", "--json").stdout)
    assert document["error"]["code"] == "BUDGET_EXCEEDED"
    assert (document["budget"]["limit"], document["budget"]["remaining"]) == (0.001, 0.001)
    assert till.world.written == 0


@pytest.mark.parametrize(
    ("committed", "shown"),
    [
        ("0", "░" * 20 + "   0%"),
        ("0.01", "█" + "░" * 19 + "   1%"),
        ("0.999", "█" * 19 + "░  99%"),
        ("2", "█" * 20 + " 200%"),
    ],
)
def test_bars(committed: str, shown: str) -> None:
    """Anything committed shows, and only a full budget looks full."""
    told: dict[str, Any] = {"scope": "all", "period": "day", "hard": True, "starts": date(2026, 11, 30)}
    assert bar(Budget(**told, amount=Decimal(1), committed=Decimal(committed))) == shown
