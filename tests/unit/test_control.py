"""Circuit breakers from `celery control`: what a worker answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker.control import Panel

from imagegen.errors import PartUnavailable
from imagegen.testing.breaker import MemoryBreaker
from imagegen.testing.memory import ManualClock
from tasks import control


@pytest.fixture
def breaker() -> MemoryBreaker:
    return MemoryBreaker(ManualClock())


@pytest.fixture
def state(breaker: MemoryBreaker) -> Any:
    """A worker's panel over two providers."""
    services = SimpleNamespace(breaker=breaker, providers={"nanobanana": None, "gemini": None})
    return SimpleNamespace(app=SimpleNamespace(services=services))


def test_all_circuits_are_shown(state: Any, breaker: MemoryBreaker) -> None:
    """A line for each provider and operation, with the time to the probe where one is open; by both commands."""
    breaker.open("gemini", "poll")
    told = control.breaker_show(state)
    assert told == control.breakers(state) == {
        "ok": {
            "gemini submit": "closed",
            "gemini poll": "open, probed in 30 s",
            "nanobanana submit": "closed",
            "nanobanana poll": "closed",
        }
    }  # fmt: skip


def test_circuits_are_opened_and_reset(state: Any, breaker: MemoryBreaker) -> None:
    """One operation, or both where none is named; the answer tells what became of them."""
    assert control.breaker_open(state, "gemini") == {
        "ok": {"gemini submit": "open, probed in 30 s", "gemini poll": "open, probed in 30 s"}
    }
    assert control.breaker_reset(state, "gemini", "submit") == {"ok": {"gemini submit": "closed"}}
    assert (breaker.state("gemini", "submit"), breaker.state("gemini", "poll")) == ("closed", "open")
    assert breaker.state("nanobanana", "submit") == "closed"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nobody",), "'nobody' is no provider in use. Use one of gemini, nanobanana."),
        ((), "'' is no provider in use. Use one of gemini, nanobanana."),
        (("gemini", "draw"), "'draw' has no circuit. Use one of submit, poll"),
    ],
)
@pytest.mark.parametrize("command", [control.breaker_open, control.breaker_reset])
def test_wrong_names_are_answered(state: Any, command: Any, words: tuple[str, ...], says: str) -> None:
    """An error answer names what there is; nothing is moved."""
    assert says in command(state, *words)["error"]
    assert "open" not in str(control.breaker_show(state))


def test_without_redis_the_answer_says_so(state: Any) -> None:
    """An operator is not left believing that something was opened."""

    def away(provider: str, operation: str) -> None:
        raise PartUnavailable("Redis cannot be reached")

    state.app.services.breaker.open = away
    assert control.breaker_open(state, "gemini") == {"error": "PART_UNAVAILABLE: Redis cannot be reached"}


def test_celery_knows_the_commands() -> None:
    """Registered with their arguments, so that `celery control` and its `--list` know them."""
    control.register()
    assert Panel.meta["breakers"].type == "inspect"
    assert {name: Panel.meta[name].type for name in ("breaker_show", "breaker_open", "breaker_reset")} == {
        "breaker_show": "control", "breaker_open": "control", "breaker_reset": "control",
    }  # fmt: skip
    assert [name for name, _ in Panel.meta["breaker_open"].args] == ["provider", "operation"]
