"""Who is bought first, and when: priorities with ageing, the pace of a task at run time, and times of one's own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from celery import Celery

from imagegen.cli.up import WORKERS
from imagegen.policies import RATE_LIMITS
from tests.acceptance.stand import Orders, consume, workers_back
from tests.acceptance.system import System, until

TASK = "imagegen.generate"
SLOW = 20
"""Purchases a second under the limit."""
SWAPS = 3
"""Threads that run side by side may overtake each other on a busy machine."""


def test_the_most_urgent_is_bought_first(system: System) -> None:
    """Forty low, ten normal, three high, sent in this order: bought the other way round, at the pace told."""
    orders = Orders(system, "urgent")
    with paced(system):
        with waiting(system):
            for priority, count in (("low", 40), ("normal", 10), ("high", 3)):
                orders.send(count, priority=priority, provider="gemini")
            until(lambda: queued(system) == 53)
        orders.completed()
    bought = purchases(system, orders)
    names = [name for name, _ in bought]
    assert last(names, "high") < 3 + SWAPS
    assert last(names, "normal") < 13 + SWAPS
    assert (bought[-1][1] - bought[0][1]).total_seconds() > 53 / SLOW * 0.9


def test_waiting_beats_priority(system: System) -> None:
    """A low job that has waited for ten minutes is bought before a flow of high ones that came later."""
    orders = Orders(system, "patient")
    with paced(system), waiting(system):
        orders.send(2, priority="low", provider="gemini")
        until(lambda: queued(system) == 2)
        with system.redis() as redis:
            redis.delete(*lists(system))
        ten = timedelta(minutes=10)
        system.sql(
            "UPDATE image_generation_jobs SET created_at = created_at - %s, next_run_at = next_run_at - %s"
            " WHERE prompt LIKE %s", ten, ten, f"{orders.about}%",
        )  # fmt: skip
        until(lambda: queued(system) == 2)
        orders.send(20, priority="high", provider="gemini")
        until(lambda: queued(system) == 22)
    orders.completed()
    assert last([name for name, _ in purchases(system, orders)], "low") < 2 + SWAPS


def test_a_time_of_its_own_is_kept_in_the_row(system: System) -> None:
    """No message until then; a flushed Redis and killed workers change nothing; it runs at its time, once."""
    at = datetime.now(UTC) + timedelta(seconds=7)
    orders = Orders(system, "later")
    told = system.cli("submit", orders.about, "--at", at.isoformat(), "--provider", "gemini", "--json")
    assert told.code == 0, told
    orders.count = 1
    document = told.json
    assert (document["status"], document["waitingFor"]["reason"]) == ("queued", "scheduled")
    assert queued(system) == 0
    with system.redis() as redis:
        redis.flushall()
    pids = system.run.supervisor.pids()
    for name in ("beat", *(worker.name for worker in WORKERS)):
        os.kill(pids[name], signal.SIGKILL)
    workers_back(system)
    orders.completed()
    ((started,),) = system.sql("SELECT started_at FROM image_generation_jobs WHERE prompt = %s", orders.about)
    assert started >= at


def last(names: list[str], name: str) -> int:
    """Where it stands for the last time."""
    return max(index for index, one in enumerate(names) if one == name)


@contextmanager
def paced(system: System) -> Iterator[None]:
    """Inside, purchases are slowed by Celery's own limit, told to the running worker."""
    with Celery(broker=system.settings.broker, set_as_current=False) as app:
        app.control.rate_limit(TASK, f"{SLOW}/s", reply=True)
        try:
            yield
        finally:
            app.control.rate_limit(TASK, RATE_LIMITS[TASK], reply=True)


@contextmanager
def waiting(system: System) -> Iterator[None]:
    """Inside, nobody takes messages for purchases."""
    consume(system, "cancel_consumer", "generate")
    try:
        yield
    finally:
        consume(system, "add_consumer", "generate")


def lists(system: System) -> list[str]:
    """The lists in which Redis holds what waits to be bought, one for each step of priority."""
    queue = f"{system.settings.namespace}.generate"
    with system.redis() as redis:
        return [key.decode() for key in redis.keys(f"{queue}*") if redis.type(key) == b"list"]


def queued(system: System) -> int:
    """Messages that wait for a purchase."""
    with system.redis() as redis:
        return sum(redis.llen(key) for key in lists(system))


def purchases(system: System, orders: Orders) -> list[tuple[str, datetime]]:
    """Priority and time of each intent to buy, in their order."""
    names = {0: "high", 5: "normal", 9: "low"}
    rows = system.sql(
        "SELECT j.priority, e.at FROM imagegen_events e JOIN image_generation_jobs j ON j.id = e.job_id"
        " WHERE e.move = 'claim' AND j.prompt LIKE %s ORDER BY e.at, e.id", f"{orders.about}%",
    )  # fmt: skip
    return [(names[priority], at) for priority, at in rows]
