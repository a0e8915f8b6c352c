"""Looking for paid pictures of ended jobs may take long: it is done beside the queue that the sweep is on."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from imagegen import policies
from imagegen.ports import Services
from tasks import collect

NOBODY = cast(Services, None)
CONFIGURATION = Path(__file__).parents[2] / "celeryconfig.py"
WAITS_FOR_NOBODY = {
    "imagegen.finish_batch", "imagegen.sweep", "imagegen.erase", "imagegen.callbacks", "imagegen.watch",
    "imagegen.watch_money",
}  # fmt: skip
HANDS_ON = {"imagegen.collect", "imagegen.deliver"}


@pytest.fixture
def hung(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Whoever looks for a picture waits until `go` is set; the attempts looked for arrive in `seen`."""
    held = SimpleNamespace(go=threading.Event(), seen=queue.Queue())

    def slow(attempt_id: UUID, services: Any) -> str:
        held.seen.put(attempt_id)
        held.go.wait(30)
        return "nothing yet"

    monkeypatch.setattr(collect.collecting, "collect", slow)
    yield held
    held.go.set()
    collect.collectors().stop()


def test_a_server_that_hangs_holds_up_no_message(hung: Any) -> None:
    """A hundred pictures whose server says nothing: every message is done at once, and as many are asked for at a time
    as there are collectors; each is in hand once."""
    wanted = [uuid4() for _ in range(100)]
    assert {collect.hand(one, NOBODY) for one in wanted} == {"handed to a collector"}
    assert {collect.hand(one, NOBODY) for one in wanted} == {"in hand"}
    begun = [hung.seen.get(timeout=10) for _ in range(policies.COLLECTORS)]
    assert begun == wanted[: policies.COLLECTORS]
    assert hung.seen.empty()
    hung.go.set()
    assert [hung.seen.get(timeout=10) for _ in wanted[policies.COLLECTORS :]] == wanted[policies.COLLECTORS :]


def test_what_shares_the_sweep_s_queue_asks_nobody_for_long() -> None:
    """Tasks on the sweep's queue work in the database, or hand on what may hang; what moves bytes is elsewhere."""
    routes = dict(re.findall(r'"(imagegen\.\w+)": f"{_ns}\.(\w+)"', CONFIGURATION.read_text()))
    beside = {name for name, kind in routes.items() if kind == routes["imagegen.sweep"]}
    assert beside == WAITS_FOR_NOBODY | HANDS_ON
