"""Parts that go away while jobs run and come back: nothing is lost, nothing is paid twice, nothing ends in doubt.

How long they are away is not what matters here; `tests/chaos/test_outages_long.py` has the minutes.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.acceptance.stand import LATENCY, Orders, Stand, consume
from tests.acceptance.system import sender, until

QUEUES = ("generate", "poll", "transfer", "housekeeping")


def test_postgresql_away_while_jobs_run(stand: Stand) -> None:
    """Killed with jobs at every stage and back after some seconds: all complete, one charge each."""
    orders = Orders(stand.system, "no database")
    orders.send(16)
    orders.bought(6)
    orders.accepted()
    with stand.without("postgres"):
        time.sleep(LATENCY * 2)
    orders.completed()


@pytest.mark.parametrize("provider", ["gemini", "nanobanana"])
def test_postgresql_away_between_a_paid_call_and_its_commit(stand: Stand, provider: str) -> None:
    """Killed once the order is charged, and still away when the answer comes: what it says is written when it can be.

    The call is made once, its job is never in doubt.
    """
    stand.system.emulator.fault("hang", provider=provider, route="submit", times=2, seconds=LATENCY * 2)
    orders = Orders(stand.system, f"an answer to nobody, {provider}")
    orders.send(2, provider=provider)
    orders.bought(2)
    assert orders.at() == {"generate": 2}
    with stand.without("postgres"):
        time.sleep(LATENCY * 3)
    orders.completed()
    moves = orders.moves()
    assert "doubt" not in moves
    assert moves["submit"] == 2


def test_redis_comes_back_empty(stand: Stand) -> None:
    """Stopped and emptied with jobs waiting at every stage: all complete, one charge each, none in doubt."""
    orders = Orders(stand.system, "no memory")
    at_every_stage(stand, orders)
    with stand.without("redis"):
        time.sleep(LATENCY)
    consume(stand.system, "add_consumer", *QUEUES)
    orders.completed()
    assert not orders.moves().keys() & {"doubt", "repeat"}


def at_every_stage(stand: Stand, orders: Orders) -> None:
    """Two jobs or more wait at each stage, all their messages in the broker: nobody takes any."""
    consume(stand.system, "cancel_consumer", "transfer")
    orders.send(4)
    until(lambda: orders.at() == {"download": 2, "upload": 2})
    consume(stand.system, "cancel_consumer", "poll")
    orders.send(2, provider="nanobanana")
    until(lambda: orders.at()["poll"] == 2)
    consume(stand.system, "cancel_consumer", "generate")
    orders.send(4)
    until(lambda: orders.at() == {"generate": 4, "poll": 2, "download": 2, "upload": 2})


def test_the_object_store_away(stand: Stand) -> None:
    """Refusing connections while pictures arrive: paid bytes are held on to, the rest parks, and all complete."""
    orders = Orders(stand.system, "no store")
    orders.send(6)
    orders.bought(6)
    with stand.without("store"):
        until(lambda: orders.moves()["backoff"] >= 1)
        time.sleep(LATENCY)
        assert orders.ended() < 6
    orders.completed()
    assert "doubt" not in orders.moves()


def test_messages_in_the_wrong_order(stand: Stand) -> None:
    """Hints for every later stage, three of each, before the job was bought: all are lost, and it runs as ever."""
    orders = Orders(stand.system, "backwards")
    orders.send(2, scheduled_at=datetime.now(UTC) + timedelta(seconds=6))
    until(lambda: orders.at() == {"generate": 2})
    ids = [row[0] for row in stand.system.sql(
        "SELECT id::text FROM image_generation_jobs WHERE prompt LIKE %s", f"{orders.about}%"
    )]  # fmt: skip
    later = {"upload": "transfer", "download": "transfer", "poll": "poll", "reconcile": "housekeeping"}
    with sender(stand.system) as app:
        for stage, queue in later.items():
            for key in ids * 3:
                app.send_task(
                    f"imagegen.{stage}", args=[[key]] if stage == "poll" else [key],
                    queue=f"{stand.system.settings.namespace}.{queue}", ignore_result=True,
                )  # fmt: skip
    time.sleep(0.5)
    assert orders.moves() == {"admit": 2}
    orders.completed()
    assert orders.moves()["submit"] == 2
