"""The worker application as children of `up`: workers, beat, Flower and the HTTP API."""

from __future__ import annotations

import importlib.util
import signal
import socket
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from celery import Celery

from imagegen import policies
from imagegen.embedded.addresses import HOST, answers
from imagegen.embedded.home import Home
from imagegen.embedded.supervisor import Child
from imagegen.errors import NotServed

APP = "tasks"
# Parts stop last; what takes orders from outside stops first.
TIER_WORKERS, TIER_DOORS = 1, 2
START_SECONDS = 60.0
# Longer than any step but a paid call, whose answer is worth waiting for: killed in it, nobody has what it bought.
WORKER_GRACE = 25.0
PAYING_GRACE = policies.SUBMIT_TOTAL + WORKER_GRACE
PING_SECONDS = 1.0


@dataclass(frozen=True)
class Worker:
    """One Celery worker: node name, queues (`{ns}` is the namespace), pool, concurrency, seconds to end its work in."""

    name: str
    queues: tuple[str, ...]
    pool: str
    concurrency: int
    grace: float = WORKER_GRACE


def application_root(cwd: Path) -> Path:
    """The folder with the worker application: the working folder or one on the path; `NotServed` in a bare wheel."""
    if (cwd / APP / "celery.py").exists():
        return cwd
    found = importlib.util.find_spec(APP)
    for folder in (found.submodule_search_locations or []) if found else []:
        if Path(folder, "celery.py").exists():
            return Path(folder).parent
    raise NotServed(
        f"the worker application {APP!r} is not in {cwd}: `up` runs from a checkout or the image, "
        "not from the bare package",
        {"folder": str(cwd)},
    )


def _celery(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "celery", "-A", APP, *words)


def worker_children(
    workers: Iterable[Worker], namespace: str, level: str, env: Mapping[str, str], cwd: Path
) -> list[Child]:
    """The workers. They stop warm: what they run ends first, what they hold goes back, and nothing new is taken.

    A soft shutdown (REMAP_SIGTERM) lasts its whole timeout once a single task runs, and ends no thread.
    """
    return [
        Child(
            name=worker.name,
            command=_celery(
                "worker",
                "-n",
                f"{worker.name}@%h",
                "-Q",
                ",".join(worker.queues).replace("{ns}", namespace),
                "-P",
                worker.pool,
                "-c",
                str(worker.concurrency),
                "-l",
                level,
                "--without-gossip",
                "--without-mingle",
            ),
            env=env,
            cwd=cwd,
            grace=worker.grace,
            tier=TIER_WORKERS,
            ready_seconds=START_SECONDS,
        )
        for worker in workers
    ]


def beat_child(home: Home, level: str, env: Mapping[str, str], cwd: Path) -> Child:
    """The clock that sends the sweep."""
    schedule = home.run / "beat-schedule"
    command = _celery("beat", "-s", str(schedule), "--pidfile=", "-l", level)
    return Child(name="beat", command=command, env=env, cwd=cwd, tier=TIER_WORKERS)


def flower_child(port: int, env: Mapping[str, str], cwd: Path) -> Child:
    """Flower, to look at and not to touch: it has no login, and anybody on this machine reaches the loopback."""
    return Child(
        name="flower",
        command=_celery("flower", f"--address={HOST}", f"--port={port}", "--read_only=True"),
        env=env,
        cwd=cwd,
        tier=TIER_DOORS,
        ready=lambda: answers(f"http://{HOST}:{port}/healthcheck"),
        ready_seconds=START_SECONDS,
        stop_signal=signal.SIGINT,
        grace=3.0,
    )


def api_child(port: int, level: str, env: Mapping[str, str], cwd: Path) -> Child:
    """The HTTP API."""
    return Child(
        name="api",
        command=(
            sys.executable,
            "-m",
            "uvicorn",
            f"{APP}.asgi:app",
            "--host",
            HOST,
            "--port",
            str(port),
            "--log-level",
            level,
            "--no-access-log",
            "--timeout-graceful-shutdown",
            "5",
        ),
        env=env,
        cwd=cwd,
        tier=TIER_DOORS,
        ready=lambda: answers(f"http://{HOST}:{port}/health"),
        ready_seconds=START_SECONDS,
    )


def has_api(app_root: Path) -> bool:
    """Whether the HTTP API can be served here: the application has one and the extra `api` is installed."""
    return (app_root / APP / "asgi.py").exists() and importlib.util.find_spec("uvicorn") is not None


def emulator_child(port: int, options: tuple[str, ...], env: Mapping[str, str], cwd: Path) -> Child:
    """Every provider on one port."""
    return Child(
        name="emulator",
        command=(sys.executable, "-m", "imagegen.emulator", "--port", str(port), *options),
        env=env,
        cwd=cwd,
        ready=lambda: answers(f"http://{HOST}:{port}/__health"),
        ready_seconds=START_SECONDS,
        grace=3.0,
    )


def workers_answer(broker: str, workers: Iterable[Worker]) -> bool:
    """Whether every worker answers a ping through the broker."""
    names = {f"{worker.name}@{socket.gethostname()}" for worker in workers}
    with Celery(broker=broker, set_as_current=False) as app:
        replies = app.control.ping(sorted(names), timeout=PING_SECONDS, limit=len(names))
    return names <= {node for reply in replies for node in reply}
