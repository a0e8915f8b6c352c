"""Lists stay quick in a table that has grown: PostgreSQL reads one page of an index, whoever asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Table, event, text

from imagegen.records import BatchFilter, JobFilter
from storage import migrate
from storage.engine import Database
from storage.jobs import PostgresJobs
from storage.tables import BATCHES, JOBS
from tests.jobs_kit import NOW, new_batch

SCHEMA = "filled"
BATCHES_MADE, OWNERS = 4_000, 40
"""Each batch has one job and is a minute older than the one before; owners have equally many."""
PAGE = 20
NUMBER = "lpad(to_hex(n), 12, '0')"
BATCH_ID, JOB_ID = (f"('00000000-0000-4000-800{kind}-' || {NUMBER})::uuid" for kind in (0, 1))
MADE = {"created_at": "t.created_at - n * interval '1 minute'", "owner": f"'owner' || n % {OWNERS}"}


def copies(table: Table, changed: dict[str, str]) -> str:
    """A statement that copies the table's one row; `n` counts from 1, `changed` are SQL by column."""
    names = [column.name for column in table.columns]
    columns = ", ".join(f'"{name}"' for name in names)
    values = ", ".join(changed.get(name, f't."{name}"') for name in names)
    source = f"{SCHEMA}.{table.name} t, generate_series(1, {BATCHES_MADE}) n"
    return f"INSERT INTO {SCHEMA}.{table.name} ({columns}) SELECT {values} FROM {source}"


@pytest.fixture(scope="module")
def database(database_url: str) -> Iterator[Database]:
    """Thousands of batches and jobs of many owners."""
    migrate.upgrade(database_url, SCHEMA)
    database = Database(database_url, SCHEMA)
    batch, jobs = new_batch(1)
    PostgresJobs(database).admit(jobs, batch, worker="w1")
    database.run(text(copies(BATCHES, {**MADE, "id": BATCH_ID})))
    database.run(text(copies(JOBS, {**MADE, "id": JOB_ID, "batch_id": BATCH_ID})))
    for table in (BATCHES, JOBS):
        database.run(text(f"VACUUM ANALYZE {SCHEMA}.{table.name}"))
    yield database
    database.close()


def plans(database: Database, ask: Callable[[], Any]) -> list[dict[str, Any]]:
    """The nodes of the server's plans for the statements that this call sends."""
    sent: list[tuple[str, Any]] = []

    def hear(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        sent.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", hear)
    try:
        ask()
    finally:
        event.remove(database.engine, "before_cursor_execute", hear)
    found: list[dict[str, Any]] = []
    with database.engine.connect() as connection, connection.connection.cursor() as cursor:
        for statement, parameters in sent:
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
            found += nodes(cursor.fetchone()[0][0]["Plan"])
    return found


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """A plan's node and all below it."""
    return [plan, *(node for child in plan.get("Plans", []) for node in nodes(child))]


OLDER = NOW - timedelta(minutes=BATCHES_MADE // 2)


@pytest.mark.parametrize("further", [False, True], ids=["first page", "next page"])
@pytest.mark.parametrize(
    ("asked", "index"),
    [({"owner": "owner7"}, "owner"), ({}, "newest"), ({"until": OLDER}, "newest"), ({"owner": "ada"}, "owner")],
    ids=["an owner's", "everybody's", "older ones", "a new owner's"],
)
@pytest.mark.parametrize("table", [JOBS, BATCHES], ids=lambda table: table.name)
def test_a_page_is_read_from_its_index(
    database: Database, table: Table, asked: dict[str, Any], index: str, further: bool
) -> None:
    """Jobs and batches, an owner's or all, first page or next: the index of that order, and no more rows than asked."""
    jobs = PostgresJobs(database)

    def ask(cursor: str | None = None) -> str | None:
        if table is JOBS:
            return jobs.list(JobFilter(**asked), limit=PAGE, cursor=cursor)[1]
        return jobs.list_batches(BatchFilter(**asked), limit=PAGE, cursor=cursor)[1]

    cursor = ask() if further else None
    if further and cursor is None:
        assert asked == {"owner": "ada"}
        return
    found = plans(database, lambda: ask(cursor))
    assert f"{table.name}_{index}" in {node.get("Index Name") for node in found}
    assert not [node for node in found if node["Node Type"] == "Seq Scan"]
    assert max(node["Actual Rows"] for node in found) <= PAGE + 1
