"""Faults at random while jobs run: whatever is killed, every job ends, and none is paid for twice."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from imagegen.emulator import Emulator
from imagegen.states import TERMINAL
from tests.acceptance.system import System, started, until, words

JOBS = 120
FAULTS_FOR = 24.0
KILL_EVERY = 2.0
LOST = 0.05
PATIENCE = 330.0
"""Seconds from the last fault to the last end: the lease of a worker that died inside a paid call, and the sweep."""

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


def test_workers_killed_and_redis_flushed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Workers killed with -9 at random, Redis flushed twice, answers dropped after charging: all jobs end right."""
    chance = random.Random(7)
    with Emulator(latency="lognormal:2:0.5", plain=True) as emulator, started(tmp_path / "home", emulator) as system:
        emulator.fault("lost_answer", route="submit", probability=LOST, seed=7)
        ids = [
            system.client.generate(words("chaos"), provider=chance.choice(["nanobanana", "gemini"])).id
            for _ in range(JOBS)
        ]
        until(lambda: system.sql("SELECT count(*) FROM image_generation_jobs")[0][0] == JOBS)
        torment(system, chance)
        jobs = until(lambda: ended(system, len(ids)), seconds=PATIENCE, every=1.0)
        charged = Counter(charge["prompt"] for charge in system.charges())
        statuses = Counter((row[1], row[2]) for row in jobs)
        with capsys.disabled():
            print(f"\n{statuses}\ncharges {sum(charged.values())}, most per job {max(charged.values())}")
        assert {row[0] for row in jobs} == {str(one) for one in ids}
        assert max(charged.values()) == 1
        assert {code for _, code in statuses} <= {None, "SUBMISSION_UNKNOWN"}
        assert books_agree(system)


def test_requests_of_a_killed_worker_are_sent_again(tmp_path: Path) -> None:
    """Requests that died with their worker before their rows were written are resent by the client that waits."""
    with Emulator(plain=True) as emulator, started(tmp_path / "home", emulator) as system:
        jobs = [system.client.generate(words("held")) for _ in range(60)]
        os.kill(system.run.supervisor.pids()["generate"], signal.SIGKILL)
        done = [system.client.wait(job, timeout=PATIENCE) for job in jobs]
        assert {job.status for job in done} == {"completed"}
        assert len(system.charges()) == len(jobs)


def torment(system: System, chance: random.Random) -> None:
    """Kills a worker every two seconds and flushes Redis twice."""
    end = time.monotonic() + FAULTS_FOR
    flushes = [end - FAULTS_FOR * share for share in (0.7, 0.3)]
    while time.monotonic() < end:
        name = chance.choice(["generate", "poll", "transfer", "housekeeping", "beat"])
        pid = system.run.supervisor.pids().get(name)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        if flushes and time.monotonic() > flushes[0]:
            flushes.pop(0)
            with system.redis() as redis:
                redis.flushall()
        time.sleep(KILL_EVERY)


def ended(system: System, expected: int) -> list[tuple[str, str, str | None]]:
    """Every job's id, status and error code, once all that were sent are accepted and have ended."""
    rows = system.sql("SELECT id::text, status, error_code FROM image_generation_jobs")
    done = len(rows) == expected and all(row[1] in TERMINAL for row in rows)
    return [(row[0], row[1], row[2]) for row in rows] if done else []


def books_agree(system: System) -> bool:
    """What we settled, wasted or hold for uncertain covers every charge, and what is certain equals it to the cent."""
    ours = dict(system.sql("SELECT kind, sum(amount) FROM imagegen_ledger GROUP BY kind"))
    charged = sum((Decimal(charge["amount"]) for charge in system.charges()), Decimal(0))
    certain = ours.get("settle", Decimal(0)) + ours.get("waste", Decimal(0))
    return certain <= charged <= certain + ours.get("uncertain", Decimal(0))
