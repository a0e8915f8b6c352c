"""`kill -9` before and after every call of a part, in every stage: whatever the point, the job ends right.

Pilot jobs of every kind show which points there are; then one job for each point is sent, all of them at once, to
workers that die there (`tests.chaos.crashing`) and are started again by the supervisor.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from imagegen.client import Batch, Job
from imagegen.embedded.addresses import free_port
from imagegen.embedded.application import Worker, worker_children
from imagegen.embedded.environment import is_setting
from imagegen.emulator import Emulator
from imagegen.states import TERMINAL
from tests.acceptance.system import ROOT, System, started, until
from tests.chaos.books import UNKNOWN, Account, accounts, counted, problems, table, totals
from tests.processes import leftovers

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

FOLDER = "IMAGEGEN_TEST_CRASH_FOLDER"
WORKERS = (
    *(Worker(f"entry{at}", ("{ns}",), "threads", 1) for at in range(2)),
    *(Worker(f"generate{at}", ("{ns}.generate",), "threads", 1) for at in range(4)),
    *(Worker(f"poll{at}", ("{ns}.poll",), "threads", 1) for at in range(2)),
    *(Worker(f"transfer{at}", ("{ns}.transfer",), "threads", 1) for at in range(3)),
    *(Worker(f"housekeeping{at}", ("{ns}.housekeeping",), "threads", 1) for at in range(3)),
)
"""One job at a time in each, so that nobody dies of another job's point."""
BY_CHANCE = {"due:after", "jobs:before", "jobs:after"}
"""Points of the sweep that a job meets only where no message or callback was quicker."""
PILOTS, CRASHES = 150.0, 420.0
"""Seconds for the pilots, and for all crashed jobs together."""


@dataclass(frozen=True)
class Kind:
    """A way through the stages: provider, the emulator's fault on it, and a crash that comes first."""

    name: str
    provider: str
    fault: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict, hash=False)
    first: str | None = None
    batch: bool = False


KINDS = (
    Kind("gemini", "gemini"),
    Kind("nanobanana", "nanobanana"),
    Kind("gemini, answer kept", "gemini", first="put:attempts:after"),
    Kind("gemini, refused once", "gemini", "rate_limit", {"retry_delay": "1s"}),
    Kind("gemini, refused", "gemini", "refusal"),
    Kind("gemini, lost answer", "gemini", "lost_answer"),
    Kind("gemini, slow", "gemini", "hang", {"seconds": 7.0}),
    Kind("nanobanana, lost answer", "nanobanana", "lost_answer"),
    Kind("nanobanana, failed", "nanobanana", "async_failure"),
    Kind("nanobanana, expired", "nanobanana", "expired_url"),
    Kind("batch", "gemini", batch=True),
)


@dataclass(frozen=True)
class Sent:
    """A job on its way: what was sent, of which kind, to crash where."""

    kind: Kind
    point: str
    tag: str
    sent: Job | Batch


