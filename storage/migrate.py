"""Migrations: brings a database to this version's tables, tells whether that is needed, or writes the SQL.

Several may start at once: they wait for each other on an advisory lock of the database. All of an upgrade is one
transaction, so it happens or it does not.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, NullPool, create_engine, func, select, text
from sqlalchemy.sql.ddl import CreateSchema

from storage.engine import address, connect_args, reaching

LOCK = 0x696D6167
"""Key of the advisory lock: "imag" in ASCII."""

VERSION_TABLE = "imagegen_alembic_version"


def upgrade(url: str, schema: str | None = None) -> None:
    """Creates what is missing and migrates what is old, in `schema` (None: the connection's own); repeats harmlessly.

    Raises `PartUnavailable`.
    """
    with _connection(url) as connection:
        connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
        if schema is not None:
            connection.execute(CreateSchema(schema, if_not_exists=True))
            _enter(connection, schema)
        config = _config(schema)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def pending(url: str, schema: str | None = None) -> bool:
    """Whether `upgrade` has something to do. Raises `PartUnavailable`."""
    with _connection(url) as connection:
        return _revision(connection, schema) != _head(schema)


def sql(url: str, schema: str | None = None) -> str:
    """The SQL that `upgrade` would run on this database, for somebody else to run; empty where nothing is pending."""
    with _connection(url) as connection:
        revision = _revision(connection, schema)
    if revision == _head(schema):
        return ""
    out = io.StringIO()
    if schema is not None:
        quoted = '"' + schema.replace('"', '""') + '"'
        out.write(f"CREATE SCHEMA IF NOT EXISTS {quoted};\n\nSET search_path TO {quoted};\n\n")
    command.upgrade(_config(schema, out), f"{revision}:head" if revision else "head", sql=True)
    return out.getvalue()


@contextmanager
def _connection(url: str) -> Iterator[Connection]:
    target = address(url)
    engine = create_engine(target, poolclass=NullPool, connect_args=connect_args(target), use_native_hstore=False)
    with reaching(), engine.begin() as connection:
        yield connection


def _enter(connection: Connection, schema: str) -> None:
    """For this transaction alone, so that a pooled connection keeps nothing of it."""
    connection.execute(select(func.set_config(text("'search_path'"), func.quote_ident(schema), True)))


def _config(schema: str | None, out: io.StringIO | None = None) -> Config:
    config = Config(output_buffer=out)
    # ConfigParser reads % as the beginning of a reference.
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes.update(schema=schema, version_table=VERSION_TABLE)
    return config


def _head(schema: str | None) -> str | None:
    return ScriptDirectory.from_config(_config(schema)).get_current_head()


def _revision(connection: Connection, schema: str | None) -> str | None:
    options = {"version_table": VERSION_TABLE, "version_table_schema": schema}
    return MigrationContext.configure(connection, opts=options).get_current_revision()
