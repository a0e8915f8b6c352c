"""SIGTERM under load, as a deploy sends it: what runs is finished, what is held goes back, and nobody pays twice."""

from __future__ import annotations

import pytest

from imagegen.cli.up import WORKERS
from tests.acceptance.stand import LATENCY, Orders, Stand, ask_to_stop, ends_from_here, workers_back
from tests.acceptance.system import until

NAMES = tuple(worker.name for worker in WORKERS)
WARM = "exited with code 0"
LONG_CALL = 6.0


def unhurt(orders: Orders) -> None:
    """No call was left without its answer, and no lease ran out: whoever stopped had finished or given back."""
    assert not orders.moves().keys() & {"doubt", "hold", "repeat", "fail"}


def test_workers_under_load_finish_or_give_back(stand: Stand) -> None:
    """SIGTERM to all at once in the middle of forty jobs: all exit with 0 in seconds; forty pictures, forty charges."""
    orders, how = Orders(stand.system, "all at once"), ends_from_here(stand.system)
    orders.send(24)
    until(lambda: orders.at()["completed"] >= 2)
    # However slowly the first came through, these are still to be bought.
    orders.send(16)
    until(lambda: orders.at()["generate"] > 0)
    assert ask_to_stop(stand.system, *NAMES) < 20 + LATENCY
    orders.completed()
    assert [how(name) for name in NAMES] == [WARM] * len(NAMES)
    unhurt(orders)


def test_a_paid_call_is_waited_for(stand: Stand) -> None:
    """Idle workers are gone at once; one inside a paid call ends when the answer is written down, and not before."""
    workers_back(stand.system)
    stand.system.emulator.fault("hang", provider="gemini", times=1, seconds=LONG_CALL)
    orders, how = Orders(stand.system, "a long call"), ends_from_here(stand.system)
    orders.send(1, provider="gemini")
    orders.bought(1)
    idle = ask_to_stop(stand.system, *(name for name in NAMES if name != "generate"))
    paying = ask_to_stop(stand.system, "generate")
    assert idle + paying > LONG_CALL / 2
    assert idle < LONG_CALL - 1
    assert how("generate") == WARM
    orders.completed()
    unhurt(orders)


@pytest.mark.timeout(240)
def test_a_rolling_restart_loses_nothing(stand: Stand) -> None:
    """Every worker and beat, one after another, while sixty jobs run: all complete, each paid once, none in doubt."""
    orders, how = Orders(stand.system, "rolling"), ends_from_here(stand.system)
    workers_back(stand.system)
    orders.send(20)
    for name in (*NAMES, "beat"):
        orders.send(8)
        orders.bought(orders.count - 24)
        ask_to_stop(stand.system, name)
        if name != "beat":
            workers_back(stand.system, name)
    assert orders.count == 60
    orders.completed(150)
    assert [how(name) for name in NAMES] == [WARM] * len(NAMES)
    unhurt(orders)
