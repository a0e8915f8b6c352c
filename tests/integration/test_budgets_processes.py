"""Budgets as many processes and threads keep them on PostgreSQL: never exceeded, never leaking, never in each other's
way."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import func, select

from imagegen.states import MoveName
from storage.engine import Database
from storage.tables import BUDGETS, JOBS, SPENDING
from tests import budget_workers
from tests.budget_workers import DIME, Till
from tests.forks import clean_processes
from tests.jobs_kit import PostgresStore, moved, step

pytest_plugins = ["tests.stores"]
PROCESSES = 8
ROUNDS = 60
SCHEMA = "pictures"
_SPENT = select(SPENDING.c.committed)


def till_of(database: Database, seed: int = 0) -> Till:
    """The database as another process finds it."""
    return Till(database.url.render_as_string(hide_password=False), SCHEMA, seed)


@pytest.fixture(scope="module")
def pool(database: Database) -> Iterator[ProcessPoolExecutor]:
    """Eight processes that share nothing with this one, each connected."""
    with ProcessPoolExecutor(PROCESSES, clean_processes()) as pool:
        started = [pool.submit(budget_workers.ready, till_of(database, seed)) for seed in range(PROCESSES)]
        assert all(one.result(timeout=60) for one in started)
        yield pool


class Look:
    """Reads what is committed again and again while others work; the most it ever saw."""

    def __init__(self, database: Database) -> None:
        self.most, self.looks = Decimal(0), 0
        self._database, self._over = database, threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Look:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.is_set():
            self.most = max([self.most, *(row["committed"] for row in self._database.run(_SPENT))])
            self.looks += 1


def compete(pool: ProcessPoolExecutor, database: Database, each: list[int], size: int) -> tuple[int, list[Any]]:
    """All processes submit at once; how many jobs were admitted, and what the refused were told."""
    tills = [till_of(database, seed) for seed in range(len(each))]
    running = [pool.submit(budget_workers.submit, till, count, size) for till, count in zip(tills, each, strict=True)]
    answers = [one.result(timeout=60) for one in running]
    return sum(admitted for admitted, _ in answers), [one for _, told in answers for one in told]


def counted(database: Database) -> tuple[int, Decimal]:
    """Jobs, and the dollars that they commit."""
    row = database.run(select(func.count().label("n"), func.coalesce(func.sum(JOBS.c.committed), 0).label("sum")))[0]
    return row["n"], Decimal(row["sum"])


def test_thirty_of_a_hundred_dimes_fit_in_three_dollars(postgres: PostgresStore, pool: ProcessPoolExecutor) -> None:
    """From eight processes at once: exactly thirty are admitted, the account shows $3.00 and never more at any look."""
    postgres.budgets().set("owner:ada", "total", Decimal("3.00"), True, at=datetime.now(UTC))
    with Look(postgres.database) as look:
        admitted, told = compete(pool, postgres.database, [13] * 4 + [12] * 4, 1)
    assert (admitted, len(told)) == (30, 70)
    assert (look.most, look.looks > 5) == (Decimal("3.00"), True)
    assert counted(postgres.database) == (30, Decimal("3.00"))
    assert [row["committed"] for row in postgres.database.run(_SPENT)] == [Decimal("3.00")]
    for one in told:
        assert (one["scope"], one["period"], one["limit"], one["requested"]) == ("owner:ada", "total", 3.0, 0.1)
        assert (one["committed"], one["remaining"]) == (3.0, 0.0)


def test_batches_fit_whole_or_not_at_all(postgres: PostgresStore, pool: ProcessPoolExecutor) -> None:
    """Batches of four against room for ten: two are admitted, and the rest of twenty cents stays free."""
    postgres.budgets().set("all", "total", Decimal("1.00"), True, at=datetime.now(UTC))
    admitted, told = compete(pool, postgres.database, [3] * PROCESSES, 4)
    assert (admitted, len(told)) == (8, 22)
    assert {(one["requested"], one["remaining"]) for one in told} == {(0.4, 0.2)}
    assert counted(postgres.database) == (8, Decimal("0.80"))


def test_a_killed_process_leaks_nothing(postgres: PostgresStore) -> None:
    """Killed with its job written and its transaction open: nothing of it stays, and the next is not held up."""
    postgres.budgets().set("all", "total", DIME, True, at=datetime.now(UTC))
    here, there = clean_processes().Pipe(duplex=False)
    process = clean_processes().Process(target=budget_workers.die_admitting, args=(till_of(postgres.database), there))
    process.start()
    try:
        assert here.poll(30)
        os.kill(here.recv(), signal.SIGKILL)
    finally:
        process.kill()
        process.join(30)
    began = time.monotonic()
    assert postgres.jobs.admit([budget_workers.dime()], None, worker="w").created
    assert time.monotonic() - began < 4
    assert counted(postgres.database) == (1, DIME)
    assert [row["committed"] for row in postgres.database.run(_SPENT)] == [DIME]


def test_a_budget_set_among_admissions_misses_none(postgres: PostgresStore, pool: ProcessPoolExecutor) -> None:
    """Set, changed and removed while eight processes submit: each time it begins with the sum there is."""
    limit = Decimal("1000")
    running = [pool.submit(budget_workers.submit, till_of(postgres.database), 40, 1) for _ in range(PROCESSES)]
    while not all(one.done() for one in running):
        postgres.budgets().set("all", "total", limit, True, at=datetime.now(UTC))
        postgres.budgets().set("owner:ada", "total", limit, False, at=datetime.now(UTC))
        postgres.budgets().remove("owner:ada")
    assert sum(one.result()[0] for one in running) == 40 * PROCESSES
    assert [row["committed"] for row in postgres.database.run(_SPENT)] == [DIME * 40 * PROCESSES]


def test_freed_money_is_admitted_again(postgres: PostgresStore) -> None:
    """Cancelled and admitted in turn for longer than the budget would last: the account never drifts."""
    postgres.budgets().set("all", "total", DIME, True, at=datetime.now(UTC))
    for _ in range(20):
        (job,) = postgres.jobs.admit([budget_workers.dime()], None, worker="w").jobs
        moved(postgres, step(job, MoveName.CANCEL))
    assert [row["committed"] for row in postgres.database.run(_SPENT)] == [Decimal(0)]


def test_nobody_waits_for_each_other(postgres: PostgresStore) -> None:
    """Twelve threads admit, cancel and fail across many scopes, sixty times each: no deadlock, and accounts that are
    right to the cent."""
    now = datetime.now(UTC)
    scopes = ["all", *(f"owner:{one}" for one in "cab"), *(f"project:{one}" for one in "xzy"), "provider:kie"]
    for scope in scopes:
        for period, hard in (("total", True), ("day", False)):
            postgres.budgets().set(scope, period, Decimal("2.00"), hard, at=now)
    with ThreadPoolExecutor(12) as threads:
        busy = [threads.submit(budget_workers.bustle, postgres.jobs, seed, ROUNDS) for seed in range(12)]
        while not all(one.done() for one in busy):
            postgres.budgets().set("provider:gemini", "total", Decimal("2.00"), True, at=now)
            time.sleep(0.05)
    assert [wrong for one in busy for wrong in one.result()] == []
    jobs = postgres.database.run(select(JOBS.c.owner, JOBS.c.project_id, JOBS.c.provider, JOBS.c.committed))
    assert len(jobs) > 100
    for account in postgres.database.run(select(SPENDING).where(SPENDING.c.period == "total")):
        kind, _, name = account["scope"].partition(":")
        field = {"owner": "owner", "project": "project_id", "provider": "provider", "all": None}[kind]
        rows = [row["committed"] for row in jobs if field is None or row[field] == name]
        assert account["committed"] == sum(rows), account
    assert postgres.database.run(select(func.count().label("n")).select_from(BUDGETS))[0]["n"] == 2 * len(scopes) + 1
