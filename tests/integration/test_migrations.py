"""Migrations on a real PostgreSQL: they build exactly the tables of the code, once, however often and many try."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import fields
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, NullPool, create_engine, text

from imagegen.errors import PartUnavailable
from imagegen.jobs import Batch, Job
from storage import migrate
from storage.budgets import PostgresBudgets
from storage.engine import Database
from storage.jobs import PostgresJobs
from storage.tables import BATCHES, JOBS, METADATA
from tests.jobs_kit import CENTS, new_job

REPORTED = [
    "id", "batch_id", "owner", "project_id", "branch_id", "job_type", "status", "failure_stage", "error_code",
    "error_message", "prompt", "provider", "model", "provider_job_id", "idempotency_key", "cost_estimated",
    "cost_credits", "public_url", "created_at", "started_at", "completed_at",
]  # fmt: skip

CATALOG = {
    "columns": "SELECT table_name, column_name, data_type, numeric_precision, numeric_scale, is_nullable, is_identity"
    " FROM information_schema.columns WHERE table_schema = '{schema}'",
    "indexes": "SELECT indexname, replace(indexdef, '{schema}.', '') FROM pg_indexes WHERE schemaname = '{schema}'",
    "constraints": "SELECT conname, replace(pg_get_constraintdef(oid), '{schema}.', '') FROM pg_constraint"
    " WHERE connamespace = '{schema}'::regnamespace",
}


@pytest.fixture(scope="module")
def connection(database_url: str) -> Iterator[Connection]:
    """A connection that looks behind the migrations."""
    engine = create_engine(database_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection


def catalog(connection: Connection, schema: str, what: str) -> set[tuple[object, ...]]:
    rows = connection.execute(text(CATALOG[what].format(schema=schema)))
    return {tuple(row) for row in rows if not str(row[0]).startswith(migrate.VERSION_TABLE)}


def test_upgrading_twice_is_harmless(database_url: str) -> None:
    """An empty schema is pending, an upgraded one is not, and a second upgrade changes nothing."""
    assert migrate.pending(database_url, "twice")
    migrate.upgrade(database_url, "twice")
    assert not migrate.pending(database_url, "twice")
    migrate.upgrade(database_url, "twice")
    assert migrate.sql(database_url, "twice") == ""


def test_many_may_upgrade_at_once(database_url: str) -> None:
    """Workers that start together wait for each other: all succeed, the tables are made once."""
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: migrate.upgrade(database_url, "many"), range(6)))
    assert not migrate.pending(database_url, "many")


def test_migrated_tables_are_the_codes_tables(database_url: str, connection: Connection) -> None:
    """Alembic finds no difference between the migrated database and the SQLModel classes."""
    migrate.upgrade(database_url, "alike")
    connection.execute(text("SET search_path TO alike"))
    options = {"version_table": migrate.VERSION_TABLE, "compare_type": True, "compare_server_default": True}
    context = MigrationContext.configure(connection, opts=options)
    try:
        assert compare_metadata(context, METADATA) == []
    finally:
        connection.execute(text("RESET search_path"))


@pytest.mark.parametrize("what", CATALOG)
def test_the_catalogs_agree_in_every_detail(database_url: str, connection: Connection, what: str) -> None:
    """What Alembic does not compare (checks, partial indexes, keys) is alike too, by PostgreSQL's own account."""
    migrate.upgrade(database_url, "migrated")
    connection.execute(text("CREATE SCHEMA IF NOT EXISTS modelled"))
    METADATA.create_all(connection.execution_options(schema_translate_map={None: "modelled"}))
    connection.execution_options(schema_translate_map=None)
    migrated = catalog(connection, "migrated", what)
    assert len(migrated) > 10
    assert migrated == catalog(connection, "modelled", what)


def test_names_keep_out_of_other_peoples_way(database_url: str, connection: Connection) -> None:
    """All but the one promised table begin with `imagegen_`; a schema's name may be awkward."""
    schema = 'an "odd" Name'
    migrate.upgrade(database_url, schema)
    found = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = :schema"), {"schema": schema})
    names = set(found.scalars())
    assert "image_generation_jobs" in names
    assert all(name.startswith("imagegen_") for name in names - {"image_generation_jobs"})
    assert migrate.VERSION_TABLE in names


