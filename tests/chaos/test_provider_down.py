"""A provider that cannot be reached for a minute: its jobs wait, and every one of them is completed afterwards."""

from __future__ import annotations

import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from imagegen.emulator import Emulator
from imagegen.policies import BREAKER_RESET
from tests.acceptance.system import System, started, until, words
from tests.chaos.relay import Relay

DOWN = 60.0
DRAWING = 15.0
"""Seconds that a picture takes, so that orders from before are unfinished when the provider goes away."""
BEFORE, DURING = 10, 40
RECOVERY = 2 * BREAKER_RESET + DRAWING + 60.0

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]


def test_a_minute_without_the_provider_costs_time_alone(tmp_path: Path) -> None:
    """Connections refused for a minute: orders from before are collected, jobs sent meanwhile completed, paid once."""
    with (
        Emulator(latency=DRAWING, plain=True) as emulator,
        Relay(emulator.url) as relay,
        started(tmp_path / "home", emulator, NANO_BANANA_API_URL=relay.url) as system,
    ):
        jobs = [sent(system, "before") for _ in range(BEFORE)]
        until(lambda: len(system.charges()) == BEFORE)
        until(lambda: ordered(system) == BEFORE)
        relay.down()
        back = time.monotonic() + DOWN
        jobs += [sent(system, "meanwhile") for _ in range(DURING)]
        until(lambda: states(system)["submit"] == "open")
        until(lambda: waiting(system) == DURING)
        assert len(system.charges()) == BEFORE
        time.sleep(max(0.0, back - time.monotonic()))
        assert statuses(system).keys() <= {"queued", "processing", "generating"}
        relay.up()
        done = [system.client.wait(job, timeout=RECOVERY) for job in jobs]
        assert Counter(job.status for job in done) == {"completed": BEFORE + DURING}
        charged = Counter(charge["prompt"] for charge in system.charges())
        assert (len(charged), set(charged.values())) == (BEFORE + DURING, {1})
        assert system.paid(jobs) == sum((Decimal(one["amount"]) for one in system.charges()), Decimal(0))
        assert states(system) == {"submit": "closed", "poll": "closed"}


def sent(system: System, prompt: str) -> UUID:
    """A job for the provider behind the relay."""
    return system.client.generate(words(prompt), provider="nanobanana").id


def ordered(system: System) -> int:
    """How many orders we know to be the provider's."""
    return int(system.sql("SELECT count(*) FROM image_generation_jobs WHERE provider_job_id IS NOT NULL")[0][0])


def waiting(system: System) -> int:
    """How many jobs wait unsent."""
    told = (
        "SELECT count(*) FROM image_generation_jobs WHERE status = 'queued' AND waiting_for IN ('breaker', 'backoff')"
    )
    return int(system.sql(told)[0][0])


def statuses(system: System) -> dict[str, int]:
    """How many jobs have which status."""
    return dict(system.sql("SELECT status, count(*) FROM image_generation_jobs GROUP BY status"))


def states(system: System) -> dict[str, str]:
    """The states of the provider's circuits."""
    items = system.cli("providers", "--json").json["items"]
    found: dict[str, str] = next(one["breaker"] for one in items if one["provider"] == "nanobanana")
    return found
