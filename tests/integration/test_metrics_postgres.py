"""Metrics on a real PostgreSQL: exact beside transactions that run on, cheap beside a long history."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import event, text

from imagegen.records import Entry
from imagegen.states import MoveName
from storage.engine import Database
from storage.metrics import PostgresMetrics
from storage.tables import EVENTS, JOBS, LEDGER
from tests.door import served
from tests.jobs_kit import CENTS, PostgresStore, admit, at, moved, step, submitted
from tests.pipeline_parts import World

pytest_plugins = ["tests.stores"]
SCHEMA = "pictures"
HISTORY = 5_000
"""Lines of a history that was counted before."""
SCRAPE = 15.0
"""Seconds between two scrapes."""
MOST = 8
"""Statements of one scrape, whatever there is to count."""


@pytest.fixture
def metrics(postgres: PostgresStore) -> PostgresMetrics:
    """Metrics of a database without a row."""
    assert postgres.database.schema == SCHEMA
    return PostgresMetrics(postgres.database)


def told(metrics: PostgresMetrics, name: str, scrape: float) -> Decimal:
    """The sum over all samples of this name."""
    return sum((one.value for one in metrics.figures(at=at(scrape * SCRAPE)) if one.name == name), Decimal(0))


def end(store: PostgresStore) -> None:
    """One more job with an end and a line of waste."""
    job = submitted(store, admit(store))
    waste = Entry(kind="waste", amount=CENTS, attempt_id=job.attempt_id)
    moved(store, step(job, MoveName.FAIL, cause="TEMPORARY", entries=(waste,)))


@contextmanager
def heard(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """The statements that are sent meanwhile."""
    sent: list[tuple[str, Any]] = []

    def hear(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        sent.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", hear)
    try:
        yield sent
    finally:
        event.remove(database.engine, "before_cursor_execute", hear)


def test_a_line_that_comes_late_is_counted_once(postgres: PostgresStore, metrics: PostgresMetrics) -> None:
    """A transaction took its number and runs on for many scrapes: its line counts from its commit on, and once."""
    end(postgres)
    late = admit(postgres)
    line = text(
        f"INSERT INTO {SCHEMA}.imagegen_events (job_id, run, at, move, status, cause, worker, detail)"
        " VALUES (:job, 1, now(), 'cancel', 'cancelled', 'cancelled', 'w', '{}')"
    )
    engine = postgres.database.engine.execution_options(isolation_level="READ COMMITTED")
    with engine.connect() as connection:
        connection.execute(line, {"job": late.id})
        for scrape in range(1, 6):
            end(postgres)
            assert told(metrics, "ended", scrape) == 1 + scrape
        connection.commit()
    assert [told(metrics, "ended", scrape) for scrape in range(6, 12)] == [7] * 6
    end(postgres)
    assert [told(metrics, "ended", scrape) for scrape in range(12, 15)] == [8] * 3


def test_what_is_rolled_back_holds_nothing_up(postgres: PostgresStore, metrics: PostgresMetrics) -> None:
    """A number that no line ever gets is a gap like any other: the lines behind it are counted into the totals."""
    end(postgres)
    with postgres.database.transaction() as run:
        run(text("SELECT 1"))
    postgres.database.run(text(f"SELECT nextval(pg_get_serial_sequence('{SCHEMA}.imagegen_events', 'id'))"))
    end(postgres)
    assert [told(metrics, "ended", scrape) for scrape in range(1, 5)] == [2] * 4
    counted = text(f"SELECT sum(value) AS sum FROM {SCHEMA}.imagegen_totals WHERE name = 'ended'")
    assert postgres.database.run(counted)[0]["sum"] == 2


def test_processes_that_scrape_at_once_say_the_same(postgres: PostgresStore) -> None:
    """Four of them beside writers: no count ever falls, and in the end each says exactly what there is."""
    processes = [PostgresMetrics(Database(postgres.database.url, SCHEMA, threads=2)) for _ in range(4)]
    over = threading.Event()
    steps = iter(range(1, 1_000_000))
    lock = threading.Lock()

    def scrape(one: PostgresMetrics) -> None:
        ends, dollars = Decimal(0), Decimal(0)
        while not over.is_set():
            with lock:
                moment = next(steps)
            found = one.figures(at=at(moment * SCRAPE))
            told_ends = sum(sample.value for sample in found if sample.name == "ended")
            told_dollars = sum(sample.value for sample in found if sample.name == "ledger")
            assert told_ends >= ends
            assert told_dollars >= dollars
            ends, dollars = Decimal(told_ends), Decimal(told_dollars)

    with ThreadPoolExecutor(7) as pool:
        scrapers = [pool.submit(scrape, one) for one in processes]
        writers = [pool.submit(lambda: [end(postgres) for _ in range(15)]) for _ in range(3)]
        try:
            for writer in writers:
                writer.result(60)
        finally:
            over.set()
        for scraper in scrapers:
            scraper.result(60)
    last = next(steps)
    for one in processes:
        assert (told(one, "ended", last), told(one, "ledger", last)) == (45, 45 * CENTS)
        one._database.close()


def test_a_server_that_is_away_is_told_without_its_address(postgres: PostgresStore) -> None:
    """503 through the door, and nothing of where the database was looked for."""
    world = World(postgres)
    away = PostgresMetrics(Database("postgresql://127.0.0.1:1/nothing"))
    with served(replace(world.services, metrics=away)) as door:
        for _ in range(2):
            reply = door.as_("watch", service=True).get("/metrics")
            assert (reply.status_code, reply.json()["code"]) == (503, "PART_UNAVAILABLE")
            assert "127.0.0.1" not in reply.text
    with served(world.services) as door:
        assert door.as_("watch", service=True).get("/metrics").status_code == 200


def test_a_long_history_is_read_once(postgres: PostgresStore, metrics: PostgresMetrics) -> None:
    """Later scrapes send at most eight statements, and read what is live and what came since, not what has ended."""
    end(postgres)
    for table, new in ((JOBS, {"id": "gen_random_uuid()"}), (EVENTS, {}), (LEDGER, {"attempt_id": "NULL"})):
        columns = [one.name for one in table.columns if not one.identity]
        names, values = (", ".join(f'"{name}"' for name in columns), ", ".join(new.get(n, f't."{n}"') for n in columns))
        newest = f"SELECT * FROM {SCHEMA}.{table.name} ORDER BY id DESC LIMIT 1"
        copied = f"SELECT {values} FROM ({newest}) t, generate_series(1, {HISTORY})"
        postgres.database.run(text(f"INSERT INTO {SCHEMA}.{table.name} ({names}) {copied}"))
        postgres.database.run(text(f"VACUUM ANALYZE {SCHEMA}.{table.name}"))
    assert [told(metrics, "ended", scrape) for scrape in (1, 2, 3)] == [1 + HISTORY] * 3
    end(postgres)
    with heard(postgres.database) as sent:
        assert told(metrics, "ended", 4) == 2 + HISTORY
    assert len(sent) <= MOST
    read = rows_read(postgres.database, sent)
    assert max(read.get(table.name, 0) for table in (JOBS, EVENTS, LEDGER)) < 50


def rows_read(database: Database, sent: list[tuple[str, Any]]) -> dict[str, float]:
    """How many rows the server reads of each table for the SELECTs, by its own account."""
    found: dict[str, float] = {}
    with database.engine.connect() as connection, connection.connection.cursor() as cursor:
        for statement, parameters in sent:
            if not statement.lstrip().startswith("SELECT") or "set_config" in statement:
                continue
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
            for node in nodes(cursor.fetchone()[0][0]["Plan"]):
                rows = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
                table = node.get("Relation Name")
                if table is not None:
                    found[table] = found.get(table, 0) + rows
    return found


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """A plan's node and all below it."""
    return [plan, *(node for child in plan.get("Plans", []) for node in nodes(child))]