def test_the_connections_own_schema_is_the_default(database_url: str, connection: Connection) -> None:
    """Without a schema the tables go where the connection looks, and nothing is created elsewhere."""
    migrate.upgrade(database_url)
    assert not migrate.pending(database_url)
    assert connection.execute(text("SELECT count(*) FROM public.image_generation_jobs")).scalar() == 0


def test_the_printed_sql_does_the_same(database_url: str, connection: Connection) -> None:
    """A database administrator may run the SQL instead; afterwards nothing is pending."""
    written = migrate.sql(database_url, "by_hand")
    assert "CREATE TABLE" in written
    connection.connection.cursor().execute(written)
    connection.execute(text("RESET search_path"))
    assert not migrate.pending(database_url, "by_hand")
    migrate.upgrade(database_url, "by_machine")
    for what in CATALOG:
        assert catalog(connection, "by_hand", what) == catalog(connection, "by_machine", what)


def test_a_missing_server_is_named() -> None:
    """No PostgreSQL there: PartUnavailable that names the part, for every command."""
    nowhere = "postgresql://127.0.0.1:1/nothing"
    for call in (migrate.upgrade, migrate.pending, migrate.sql):
        with pytest.raises(PartUnavailable) as raised:
            call(nowhere)
        assert raised.value.details["part"] == "PostgreSQL"


def test_the_tables_hold_the_librarys_fields() -> None:
    """Every field of a job and a batch has its column, no column is unknown to them, and promised names lead."""
    assert {field.name for field in fields(Job)} == set(JOBS.c.keys())
    assert {field.name for field in fields(Batch)} == set(BATCHES.c.keys())
    assert JOBS.c.keys()[: len(REPORTED)] == REPORTED


FILLERS = {
    "uuid": str(uuid4()),
    "text": "x",
    "integer": 1,
    "bigint": 1,
    "boolean": False,
    "jsonb": "{}",
    "timestamp with time zone": "2026-01-01T00:00:00Z",
    "numeric": 1,
}
LAWFUL = {"status": "queued", "stage": "generate", "billed": "no", "state": "accepted", "tried": "[]"}


def fill(connection: Connection, schema: str, table: str, **given: object) -> None:
    """One row with a lawful value in every column that demands one."""
    columns = connection.execute(
        text(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = :schema"
            " AND table_name = :table AND is_nullable = 'NO' AND is_identity = 'NO'"
        ),
        {"schema": schema, "table": table},
    ).all()
    row = {name: LAWFUL.get(name, FILLERS[kind]) for name, kind in columns} | given
    names, values = ", ".join(row), ", ".join(f":{name}" for name in row)
    connection.execute(text(f"INSERT INTO {schema}.{table} ({names}) VALUES ({values})"), row)


def test_rows_of_the_first_release_are_taken_along(database_url: str, connection: Connection) -> None:
    """An upgrade with jobs, batches and attempts in the tables: each new column has its value, and all can be read."""
    first_release, found, _ = migrate.sql(database_url, "lived_in").partition("-- Running upgrade 0001 ->")
    assert found
    connection.connection.cursor().execute(first_release + "COMMIT;")
    connection.execute(text("RESET search_path"))
    assert migrate.pending(database_url, "lived_in")
    ids = {name: uuid4() for name in ("batch", "job", "attempt")}
    fill(connection, "lived_in", "imagegen_batches", id=ids["batch"])
    moment = FILLERS["timestamp with time zone"]
    member = {"id": ids["job"], "batch_id": ids["batch"], "batch_index": 0, "next_run_at": moment}
    fill(connection, "lived_in", "image_generation_jobs", **member)
    fill(connection, "lived_in", "imagegen_attempts", id=ids["attempt"], job_id=ids["job"])
    migrate.upgrade(database_url, "lived_in")
    assert not migrate.pending(database_url, "lived_in")
    with closing(Database(database_url, "lived_in")) as database:
        jobs = PostgresJobs(database)
        batch, (job,) = jobs.get_batch(ids["batch"])
        attempt = jobs.attempt(ids["attempt"])
    assert attempt is not None
    assert (job.id, job.aliases, job.stopped, job.slot_at, job.replaces) == (ids["job"], (), False, None, None)
    assert (batch.aliases, attempt.collects, attempt.collect_at) == ((), 0, None)


