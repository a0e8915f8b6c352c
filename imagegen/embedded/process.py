"""Who a process is, whether it lives, and how it is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LAUNCH = Path(__file__).with_name("launch.py")
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class User:
    """The user a child runs as; `keep_dac_override` lets it pass folders that only root may enter."""

    uid: int
    gid: int
    keep_dac_override: bool = False


@dataclass(frozen=True)
class ProcessId:
    """A process beyond doubt: its number and when it started, for numbers are given out again."""

    pid: int
    started: str

    @property
    def alive(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        return started_at(self.pid) == self.started


def started_at(pid: int) -> str | None:
    """When the process started, in a spelling that never changes while it lives; None for none or a zombie."""
    if sys.platform == "linux":
        try:
            # man 5 proc_pid_stat: the name in field 2 may hold spaces and brackets; state is 3, starttime 22.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]
    answer = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = answer.stdout.strip().partition(" ")
    return None if not started or state.startswith("Z") else started.strip()


def command_line(pid: int) -> str:
    """The words a process was started with, joined by spaces; empty where it cannot be told."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    answer = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return answer.stdout.strip()


def launch_command(command: tuple[str, ...], *, user: User | None = None, death_signal: int = 0) -> list[str]:
    """`command` wrapped so that it runs as `user` and gets `death_signal` when the thread that starts it ends."""
    options = ["--parent", str(os.getpid()), "--death-signal", str(death_signal)]
    if user is not None:
        options += ["--uid", str(user.uid), "--gid", str(user.gid)]
        options += ["--keep-dac-override"] if user.keep_dac_override else []
    return [sys.executable, "-I", "-S", str(LAUNCH), *options, "--", *command]


def end(process: ProcessId, stop_signal: int, grace: float) -> None:
    """Stop a process that leads its own group: `stop_signal`, `grace` seconds, then SIGKILL to the whole group."""
    if process.alive:
        with suppress(ProcessLookupError):
            os.kill(process.pid, stop_signal)
    deadline = time.monotonic() + grace
    while process.alive and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    kill_group(process.pid)
    while process.alive:
        time.sleep(POLL_SECONDS)


def kill_group(leader: int) -> None:
    """SIGKILL whatever is left of the group of `leader`."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
