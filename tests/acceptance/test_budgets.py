"""Budgets on a running system: set on the command line, kept at every door, free again when a job ends."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from tests.acceptance.system import System, words

OWNER = "thrifty"


@pytest.fixture
def budget(system: System) -> Iterator[str]:
    """The scope of an owner whose budgets are removed afterwards."""
    scope = f"owner:{OWNER}"
    yield scope
    system.cli("budgets", "remove", scope)


def test_a_full_budget_refuses_before_money_moves(system: System, budget: str) -> None:
    """Room for one picture: the second is refused with the numbers and exit 5, nothing is bought for it; the first
    costs what it cost, and its cancelled successor gives everything back."""
    fields = ("--owner", OWNER, "--width", "128", "--height", "128", "--provider", "nanobanana")
    price = system.cli("submit", words("a thrifty fox"), *fields, "--at", "1h", "--json").json["cost"]["estimated"]
    set_to = system.cli("budgets", "set", budget, str(price), "--period", "total", "--json")
    assert (set_to.code, set_to.json["committed"], set_to.json["remaining"]) == (0, price, 0)
    refused = system.cli("submit", words("a greedy fox"), *fields, "--json")
    assert (refused.code, refused.json["error"]["code"]) == (5, "BUDGET_EXCEEDED")
    told = refused.json["budget"]
    assert (told["scope"], told["limit"], told["committed"], told["requested"]) == (budget, price, price, price)
    assert "remaining $0.00" in system.cli("submit", words("a greedy fox"), *fields).err
    by_message = system.client.generate(words("a distant fox"), owner=OWNER, provider="nanobanana")
    assert system.client.wait(by_message, timeout=20).error.code == "BUDGET_EXCEEDED"  # type: ignore[union-attr]
    assert system.charges() == []
    (waiting,) = system.cli("list", "--owner", OWNER, "--json").json["items"]
    assert system.cli("cancel", waiting["jobId"]).code == 0
    done = system.cli("submit", words("a thrifty fox again"), *fields, "--wait", "--json")
    assert (done.code, done.json["cost"]["actual"]) == (0, price)
    again = system.cli("submit", done.json["prompt"], *fields, "--wait", "--json")
    assert (again.code, again.json["cacheHit"], again.json["cost"]["actual"]) == (0, True, 0)
    (shown,) = [one for one in system.cli("budgets", "--json").json["items"] if one["scope"] == budget]
    assert Decimal(str(shown["committed"])) == system.paid([done.json["jobId"]])