MONEY = """
SELECT cost_credits, cost_wasted, cost_uncertain, committed, reserved_on
FROM {schema}.image_generation_jobs WHERE id = :id
"""


def billed_job(connection: Connection, schema: str, lines: list[tuple[str, str]], **given: object) -> object:
    """A job of the release before, with an attempt and these lines of its books."""
    job, attempt = uuid4(), uuid4()
    fill(connection, schema, "image_generation_jobs", id=job, **given)
    fill(connection, schema, "imagegen_attempts", id=attempt, job_id=job)
    for kind, amount in lines:
        fill(connection, schema, "imagegen_ledger", job_id=job, attempt_id=attempt, kind=kind, amount=amount)
    return job


def test_what_was_wasted_is_told_apart_by_an_upgrade(database_url: str, connection: Connection) -> None:
    """Jobs of 0002: waste leaves their cost, doubts stay, live ones have their reservation, each on its day."""
    schema = "reckoned"
    before, found, _ = migrate.sql(database_url, schema).partition("-- Running upgrade 0002 ->")
    assert found
    connection.connection.cursor().execute(before + "COMMIT;")
    connection.execute(text("RESET search_path"))
    moment = "2026-03-31T23:30:00-02:00"
    ended = {"created_at": moment, "next_run_at": None}
    dime, paid = "0.100000", "0.040000"
    good, lost = ended | {"cost_credits": paid}, ended | {"cost_credits": paid, "status": "failed"}
    rows: dict[str, tuple[list[tuple[str, str]], dict[str, object]]] = {
        "live": ([("reserve", dime)], {"created_at": moment, "next_run_at": moment, "cost_estimated": dime}),
        "good": ([("reserve", dime), ("settle", paid)], {**good, "status": "completed"}),
        "lost": ([("reserve", dime), ("waste", paid)], lost),
        "kept": ([("waste", dime), ("settle", paid)], lost),
        "open": ([("uncertain", dime)], {**ended, "status": "cancelled", "cost_uncertain": dime}),
        "free": ([("reserve", dime), ("release", dime)], {**ended, "status": "failed"}),
    }
    jobs = {name: billed_job(connection, schema, lines, **given) for name, (lines, given) in rows.items()}
    migrate.upgrade(database_url, schema)
    told = {}
    for name, job in jobs.items():
        *money, day = connection.execute(text(MONEY.format(schema=schema)), {"id": job}).one()
        assert day == date(2026, 4, 1)
        told[name] = tuple(None if one is None else str(one) for one in money)
    zero = "0.000000"
    assert told == {
        "live": (None, None, None, dime),
        "good": (paid, None, None, paid),
        "lost": (zero, paid, None, paid),
        "kept": (paid, None, None, paid),
        "open": (None, None, dime, dime),
        "free": (zero, None, None, zero),
    }


def test_the_books_are_kept_whatever_a_session_looks_at(database_url: str, connection: Connection) -> None:
    """The trigger finds its tables in a schema with an awkward name, though the session's path leads elsewhere."""
    schema = 'Money "here"'
    migrate.upgrade(database_url, schema)
    quoted = '"Money ""here"""'
    now, dollar = datetime.now(UTC), Decimal(1)
    with closing(Database(database_url, schema)) as database:
        PostgresBudgets(database, emulated=False).set("all", "day", dollar, True, at=now)
        PostgresJobs(database).admit([new_job(created_at=now)], None, worker="w")
        (budget,) = PostgresBudgets(database, emulated=False).list(at=now)
    assert budget.committed == CENTS
    connection.execute(text("SET search_path TO pg_catalog"))
    connection.execute(text(f"UPDATE {quoted}.image_generation_jobs SET committed = 0.5"))
    connection.execute(text("RESET search_path"))
    assert connection.execute(text(f"SELECT committed FROM {quoted}.imagegen_spending")).scalar() == Decimal("0.5")
