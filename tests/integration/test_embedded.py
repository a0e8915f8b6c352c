"""The embedded Redis and PostgreSQL are the real ones, survive what they must, and are closed to others."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
import redis

from imagegen.embedded.home import Home
from imagegen.embedded.postgres import Postgres
from imagegen.embedded.process import User, launch_command
from imagegen.embedded.redis import redis_child
from imagegen.embedded.supervisor import Supervisor
from imagegen.errors import PartUnavailable

ROOT = Path(__file__).parents[2]
NOBODY = 65534


def until(met: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait for a condition; fail where it does not come."""
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, "the condition did not come in time"
        time.sleep(0.02)


def ask(url: str, statement: str) -> list[tuple[object, ...]]:
    """Rows of one statement."""
    with closing(psycopg2.connect(url.replace("+psycopg2", ""))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of this test's own, removed with all in it."""
    with tempfile.TemporaryDirectory(prefix="imagegen-embedded-") as made:
        yield Path(made)


@pytest.mark.parametrize("below", ["with space", "comma, colon:", "long-" * 40])
def test_any_path_serves(folder: Path, below: str) -> None:
    """Both parts start below a path with spaces, with marks that addresses use, and one too long for a socket."""
    home = Home(folder / below / "home")
    with Supervisor(home) as supervisor:
        postgres = Postgres(home, durable=False)
        child, redis_url = redis_child(home)
        supervisor.start(postgres.child(), wait=False)
        supervisor.start(child)
        supervisor.wait_ready("postgres")
        assert ask(postgres.url, "SHOW server_version_num")[0][0] >= "180000"  # type: ignore[operator]
        with closing(redis.Redis.from_url(redis_url)) as client:
            assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
    outside = postgres.sockets
    home.remove_short_folders()
    assert home.path in outside.parents or not outside.exists()


def test_restart_keeps_address_and_data(folder: Path) -> None:
    """A part killed with SIGKILL is back within seconds, on the same address, with its data."""
    home = Home(folder / "home")
    lines: list[str] = []
    with Supervisor(home, lines.append) as supervisor:
        postgres = Postgres(home)
        child, redis_url = redis_child(home)
        supervisor.start(postgres.child())
        supervisor.start(child)
        client = redis.Redis.from_url(redis_url)
        ask(postgres.url, "CREATE TABLE kept AS SELECT 7 AS n")
        client.set("kept", "7")
        before = supervisor.pids()
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        until(lambda: supervisor.pids().keys() == before.keys() and supervisor.pids() != before)
        supervisor.wait_ready("postgres")
        supervisor.wait_ready("redis")
        assert ask(postgres.url, "SELECT n FROM kept") == [(7,)]
        assert client.get("kept") == b"7"
        client.close()
    assert any("postgres was killed by SIGKILL" in line for line in lines)


def test_data_outlives_the_supervisor(folder: Path) -> None:
    """A second supervisor of the same home finds the database of the first."""
    home = Home(folder / "home")
    for statement in ("CREATE TABLE kept AS SELECT 7 AS n", "SELECT n FROM kept"):
        with Supervisor(home) as supervisor:
            postgres = Postgres(home, durable=False)
            supervisor.start(postgres.child())
            rows = ask(postgres.url, statement)
    assert rows == [(7,)]


def test_closed_to_others(folder: Path) -> None:
    """No TCP port, folders of mode 0700, no password on a command line or in a log, and no entry without it."""
    home = Home(folder / "home")
    with Supervisor(home) as supervisor:
        postgres = Postgres(home, durable=False)
        child, _ = redis_child(home)
        supervisor.start(postgres.child())
        supervisor.start(child)
        password = home.secret("postgres-password")
        assert stat.S_IMODE((home.run / "postgres-password").stat().st_mode) == 0o600
        for private in (home.run, home.logs, postgres.sockets, postgres.data, home.path / "redis"):
            assert stat.S_IMODE(private.stat().st_mode) == 0o700, private
        assert ask(postgres.url, "SHOW listen_addresses") == [("",)]
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            ask(postgres.url.replace(password, "wrong"), "SELECT 1")
        spoken = "".join(" ".join(part.command) for part in (postgres.child(), child))
        assert password not in spoken + "".join(log.read_text() for log in home.logs.iterdir())


def test_two_side_by_side(folder: Path) -> None:
    """Two homes have two databases that know nothing of each other."""
    homes = [Home(folder / name) for name in ("one", "two")]
    with Supervisor(homes[0]) as first, Supervisor(homes[1]) as second:
        servers = [Postgres(home, durable=False) for home in homes]
        for supervisor, server in zip((first, second), servers, strict=True):
            supervisor.start(server.child(), wait=False)
        for supervisor, server, number in zip((first, second), servers, (1, 2), strict=True):
            supervisor.wait_ready("postgres")
            ask(server.url, f"CREATE TABLE kept AS SELECT {number} AS n")
        assert [ask(server.url, "SELECT n FROM kept") for server in servers] == [[(1,)], [(2,)]]


def test_stale_pid_file_of_a_foreign_process(folder: Path) -> None:
    """A pid file whose number now belongs to another program does not stop the server from starting."""
    home = Home(folder / "home")
    postgres = Postgres(home, durable=False)
    child = postgres.child()
    (postgres.data / "postmaster.pid").write_text(f"{os.getpid()}\n{postgres.data}\n1\n5432\n\n\n\n")
    (postgres.sockets / ".s.PGSQL.5432.lock").write_text(f"{os.getpid()}\n")
    with Supervisor(home) as supervisor:
        supervisor.start(child)
        assert ask(postgres.url, "SELECT 1") == [(1,)]


def test_left_over_server_is_stopped(folder: Path) -> None:
    """A server of this home that outlived its supervisor is ended before the next one starts."""
    home = Home(folder / "home")
    postgres = Postgres(home, durable=False)
    child = postgres.child()
    leftover = subprocess.Popen(
        launch_command(child.command, user=child.user),
        env=dict(child.env),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until(postgres.is_ready)
        ask(postgres.url, "CREATE TABLE kept AS SELECT 7 AS n")
        with Supervisor(home) as supervisor:
            supervisor.start(child)
            assert leftover.poll() is not None
            assert supervisor.pids()["postgres"] != leftover.pid
            assert ask(postgres.url, "SELECT n FROM kept") == [(7,)]
    finally:
        leftover.kill()
        leftover.wait()


def test_interrupted_creation_is_repeated(folder: Path) -> None:
    """A home whose first start was killed half way through is made whole by the next."""
    home = Home(folder / "home")
    postgres = Postgres(home, durable=False)
    (postgres.data.with_name("data.new") / "base").mkdir(parents=True)
    with Supervisor(home) as supervisor:
        supervisor.start(postgres.child())
        assert ask(postgres.url, "SELECT 1") == [(1,)]


def test_statement_log(folder: Path) -> None:
    """With a statement log every statement is written to the named file."""
    home = Home(folder / "home")
    log = folder / "statements.log"
    with Supervisor(home) as supervisor:
        postgres = Postgres(home, durable=False, statement_log=log)
        supervisor.start(postgres.child())
        ask(postgres.url, "SELECT 'counted'")
    assert "statement: SELECT 'counted'" in log.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a folder that others cannot enter")
@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_root_runs_it_as_another(folder: Path, mode: int) -> None:
    """As root the server runs as another user, with a privilege only below a folder of root's alone."""
    folder.chmod(mode)
    home = Home(folder / "home")
    with Supervisor(home) as supervisor:
        postgres = Postgres(home, durable=False)
        assert postgres.user is not None
        assert postgres.user.keep_dac_override == (mode == 0o700)
        supervisor.start(postgres.child())
        assert Path(f"/proc/{supervisor.pids()['postgres']}").stat().st_uid == postgres.user.uid != 0
        assert ask(postgres.url, "SELECT 1") == [(1,)]


AS_ORDINARY_USER = """
import sys
from pathlib import Path
from imagegen.embedded.home import Home
from imagegen.embedded.postgres import Postgres
from imagegen.embedded.redis import redis_child
from imagegen.embedded.supervisor import Supervisor
home = Home(Path(sys.argv[1]))
with Supervisor(home) as supervisor:
    supervisor.start(Postgres(home, durable=False).child())
    supervisor.start(redis_child(home)[0])
    print(*supervisor.pids())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user already")
def test_ordinary_user(folder: Path) -> None:
    """A user other than root starts both parts as itself, root's rights to change users being gone."""
    os.chown(folder, NOBODY, NOBODY)
    # CAP_DAC_OVERRIDE lets the interpreter be read where it lies in root's own folder.
    user = User(NOBODY, NOBODY, keep_dac_override=True)
    done = subprocess.run(
        launch_command((sys.executable, "-c", AS_ORDINARY_USER, str(folder / "home")), user=user),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == ["postgres", "redis"], done.stderr
    assert (folder / "home" / "postgres" / "data").stat().st_uid == NOBODY


def test_another_users_home_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that belongs to another user is refused with the way out."""
    home = Home(folder / "home")
    home.prepare()
    (home.path / "postgres").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(PartUnavailable, match="another IMAGEGEN_HOME"):
        Postgres(home, durable=False)
