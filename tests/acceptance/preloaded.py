"""Our programs with their imports done: `python -m tests.acceptance.preloaded SOCKET` forks a process per order.

A program spends more than a second in importing, which a suite with hundreds of them cannot. What a forked program
runs is the console script's own `main`, or what `python -m MODULE` runs, with arguments, environment, folder, process
group and exit code of its own.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import sys
from contextlib import suppress
from typing import Any

from imagegen.cli.main import main
from imagegen.embedded.launch import die_with_parent

# What programs import on their way to the services; none of it reads a setting or connects while it is imported.
BEFOREHAND = (
    "imagegen.admission", "tasks.wiring", "storage.migrate", "storage.bucket", "celery.app.base", "celery.app.amqp",
    "celery.backends.redis", "kombu.transport.redis", "sqlalchemy.dialects.postgresql.psycopg2", "botocore.httpsession",
    "celery.bin.celery", "celery.apps.worker", "celery.apps.beat", "celery.concurrency.thread",
    "celery.worker.consumer", "celery.app.log", "celery.worker.control", "tasks.control", "tasks.pacing",
    "imagegen.api.app", "imagegen.api.setup", "uvicorn.main", "uvicorn.lifespan.on", "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto", "uvicorn.protocols.websockets.auto",
)  # fmt: skip
LENGTH = struct.Struct("!I")


def serve(path: str) -> None:
    """Takes orders until standard input ends; in a forked program it returns the program's own way."""
    signal.signal(signal.SIGCHLD, _reap)
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _attend(connection)
                return
            connection.close()


def _reap(*_: object) -> None:
    """Takes note of who ended, so that the suite's own bill has what the programs cost."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _attend(connection: socket.socket) -> None:
    """Starts the program in a process of its own and tells its number, then its exit code."""
    head, streams, _, _ = socket.recv_fds(connection, LENGTH.size, 2)
    with connection.makefile("rb") as rest:
        order = json.loads(rest.read(LENGTH.unpack(head)[0]))
    here = os.getpid()
    pid = os.fork()
    if pid == 0:
        connection.close()
        _run(order, streams, here)
    connection.sendall(LENGTH.pack(pid))
    _, status = os.waitpid(pid, 0)
    connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _run(order: dict[str, Any], streams: list[int], parent: int) -> None:
    if order["session"]:
        os.setsid()
    if sys.platform == "linux":
        die_with_parent(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    for target, source in enumerate((os.open(os.devnull, os.O_RDONLY), *streams)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    found = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path not in sys.path]
    sys.path[1:1] = found
    sys.argv = [order["program"], *order["words"]]
    if order["program"] == "imagegen":
        main()
    else:
        runpy.run_module(order["program"], run_name="__main__", alter_sys=True)
    sys.exit(0)


if __name__ == "__main__":
    for name in BEFOREHAND:
        importlib.import_module(name)
    serve(sys.argv[1])
