"""Starts named children, restarts whatever exits, and leaves no process behind.

Every child leads a session of its own and is tied to this process by Linux' parent-death signal, so even SIGKILL of
the supervisor ends them. The signal belongs to the *thread* that forked, so one thread, which lives as long as the
supervisor, does every start.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import IO, Protocol, Self

from imagegen.embedded.home import Home, write_private
from imagegen.embedded.process import ProcessId, User, end, kill_group, launch_command, started_at
from imagegen.errors import PartUnavailable

FIRST_BACKOFF, LAST_BACKOFF = 0.2, 5.0
STEADY_SECONDS = 10.0
TICK_SECONDS = 0.05
EXITS_WHILE_STARTING = 4
LEFTOVER_GRACE = 5.0
LOG_LIMIT = 32 * 1024 * 1024


@dataclass(frozen=True)
class Child:
    """One process to keep alive.

    `env` is its whole environment. `ready` is asked until it is true. Children of a higher `tier` are stopped first,
    those of one tier together: `stop_signal`, `grace` seconds, SIGKILL. `before` runs ahead of every start.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path | None = None
    log: Path | None = None
    ready: Callable[[], bool] | None = None
    ready_seconds: float = 30.0
    stop_signal: int = signal.SIGTERM
    death_signal: int = signal.SIGKILL
    grace: float = 10.0
    tier: int = 0
    user: User | None = None
    before: Callable[[], None] | None = None


class Process(Protocol):
    """What a supervisor needs of `subprocess.Popen`."""

    pid: int
    returncode: int | None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""

    def wait(self) -> int:
        """The exit code, once there is one."""


@dataclass
class _Slot:
    child: Child
    process: Process | None = None
    identity: ProcessId | None = None
    began: float = 0.0
    next_start: float = 0.0
    backoff: float = FIRST_BACKOFF
    exits: int = 0
    stopping: bool = False


def to_stderr(line: str) -> None:
    """Where a supervisor's lines go by default."""
    print(line, file=sys.stderr, flush=True)


