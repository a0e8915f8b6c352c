"""Runs our programs through one process that has their imports done (see `preloaded`)."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from imagegen.embedded.supervisor import Child, Process, Supervisor
from tests.acceptance.preloaded import LENGTH

ROOT = Path(__file__).parents[2]
STARTING = 60.0
"""Seconds within which a program is forked."""
PYTHON_M = (sys.executable, "-m")


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


class Forked:
    """A program that was forked from the process with the imports; looks like `subprocess.Popen`.

    `out` and `err` are the file descriptors of its streams; with `session` it leads a session of its own.
    """

    def __init__(
        self, program: str, words: Sequence[str], env: Mapping[str, str], cwd: Path, out: int, err: int, session: bool
    ) -> None:
        told = {"program": program, "words": words, "env": dict(env), "cwd": str(cwd), "session": session}
        order = json.dumps(told).encode()
        self.returncode: int | None = None
        self._lock = threading.Lock()
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(STARTING)
        self._connection.connect(_server())
        socket.send_fds(self._connection, [LENGTH.pack(len(order))], [out, err])
        self._connection.sendall(order)
        number = self._connection.recv(LENGTH.size)
        if len(number) < LENGTH.size:
            raise ConnectionError(f"{program} was not forked")
        self.pid: int = LENGTH.unpack(number)[0]

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once there is one. Raises `subprocess.TimeoutExpired`."""
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return code

    def _look(self, timeout: float | None) -> int | None:
        with self._lock:
            if self.returncode is None and select.select([self._connection], [], [], timeout)[0]:
                # Nothing comes where the process in between was killed, and the program with it.
                self.returncode = int(self._connection.recv(8) or -signal.SIGKILL)
                self._connection.close()
            return self.returncode


class ForkingSupervisor(Supervisor):
    """Starts our own programs from the process that has their imports done, everything else as usual."""

    def _popen(self, child: Child) -> Process:
        if child.command[:2] != PYTHON_M:
            return super()._popen(child)
        with self._open_log(child) as log:
            number = log.fileno()
            return Forked(
                child.command[2], child.command[3:], child.env, child.cwd or ROOT, number, number, session=True
            )


def run(
    words: Sequence[str], env: Mapping[str, str], cwd: Path, timeout: float, program: str = "imagegen"
) -> subprocess.CompletedProcess[str]:
    """`imagegen …` or `python -m PROGRAM …` with this environment in this folder.

    Raises `subprocess.TimeoutExpired` and ends the program.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        forked = Forked(program, words, env, cwd, out.fileno(), err.fileno(), session=False)
        try:
            code = forked.wait(timeout)
        except subprocess.TimeoutExpired:
            os.kill(forked.pid, signal.SIGKILL)
            forked.wait()
            raise subprocess.TimeoutExpired([program, *words], timeout) from None
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode())
    return subprocess.CompletedProcess([program, *words], code, *texts)