def test_a_kill_at_any_point_loses_and_pays_nothing_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every point of every stage: the job ends, paid once at most; in doubt only where nobody can know better."""
    home = tmp_path / "home"
    with Emulator(latency=1.0, plain=True) as emulator, crashing_system(home, emulator, tmp_path) as system:
        pilots = [send(system, kind, "pilot") for kind in KINDS]
        until(lambda: told_again(system), seconds=PILOTS, every=0.5)
        ends = {pilot.kind: accounts(system)[pilot.tag].ended for pilot in pilots}
        ways = {pilot.kind: way(tmp_path, pilot) for pilot in pilots}
        jobs = [send(system, kind, point) for kind, points in chosen(ways).items() for point in points]
        with ThreadPoolExecutor(len(jobs)) as waiting:
            list(waiting.map(lambda one: system.client.wait(one.sent, timeout=CRASHES), jobs))
        until(lambda: told_again(system), seconds=60, every=0.5)
        found = accounts(system)
        rows = [verdict(one, found[one.tag], ends[one.kind], ways[one.kind], tmp_path) for one in jobs]
        wrong = [f"{row[0]} at {row[1]}: {row[3]}" for row in rows if row[-1] != "right"]
        wrong += problems(system, found.values()) + twice_closed(system, tmp_path)
        with capsys.disabled():
            print(f"\n{table(('way', 'killed at', 'died', 'ended', 'charges', ''), rows)}")
            print(f"{counted(row[3] for row in rows)}\n{totals(found.values())}\n" + "\n".join(wrong))
        assert wrong == []
    assert leftovers(home) == []


@contextmanager
def crashing_system(home: Path, emulator: Emulator, folder: Path) -> Iterator[System]:
    """A system whose workers die where prompts say, callbacks on."""
    port = str(free_port())
    callbacks = {"IMAGEGEN_API_PORT": port, "IMAGEGEN_CALLBACK_BASE_URL": f"http://127.0.0.1:{port}"}
    plain = (Worker("plain", ("{ns}",), "threads", 1),)
    with started(home, emulator, workers=plain, **callbacks) as system:
        system.run.supervisor.stop("plain")
        kept = {name: value for name, value in os.environ.items() if not is_setting(name)}
        env = {**kept, **system.run.instance.env, FOLDER: str(folder), "PYTHONPATH": str(ROOT)}
        children = worker_children(WORKERS, system.settings.namespace, "INFO", env, ROOT)
        for child in children:
            command = tuple("tests.chaos.crashing" if word == "tasks" else word for word in child.command)
            assert command[0] == sys.executable
            system.run.supervisor.start(replace(child, command=command), wait=False)
        yield system


def send(system: System, kind: Kind, point: str) -> Sent:
    """One job (or batch) of a kind that is to die at this point, or to tell its points as a pilot."""
    tag = uuid4().hex[:8]
    crash = ",".join(word for word in (kind.first, None if point == "pilot" else point) if word)
    prompt = " ".join(
        word for word in ("pilot" if point == "pilot" else "", crash and f"crash at {crash}", f"#{tag}") if word
    )
    if kind.fault is not None:
        system.emulator.fault(kind.fault, prompt_contains=tag, times=1, **kind.params)
    if kind.batch:
        other = {"prompt": f"beside {tag} #{uuid4().hex[:8]}"}
        batch = system.client.batch(requests=[{"prompt": prompt}, other], provider=kind.provider)
        return Sent(kind, point, tag, batch)
    return Sent(kind, point, tag, system.client.generate(prompt, provider=kind.provider))


def way(folder: Path, pilot: Sent) -> list[str]:
    """The points that a pilot came by, in order, each once."""
    return list(dict.fromkeys((folder / f"{pilot.tag}.pilot").read_text().split()))


def chosen(ways: Mapping[Kind, Sequence[str]]) -> dict[Kind, list[str]]:
    """The points to die at: all of each provider's plain way, and of the other kinds what those have not."""
    plain: dict[str, set[str]] = {}
    points: dict[Kind, list[str]] = {}
    for kind, path in ways.items():
        known = plain.setdefault(kind.provider, set())
        points[kind] = [point for point in path if point not in known]
        if kind.fault is None and kind.first is None and not kind.batch:
            known |= set(path)
    return points


def doubtful(path: Sequence[str], provider: str) -> set[str]:
    """Points between the intent's commit and the first lasting trace of the answer: nobody can know better there.

    With callbacks on, an order that nanobanana took makes itself known.
    """
    if "apply:submit:after" not in path:
        return set()
    begin = path.index("apply:submit:after")
    kept = [at for at, point in enumerate(path) if at > begin and lasting(point)]
    window = path[begin : kept[0]]
    if provider == "nanobanana" and "submit:after" in window:
        window = window[: window.index("submit:after")]
    return set(window)


def lasting(point: str) -> bool:
    """Whether something of the answer is committed or stored there."""
    return point.endswith(":after") and point.startswith(("put:attempts", "apply:"))


def verdict(one: Sent, account: Account, end: str, path: Sequence[str], folder: Path) -> tuple[Any, ...]:
    """A line of the table; its last word is `right` where the end may be so."""
    number = 0 if one.kind.first is None else 1
    died = (folder / f"{one.tag}.{number}").exists()
    allowed = {end} | ({f"failed {UNKNOWN}"} if one.point in doubtful(path, one.kind.provider) else set())
    right = (died or one.point in BY_CHANCE) and account.ended in allowed
    return (
        one.kind.name,
        one.point,
        "yes" if died else "no",
        account.ended,
        len(account.charges),
        "right" if right else "WRONG",
    )


def told_again(system: System) -> bool:
    """Whether every job has ended and its end was told twice, so that nothing moves any more."""
    rows = system.sql("SELECT status, announce_at FROM image_generation_jobs")
    return bool(rows) and all(status in TERMINAL and announce_at is None for status, announce_at in rows)


def twice_closed(system: System, folder: Path) -> list[str]:
    """Batches that were not closed exactly once."""
    ids = [row[0] for row in system.sql("SELECT id::text FROM imagegen_batches")]
    closed = {one: (folder / f"{one}.closed") for one in ids}
    return [
        f"batch {one} closed {len(told.read_text().split()) if told.exists() else 0} times"
        for one, told in closed.items()
        if not told.exists() or told.read_text().split() != ["closed"]
    ]
