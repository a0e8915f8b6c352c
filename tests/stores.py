"""Fixtures: empty stores of jobs, in memory and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from imagegen.testing.memory import MemoryJobs
from storage import migrate
from storage.engine import Database
from storage.jobs import PostgresJobs
from tests.jobs_kit import MemoryStore, PostgresStore, Store

SCHEMA = "pictures"


@pytest.fixture(scope="module")
def database(database_url: str) -> Iterator[Database]:
    """A migrated database in a schema of its own."""
    migrate.upgrade(database_url, SCHEMA)
    database = Database(database_url, SCHEMA)
    yield database
    database.close()


@pytest.fixture
def postgres(database: Database) -> PostgresStore:
    """PostgreSQL without a row."""
    tables = "imagegen_ledger imagegen_events imagegen_attempts image_generation_jobs imagegen_batches imagegen_cache"
    tables = f"imagegen_deliveries {tables} imagegen_pace imagegen_pauses imagegen_discards imagegen_callback_counts"
    tables += " imagegen_budgets imagegen_spending imagegen_flights imagegen_alerts imagegen_totals imagegen_counted"
    database.run(text("; ".join(f"DELETE FROM {SCHEMA}.{table}" for table in tables.split())))
    return PostgresStore(PostgresJobs(database), database)


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> Store:
    """An empty store of each kind."""
    if request.param == "memory":
        return MemoryStore(MemoryJobs())
    found: PostgresStore = request.getfixturevalue("postgres")
    return found
