"""Runs commands through one process that has their imports done (see `preloaded`)."""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from tests.acceptance.preloaded import LENGTH

ROOT = Path(__file__).parents[2]


@cache
def _server() -> str:
    """The socket of this session's process, which ends with it."""
    folder = tempfile.TemporaryDirectory(prefix="imagegen-commands-")
    path = str(Path(folder.name, "socket"))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.acceptance.preloaded", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        cwd=ROOT,
    )  # fmt: skip

    def end() -> None:
        process.communicate()
        folder.cleanup()

    atexit.register(end)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return path


def run(words: Sequence[str], env: Mapping[str, str], cwd: Path, timeout: float) -> subprocess.CompletedProcess[str]:
    """`imagegen …` with this environment in this folder. Raises `subprocess.TimeoutExpired` and ends the command."""
    order = json.dumps({"words": words, "env": dict(env), "cwd": str(cwd)}).encode()
    with socket.socket(socket.AF_UNIX) as connection, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        connection.settimeout(timeout)
        connection.connect(_server())
        socket.send_fds(connection, [LENGTH.pack(len(order))], [out.fileno(), err.fileno()])
        connection.sendall(order)
        pid = LENGTH.unpack(connection.recv(LENGTH.size))[0]
        try:
            code = int(connection.recv(8))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(["imagegen", *words], timeout) from None
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode())
    return subprocess.CompletedProcess(["imagegen", *words], code, *texts)