class Supervisor:
    """Children of one home. Use as a context manager, or call `stop`; safe to call from any thread."""

    def __init__(self, home: Home, report: Callable[[str], None] = to_stderr) -> None:
        home.prepare()
        self._home = home
        self._report = report
        self._record = home.run / "children.json"
        self._slots: dict[str, _Slot] = {}
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._stop_leftovers()
        self._keeper = threading.Thread(target=self._keep, name="supervisor", daemon=True)
        self._keeper.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, child: Child, wait: bool = True) -> None:
        """Start a child and, unless told otherwise, wait until it is ready. `PartUnavailable` tells why it is not."""
        with self._lock:
            if child.name in self._slots:
                raise ValueError(f"{child.name} is already started")
            self._slots[child.name] = _Slot(child)
        if wait:
            self.wait_ready(child.name)

    def wait_ready(self, name: str) -> None:
        """Wait until the child is ready, at most its `ready_seconds`; too many exits end the wait early."""
        slot = self._slots[name]
        deadline = time.monotonic() + slot.child.ready_seconds
        while time.monotonic() < deadline:
            running = slot.process is not None and slot.process.returncode is None
            if running and (slot.child.ready is None or slot.child.ready()):
                return
            if slot.exits >= EXITS_WHILE_STARTING:
                break
            self._over.wait(TICK_SECONDS)
        raise PartUnavailable(f"{name} does not start; {self._log(slot.child)} ends with: {self._tail(slot.child)}")

    def names(self) -> list[str]:
        """The children looked after, in the order of their start."""
        with self._lock:
            return list(self._slots)

    def pids(self) -> dict[str, int]:
        """Process numbers of the children that run, by name, in the order of their start."""
        with self._lock:
            return {name: slot.process.pid for name, slot in self._slots.items() if _runs(slot) and slot.process}

    def stop(self, name: str | None = None) -> None:
        """Stop one child, or all of them and the supervisor; returns when no process of theirs is left."""
        with self._lock:
            chosen = [self._slots[name]] if name else list(self._slots.values())
        chosen.sort(key=lambda slot: slot.child.tier, reverse=True)
        for _, tier in groupby(chosen, key=lambda slot: slot.child.tier):
            enders = [threading.Thread(target=self._end, args=(slot,)) for slot in tier]
            for ender in enders:
                ender.start()
            for ender in enders:
                ender.join()
        with self._lock:
            for slot in chosen:
                self._slots.pop(slot.child.name, None)
            self._write_record()
        if name is None:
            self._over.set()
            self._keeper.join()

    def _end(self, slot: _Slot) -> None:
        with self._lock:
            slot.stopping = True
            process, identity = slot.process, slot.identity
        if process is None:
            return
        if process.poll() is None and identity is not None:
            end(identity, slot.child.stop_signal, slot.child.grace)
        process.wait()
        kill_group(process.pid)

    def _keep(self) -> None:
        while not self._over.wait(TICK_SECONDS):
            with self._lock:
                for slot in [slot for slot in self._slots.values() if not slot.stopping]:
                    try:
                        self._look_after(slot, time.monotonic())
                    except OSError as error:
                        # The end of this thread would end every child: a full disk must not.
                        self._report(f"{slot.child.name} cannot be looked after: {error}")

    def _look_after(self, slot: _Slot, now: float) -> None:
        if slot.process is None:
            if now >= slot.next_start:
                self._spawn(slot)
            return
        code = slot.process.poll()
        if code is None:
            return
        kill_group(slot.process.pid)
        if now - slot.began >= STEADY_SECONDS:
            slot.backoff = FIRST_BACKOFF
        self._say(f"{slot.child.name} {_how(code)}; it is started again in {slot.backoff:g} s")
        self._delay(slot, now)

    def _spawn(self, slot: _Slot) -> None:
        child = slot.child
        slot.began = time.monotonic()
        try:
            slot.process = self._popen(child)
        except OSError as error:
            self._say(f"{child.name} cannot be started: {error}")
            self._delay(slot, slot.began)
            return
        started = started_at(slot.process.pid)
        slot.identity = ProcessId(slot.process.pid, started) if started else None
        self._write_record()

    def _popen(self, child: Child) -> Process:
        if child.before is not None:
            child.before()
        with self._open_log(child) as log:
            return subprocess.Popen(
                launch_command(child.command, user=child.user, death_signal=child.death_signal),
                env=dict(child.env),
                cwd=child.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _delay(self, slot: _Slot, now: float) -> None:
        slot.process, slot.exits = None, slot.exits + 1
        slot.next_start, slot.backoff = now + slot.backoff, min(slot.backoff * 2, LAST_BACKOFF)

    def _open_log(self, child: Child) -> IO[bytes]:
        path = self._log(child)
        if path.exists() and path.stat().st_size > LOG_LIMIT:
            path.replace(path.with_name(f"{path.name}.1"))
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")

    def _log(self, child: Child) -> Path:
        return child.log or self._home.log(child.name)

    def _tail(self, child: Child) -> str:
        path = self._log(child)
        return path.read_text(errors="replace")[-1500:].strip() if path.exists() else "nothing"

    def _say(self, line: str) -> None:
        self._report(line)
        with self._home.log("supervisor").open("a") as log:
            log.write(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {line}\n")

    def _write_record(self) -> None:
        """Who runs, for the next supervisor of this home to find what this one could not end."""
        record = {
            name: {"pid": slot.identity.pid, "started": slot.identity.started, "signal": slot.child.stop_signal}
            for name, slot in self._slots.items()
            if slot.identity is not None
        }
        write_private(self._record, json.dumps(record))

    def _stop_leftovers(self) -> None:
        """End the children of a supervisor that was killed; only processes proven to be those are touched."""
        if not self._record.exists():
            return
        for name, entry in json.loads(self._record.read_text()).items():
            leftover = ProcessId(entry["pid"], entry["started"])
            if leftover.alive:
                self._say(f"{name} (pid {leftover.pid}) is left over from an earlier run; it is stopped")
                end(leftover, entry["signal"], LEFTOVER_GRACE)


def _runs(slot: _Slot) -> bool:
    return slot.process is not None and slot.process.poll() is None


def _how(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
