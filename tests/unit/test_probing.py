"""A half-open circuit asks for the balance, free of charge, before the paid call that decides."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import pytest

from imagegen.errors import AuthError, ImagegenError, Temporary
from imagegen.policies import BREAKER_RESET
from imagegen.ports import Services
from imagegen.probing import submitting
from imagegen.testing.breaker import MemoryBreaker
from imagegen.testing.memory import ManualClock


@dataclass
class Account:
    """A provider that is only asked for its balance."""

    name: str = "nanobanana"
    answer: Decimal | ImagegenError | None = None
    asked: int = 0

    def credit(self) -> Decimal | None:
        self.asked += 1
        if isinstance(self.answer, ImagegenError):
            raise self.answer
        return self.answer


@dataclass
class World:
    """One provider behind its circuit."""

    account: Account = field(default_factory=Account)
    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        self.breaker = MemoryBreaker(self.clock)
        parts = SimpleNamespace(breaker=self.breaker, provider=lambda name: self.account)
        self.services = cast(Services, cast(Any, parts))

    @property
    def state(self) -> str:
        return self.breaker.state("nanobanana", "submit")

    def half_open(self) -> None:
        self.breaker.open("nanobanana", "submit")
        self.clock.advance(BREAKER_RESET + 1)

    def buy(self, ok: bool | None = True) -> None:
        """A paid call that ends so; None: it says nothing of the provider's health."""
        with submitting("nanobanana", self.services) as report:
            if ok is not None:
                report(ok)


@pytest.fixture
def world() -> World:
    return World()


def test_a_closed_circuit_asks_nothing_first(world: World) -> None:
    """In ordinary times a paid call costs no question more."""
    world.buy()
    assert (world.account.asked, world.state) == (0, "closed")


def test_without_an_answer_nothing_is_paid(world: World) -> None:
    """The balance cannot be had: the provider's own error is raised, the circuit rests anew, no paid call is made."""
    world.half_open()
    world.account.answer = Temporary("no route")
    with pytest.raises(Temporary, match="no route"), submitting("nanobanana", world.services):
        pytest.fail("a paid call was let through")
    assert (world.account.asked, world.state) == (1, "open")
    with suppress(Temporary):
        world.buy()
    assert world.account.asked == 1


@pytest.mark.parametrize("answer", [Decimal(7), None, AuthError("wrong key")], ids=["balance", "none", "refusal"])
@pytest.mark.parametrize(("ok", "state"), [(True, "closed"), (False, "open"), (None, "half-open")])
def test_with_an_answer_the_paid_call_decides(world: World, answer: Any, ok: bool | None, state: str) -> None:
    """Somebody is there: still one paid call alone is let through, and the circuit becomes what that says."""
    world.half_open()
    world.account.answer = answer
    with submitting("nanobanana", world.services) as report:
        with pytest.raises(Temporary):
            world.buy()
        if ok is not None:
            report(ok)
    assert (world.account.asked, world.state) == (1, state)
