"""Faults at random while jobs run: whatever is killed, every job ends, and none is paid for twice.

`IMAGEGEN_CHAOS_JOBS` and `IMAGEGEN_CHAOS_SECONDS` change the long run; `-k short` is the small one.
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from uuid import uuid4

import pytest

from imagegen import policies
from imagegen.embedded.addresses import free_port
from imagegen.emulator import Emulator
from imagegen.providers.nanobanana import NanoBanana
from imagegen.states import TERMINAL
from tests.acceptance.system import System, started, until, words
from tests.chaos.books import UNKNOWN, Account, accounts, counted, problems, table, totals
from tests.processes import leftovers

JOBS = int(os.environ.get("IMAGEGEN_CHAOS_JOBS", "300"))
SECONDS = float(os.environ.get("IMAGEGEN_CHAOS_SECONDS", "60"))
KILL_EVERY = 2.0
WORKERS = ("generate", "poll", "transfer", "housekeeping")
PARTS = ("beat", "redis", "postgres")
FAULTS = {"lost_answer": 0.05, "server_error": 0.03, "rate_limit": 0.03}
"""Share of paid calls that each fault strikes: dropped after charging, 500, 429."""
EXPIRED = 0.05
PATIENCE = 60.0 + NanoBanana.reconcile_window
"""Seconds from the last fault to the last end, where answers are waited for."""

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(420)]


@pytest.mark.parametrize(
    ("jobs", "seconds"), [pytest.param(60, 16.0, id="short"), pytest.param(JOBS, SECONDS, id="long")]
)
def test_everything_is_killed(tmp_path: Path, capsys: pytest.CaptureFixture[str], jobs: int, seconds: float) -> None:
    """Workers, beat, Redis and PostgreSQL killed, Redis flushed twice, answers dropped: all jobs end right."""
    home, chance = tmp_path / "home", random.Random(7)
    port = str(free_port())
    callbacks = {"IMAGEGEN_API_PORT": port, "IMAGEGEN_CALLBACK_BASE_URL": f"http://127.0.0.1:{port}"}
    with Emulator(latency="lognormal:2:0.5", plain=True) as emulator, started(home, emulator, **callbacks) as system:
        for number, (fault, share) in enumerate(FAULTS.items()):
            params = {"retry_delay": "2s"} if fault == "rate_limit" else {}
            emulator.fault(fault, route="submit", probability=share, seed=number, **params)
        emulator.fault("expired_url", provider="nanobanana", probability=EXPIRED, seed=9)
        sent = [
            system.client.generate(f"chaos #{uuid4().hex[:8]}", provider=chance.choice(["nanobanana", "gemini"])).id
            for _ in range(jobs)
        ]
        until(lambda: len(accounts(system)) == jobs, seconds=60, every=0.5)
        torment = Torment(system, chance, seconds)
        torment.run()
        over = time.monotonic()
        until(lambda: ended(system), seconds=PATIENCE, every=0.5)
        took = time.monotonic() - over
        until(lambda: told_again(system), seconds=60, every=0.5)
        found = accounts(system)
        wrong = problems(system, found.values()) + lost_answers(list(found.values()))
        with capsys.disabled():
            print(report(list(found.values()), torment, took, wrong))
        assert {account.id for account in found.values()} == {str(one) for one in sent}
        assert {account.code for account in found.values()} <= {None, UNKNOWN}
        assert wrong == []
    assert leftovers(home) == []


def test_requests_of_a_killed_worker_are_sent_again(tmp_path: Path) -> None:
    """Requests that died with their worker before their rows were written are resent by the client that waits."""
    with Emulator(plain=True) as emulator, started(tmp_path / "home", emulator) as system:
        jobs = [system.client.generate(words("held")) for _ in range(60)]
        os.kill(system.run.supervisor.pids()["generate"], signal.SIGKILL)
        done = [system.client.wait(job, timeout=policies.VISIBILITY_TIMEOUT) for job in jobs]
        assert {job.status for job in done} == {"completed"}
        assert len(system.charges()) == len(jobs)


class Torment:
    """A kill every two seconds, a part among the victims now and then, and two flushes of Redis."""

    def __init__(self, system: System, chance: random.Random, seconds: float) -> None:
        self.system, self.chance, self.seconds = system, chance, seconds
        self.done: list[str] = []

    def run(self) -> None:
        """Until the seconds are over."""
        begin = time.monotonic()
        parts = dict(zip(PARTS, (0.25, 0.5, 0.75), strict=True))
        flushes = [0.4, 0.85]
        while (share := (time.monotonic() - begin) / self.seconds) < 1:
            due = [part for part, at in parts.items() if share >= at]
            if due:
                parts.pop(due[0])
                self.kill(due[0])
            elif flushes and share >= flushes[0]:
                flushes.pop(0)
                self.flush()
            else:
                self.kill(self.chance.choice(WORKERS))
            time.sleep(KILL_EVERY)

    def kill(self, name: str) -> None:
        """One process, if it runs at the moment."""
        pid = self.system.run.supervisor.pids().get(name)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            self.done.append(f"{name} killed")

    def flush(self) -> None:
        """Every message, result and counter gone."""
        with self.system.redis() as redis:
            redis.flushall()
        self.done.append("Redis flushed")


def ended(system: System) -> bool:
    """Whether every job has."""
    return all(row[0] in TERMINAL for row in system.sql("SELECT status FROM image_generation_jobs"))


def told_again(system: System) -> bool:
    """Whether every end was told twice, so that nothing moves any more."""
    waiting = "SELECT count(*) FROM image_generation_jobs WHERE announce_at IS NOT NULL OR completed_at IS NULL"
    return bool(system.sql(waiting)[0][0] == 0)


def lost_answers(found: list[Account]) -> list[str]:
    """Charged answers that were dropped: the picture was found, or the job says that nobody knows."""
    return [
        f"{account.ended} after a dropped answer: {account.prompt}"
        for account in found
        if unheard(account) and account.ended not in {"completed", f"failed {UNKNOWN}"}
    ]


def unheard(account: Account) -> bool:
    """Whether a charged answer never reached its worker: dropped on the way, or the worker was dead."""
    return any(charge["outcome"] == "lost" for charge in account.charges)


def report(found: list[Account], torment: Torment, took: float, wrong: list[str]) -> str:
    """The one table of the show."""
    rows = []
    for provider in ("nanobanana", "gemini"):
        for answer in ("heard, or not charged", "lost after charging"):
            lost = answer.startswith("lost")
            some = [one for one in found if one.provider == provider and unheard(one) == lost]
            charges = sum(len(one.charges) for one in some)
            most = max((len(one.charges) for one in some), default=0)
            rows.append((provider, answer, len(some), counted(one.ended for one in some), charges, most))
    heads = ("provider", "answer", "jobs", "ended", "charges", "most per job")
    sums = ", ".join(f"{name} {amount}" for name, amount in totals(found).items())
    lines = [counted(torment.done), f"all ended {took:.1f} s after the last fault", sums, *wrong]
    return "\n".join(["", table(heads, rows), *lines])
