"""The command line with its imports done: `python -m tests.acceptance.preloaded SOCKET` forks a process per command.

A command spends more than a second in importing, which a suite with a hundred of them cannot. What a forked command
runs is the console script's own `main`, with arguments, environment, folder and exit code of its own.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
from typing import Any

from imagegen.cli.main import main

# What commands import on their way to the services; none of them reads a setting while it is imported.
BEFOREHAND = (
    "imagegen.admission", "tasks.wiring", "storage.migrate", "storage.bucket", "celery.app.base", "celery.app.amqp",
    "celery.backends.redis", "kombu.transport.redis", "sqlalchemy.dialects.postgresql.psycopg2", "botocore.httpsession",
)  # fmt: skip
LENGTH = struct.Struct("!I")


def serve(path: str) -> None:
    """Takes commands until standard input ends; in a forked command it returns the command's own way."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
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


def _attend(connection: socket.socket) -> None:
    """Starts the command in a process of its own and tells its number, then its exit code."""
    head, streams, _, _ = socket.recv_fds(connection, LENGTH.size, 2)
    with connection.makefile("rb") as rest:
        order = json.loads(rest.read(LENGTH.unpack(head)[0]))
    pid = os.fork()
    if pid == 0:
        connection.close()
        _run(order, streams)
    connection.sendall(LENGTH.pack(pid))
    _, status = os.waitpid(pid, 0)
    connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _run(order: dict[str, Any], streams: list[int]) -> None:
    for target, source in enumerate((os.open(os.devnull, os.O_RDONLY), *streams)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    sys.argv = ["imagegen", *order["words"]]
    main()
    sys.exit(0)


if __name__ == "__main__":
    for name in BEFOREHAND:
        importlib.import_module(name)
    serve(sys.argv[1])
