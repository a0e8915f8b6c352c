"""PostgreSQL from one place: a pool per process, single statements without BEGIN and COMMIT, one meaning of "away".

Every statement stands alone (AUTOCOMMIT): one round trip, no transaction open between two of them, but for the few
that `Database.transaction` holds together. The schema is written into the statement's names, so nothing depends on the
session and PgBouncer's transaction mode works.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import URL, Connection, Engine, RowMapping, Table, create_engine, func, make_url, text, true
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.sql import Executable

from imagegen.errors import PartUnavailable
from storage.tables import VALUE

CONNECT: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "application_name": "imagegen",
}
"""libpq's connection parameters (seconds; `tcp_user_timeout` milliseconds); the address may override each."""

POOL_TIMEOUT = 10.0
"""Seconds a thread waits for a connection of its process's pool."""

UNSTORABLE = re.compile(r"\\u0000|\\ud[89a-f]")
"""What `json.dumps` makes of a NUL and of surrogates, paired ones too: seldom, and then worth a closer look."""

IDLE = func.set_config("idle_in_transaction_session_timeout", "5s", true())
"""For the first statement of a transaction that others wait for: PostgreSQL ends it where its client is lost."""

READ_ONLY = "25006"
"""SQLSTATE of a write to a standby: after a failover the old address may answer without being the primary."""


def plain(value: Any) -> Any:
    """What `json` cannot write itself: exact decimals and identifiers as text, times as ISO 8601, mappings."""
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def storable(value: Any) -> Any:
    """The value with what PostgreSQL keeps in no text replaced: NUL characters and halves of surrogate pairs.

    They come in providers' messages, and what a paid call taught us must not be lost to one of them.
    """
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return value


def to_json(value: Any) -> str:
    """JSON text; a NaN or an infinity is refused, because `jsonb` holds neither."""
    written = json.dumps(value, default=plain, allow_nan=False)
    if UNSTORABLE.search(written) is None:
        return written
    return json.dumps(storable(json.loads(written)))


def address(url: str | URL) -> URL:
    """Any spelling of a PostgreSQL address, for the driver used here."""
    return make_url(url).set(drivername="postgresql+psycopg2")


def connect_args(url: URL) -> dict[str, Any]:
    """libpq's parameters, without those that the address itself names."""
    return {name: value for name, value in CONNECT.items() if name not in url.query}


@contextmanager
def reaching() -> Iterator[None]:
    """Around anything that talks to PostgreSQL: raises `PartUnavailable` where it is away, overloaded or a standby.

    What SQLAlchemy recognises as a broken connection leaves the pool with all of its age, so the next call connects
    anew. Errors of the statement itself pass as they are.
    """
    try:
        yield
    except PoolTimeout as error:
        raise PartUnavailable("PostgreSQL: no connection of the pool came free", {"part": "PostgreSQL"}) from error
    except DBAPIError as error:
        away = error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
        if not away and getattr(error.orig, "pgcode", None) != READ_ONLY:
            raise
        said = str(error.orig).strip().splitlines()
        raise PartUnavailable(
            f"PostgreSQL cannot be used: {said[0] if said else type(error.orig).__name__}", {"part": "PostgreSQL"}
        ) from error


class Run(Protocol):
    """Executes one statement with these values (`storage.tables.value`); returns its rows."""

    def __call__(self, statement: Executable, values: Mapping[str, Any] | None = None) -> Sequence[RowMapping]: ...


def _execute(connection: Connection, statement: Executable, values: Mapping[str, Any] | None) -> Sequence[RowMapping]:
    named = {VALUE + name: storable(item) if isinstance(item, str) else item for name, item in (values or {}).items()}
    try:
        result = connection.execute(statement, named)
        return result.mappings().all() if result.returns_rows else ()
    except DBAPIError as error:
        if getattr(error.orig, "pgcode", None) == READ_ONLY:
            connection.invalidate(error)
        raise


class Database:
    """One PostgreSQL schema. Cheap to make, safe to share: its pool is opened by the process that first uses it."""

    def __init__(self, url: str, schema: str | None = None, *, threads: int = 16) -> None:
        """`url`: any PostgreSQL address; `schema` None: the connection's own; `threads`: connections per process."""
        self.url = address(url)
        self.schema = schema
        self._threads = threads
        self._engines: dict[int, Engine] = {}

    @property
    def engine(self) -> Engine:
        """This process's engine. A forked child never touches its parent's connections, nor closes them."""
        pid = os.getpid()
        found = self._engines.get(pid)
        return found if found is not None else self._engines.setdefault(pid, self._open())

    def _open(self) -> Engine:
        engine = create_engine(
            self.url,
            isolation_level="AUTOCOMMIT",
            connect_args=connect_args(self.url),
            pool_size=self._threads,
            max_overflow=self._threads,
            pool_timeout=POOL_TIMEOUT,
            pool_reset_on_return=None,
            pool_use_lifo=True,
            use_native_hstore=False,
            json_serializer=to_json,
            # Prompts and callback tokens are values: an error's text shall not carry them into a log.
            hide_parameters=True,
        )
        return engine.execution_options(schema_translate_map={None: self.schema}) if self.schema else engine

    def run(self, statement: Executable, values: Mapping[str, Any] | None = None) -> Sequence[RowMapping]:
        """Executes one statement by itself with these values (`storage.tables.value`); returns its rows.

        Raises `PartUnavailable`.
        """
        with reaching(), self.engine.connect() as connection:
            return _execute(connection, statement, values)

    @contextmanager
    def transaction(self) -> Iterator[Run]:
        """Several statements, each with a snapshot of its own, that commit together at the end of the block.

        Nothing but this database may be waited for inside: locks are held. A process that is lost in between holds
        them no longer than `IDLE`. Raises `PartUnavailable`.
        """
        with reaching(), self.engine.connect() as pooled:
            connection = pooled.execution_options(isolation_level="READ COMMITTED")
            with connection.begin():
                yield lambda statement, values=None: _execute(connection, statement, values)

    def qualified(self, table: Table) -> str:
        """The table's name as SQL text, with its schema."""
        name: str = self.engine.dialect.identifier_preparer.quote(table.name)
        return name if self.schema is None else f"{self.engine.dialect.identifier_preparer.quote(self.schema)}.{name}"

    def check(self) -> None:
        """Raises `PartUnavailable` where PostgreSQL does not answer."""
        self.run(text("SELECT 1"))

    def close(self) -> None:
        """Closes this process's connections; the next call opens new ones."""
        engine = self._engines.pop(os.getpid(), None)
        if engine is not None:
            engine.dispose()
