"""Real parts for tests: one Redis and one PostgreSQL per session, from the code that `up` uses, all on Unix sockets."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import psycopg2
import pytest
import redis

from imagegen.embedded.home import Home
from imagegen.embedded.postgres import Postgres
from imagegen.embedded.redis import redis_child
from imagegen.embedded.supervisor import Supervisor

REDIS_DATABASES = 64
_numbers = count(1)


class Parts:
    """The session's supervisor; each part is started when first asked for."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.supervisor = Supervisor(home)
        self._redis: str | None = None
        self._postgres: Postgres | None = None

    @property
    def redis(self) -> str:
        """Address of database 0 of the Redis server, `unix:///path?db=0`."""
        if self._redis is None:
            child, self._redis = redis_child(self.home, durable=False)
            self.supervisor.start(child)
        return self._redis

    @property
    def postgres(self) -> str:
        """Address of the server's own database; tests take one of theirs from `new_database`."""
        if self._postgres is None:
            self._postgres = Postgres(self.home, durable=False)
            self.supervisor.start(self._postgres.child())
        return self._postgres.url

    def new_database(self) -> str:
        """A fresh, empty database; its SQLAlchemy address."""
        name = f"test_{next(_numbers)}"
        self._administer(f"CREATE DATABASE {name}")
        return self.postgres.replace("@/imagegen?", f"@/{name}?")

    def drop_database(self, url: str) -> None:
        """Drop what `new_database` made, with whatever is still connected to it."""
        name = url.partition("@/")[2].partition("?")[0]
        self._administer(f"DROP DATABASE {name} WITH (FORCE)")

    def _administer(self, statement: str) -> None:
        with closing(psycopg2.connect(self.postgres.replace("+psycopg2", ""))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)


@pytest.fixture(scope="session")
def parts() -> Iterator[Parts]:
    """The real parts of this session, stopped and removed at its end."""
    with tempfile.TemporaryDirectory(prefix="imagegen-tests-") as folder:
        parts = Parts(Home(Path(folder, "home")))
        try:
            yield parts
        finally:
            parts.supervisor.stop()
            parts.home.remove_short_folders()


@pytest.fixture(scope="module")
def redis_url(parts: Parts) -> str:
    """An empty Redis database for this module (`unix:///path?db=N`); see `celery_redis_url` for Celery's spelling."""
    url = parts.redis.replace("db=0", f"db={next(_numbers) % REDIS_DATABASES}")
    with closing(redis.Redis.from_url(url)) as client:
        client.flushdb()
    return url


@pytest.fixture(scope="module")
def database_url(parts: Parts) -> Iterator[str]:
    """A fresh PostgreSQL database for this module (`postgresql+psycopg2://…`), dropped at its end."""
    url = parts.new_database()
    yield url
    parts.drop_database(url)
