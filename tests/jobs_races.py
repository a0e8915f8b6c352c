"""Races on a real PostgreSQL: many at the same moment, one held in the middle, and what was sent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, event, text

from storage.engine import Database

THREADS = 8
Answer = TypeVar("Answer")


def together(call: Callable[[int], Answer], count: int = THREADS) -> list[Answer]:
    """The answers of `count` threads that begin at the same moment."""
    start = threading.Barrier(count)

    def one(number: int) -> Answer:
        start.wait(timeout=10)
        return call(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """The statements that this process sends meanwhile."""
    sent: list[str] = []

    def listen(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(database.engine, "before_cursor_execute", listen)
    try:
        yield sent
    finally:
        event.remove(database.engine, "before_cursor_execute", listen)


def until_blocked(database: Database, waiting: Future[Any]) -> None:
    """Returns when some session waits for a row's lock; fails after ten seconds, or if the call came through."""
    deadline = time.monotonic() + 10
    query = text(
        "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    while not database.run(query)[0]["n"]:
        assert not waiting.done(), "it did not wait"
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def transaction(database: Database) -> Iterator[Connection]:
    """A transaction that holds what it locks until the end of the block, and commits."""
    with database.engine.connect() as plain:
        connection = plain.execution_options(isolation_level="READ COMMITTED")
        with connection.begin():
            yield connection
