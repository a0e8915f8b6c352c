"""Identical pictures wanted at once, with real workers: one charge, and everybody served or told, whatever happens."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

import pytest

from imagegen import policies
from tests.acceptance.stand import workers_back
from tests.acceptance.system import System, until, words

DOUBT = policies.LEASE.total_seconds() + policies.SETTLING + 30.0
"""Seconds within which a killed leader is given up and a follower has bought, on a busy machine."""


@pytest.fixture(scope="module")
def system(running_system: System) -> Iterator[System]:
    """The session's system; this module's tests share it without emptying its books in between."""
    running_system.emulator.reset()
    yield running_system
    running_system.sql("DELETE FROM imagegen_pauses")


@dataclass(frozen=True)
class Wanted:
    """One picture, and the jobs that want it."""

    prompt: str
    ids: list[UUID]

    def standing(self, system: System) -> Counter[tuple[str, str | None]]:
        """How many stand where, and wait for what."""
        asked = "SELECT status, waiting_for FROM image_generation_jobs WHERE id = ANY(%s::uuid[])"
        return Counter(system.sql(asked, [str(one) for one in self.ids]))

    def waits(self, system: System, count: int) -> None:
        """Returns when so many wait for another one's purchase."""
        until(lambda: self.standing(system)["queued", "flight"] == count)

    def done(self, system: System, seconds: float = 60) -> list[tuple[str, str | None, bool, str, Decimal]]:
        """Status, error, hit, billed and price of each, when all have ended."""
        return [
            (job.status.value, job.error_code, job.cache_hit, job.billed, job.cost_credits or Decimal(0))
            for job in (system.jobs.get(UUID(str(system.client.wait(one, timeout=seconds).id))) for one in self.ids)
        ]


def wanted(system: System, about: str, count: int, provider: str = "gemini", prompt: str | None = None) -> Wanted:
    """So many identical jobs, sent at once."""
    prompt = prompt or words(about)
    told = {"provider": provider, "width": 512, "height": 512}
    return Wanted(prompt, [system.client.generate(prompt, **told).id for _ in range(count)])


@pytest.fixture(scope="module")
def killed(system: System) -> Wanted:
    """The leader's worker was killed in the middle of its paid call; its jobs wait while other tests run."""
    prompt = words("killed in the paid call")
    call = system.emulator.fault("hang", provider="gemini", prompt_contains=prompt, times=1, seconds=40.0)
    found = wanted(system, "", 6, prompt=prompt)
    until(lambda: call.fired)
    found.waits(system, 5)
    os.kill(system.run.supervisor.pids()["generate"], signal.SIGKILL)
    workers_back(system, "generate")
    return found


def test_a_killed_leader_is_waited_for(system: System, killed: Wanted) -> None:
    """While nobody knows whether its call was charged the others buy nothing."""
    assert killed.standing(system)["queued", "flight"] >= 4
    assert len(system.charges(killed.prompt)) == 1


def test_fifty_at_once_are_charged_once(system: System, killed: Wanted) -> None:
    """One charge, fifty pictures, forty-nine hits; `imagegen cache` says what they saved, to the cent."""
    before = system.cli("cache", "--json").json
    prompt = words("fifty at once")
    system.emulator.fault("hang", provider="gemini", prompt_contains=prompt, times=1, seconds=1.5)
    jobs = wanted(system, "", 50, prompt=prompt)
    done = jobs.done(system)
    assert Counter(job[:4] for job in done) == {
        ("completed", None, False, "yes"): 1, ("completed", None, True, "no"): 49,
    }  # fmt: skip
    charges = system.charges(jobs.prompt)
    assert len(charges) == 1
    assert system.paid(jobs.ids) == sum(job[4] for job in done) == Decimal(charges[0]["amount"])
    after = system.cli("cache", "--json").json
    assert (after["entries"] - before["entries"], after["hits"] - before["hits"]) == (1, 49)
    price = next(one.cost_estimated for one in map(system.jobs.get, jobs.ids))
    assert price
    assert after["saved"] - before["saved"] == pytest.approx(float(49 * price), abs=1e-6)
    assert f"{after['hits']} jobs answered" in system.cli("cache").out


def test_a_refusal_is_told_to_all(system: System, killed: Wanted) -> None:
    """The provider is asked once, and everybody who waited fails alike; only the asker's may have been billed."""
    prompt = words("refused")
    refusal = system.emulator.fault("refusal", provider="gemini", prompt_contains=prompt)
    assert system.cli("pause", "owner:default").code == 0
    jobs = wanted(system, "", 8, prompt=prompt)
    until(lambda: jobs.standing(system)["queued", "paused"] == 8)
    assert system.cli("resume", "owner:default").code == 0
    assert Counter(job[:4] for job in jobs.done(system)) == {
        ("failed", "CONTENT_REFUSED", False, "unknown"): 1, ("failed", "CONTENT_REFUSED", False, "no"): 7,
    }  # fmt: skip
    assert refusal.fired == 1
    assert system.charges(prompt) == []


def test_a_cancelled_leader_is_followed(system: System, killed: Wanted) -> None:
    """The owner of the leader stops it while its provider draws: the others have their picture all the same."""
    prompt = words("stopped while drawn")
    drawing = system.emulator.fault("rate_limit", provider="nanobanana", prompt_contains=prompt, route="poll")
    jobs = wanted(system, "", 5, "nanobanana", prompt)
    until(lambda: drawing.fired)
    jobs.waits(system, 4)
    leader = system.sql(
        "SELECT id FROM image_generation_jobs WHERE status = 'generating' AND id = ANY(%s::uuid[])",
        [str(one) for one in jobs.ids],
    )[0][0]
    assert system.cli("cancel", str(leader)).code == 0
    drawing.times = 0
    done = jobs.done(system)
    assert Counter(job[0] for job in done) == {"completed": 4, "cancelled": 1}
    assert len(system.charges(prompt)) <= 2


def test_passing_failures_end_in_one_charge(system: System, killed: Wanted) -> None:
    """503 for a while: the jobs try in turn, all complete, one is charged."""
    prompt = words("away for a while")
    system.emulator.fault("maintenance", provider="gemini", prompt_contains=prompt, times=3)
    jobs = wanted(system, "", 8, prompt=prompt)
    assert Counter(job[0] for job in jobs.done(system)) == {"completed": 8}
    assert len(system.charges(prompt)) == 1


def test_fresh_pictures_and_purged_ones(system: System, killed: Wanted) -> None:
    """`fresh` buys another picture that answers from then on; after a purge the next job buys."""
    prompt = words("bought again")
    size = ("--width", "512", "--height", "512")
    assert not wanted(system, "", 1, prompt=prompt).done(system)[0][2]
    assert system.cli("submit", prompt, "--provider", "gemini", *size, "--fresh", "--wait").code == 0
    hit = wanted(system, "", 1, prompt=prompt)
    assert hit.done(system)[0][2]
    assert len(system.charges(prompt)) == 2
    assert system.cli("cache", "purge", "--older-than", "30d", "--json").json["purged"] == 0
    assert system.cli("cache", "purge", "--json").json["purged"] >= 1
    assert not wanted(system, "", 1, prompt=prompt).done(system)[0][2]
    assert len(system.charges(prompt)) == 3


def test_after_a_killed_leader_exactly_one_buys(system: System, killed: Wanted) -> None:
    """The leader ends in doubt, its charge uncertain; one of the others buys, and the rest have that picture."""
    done = killed.done(system, DOUBT)
    assert Counter(job[:4] for job in done) == {
        ("failed", "SUBMISSION_UNKNOWN", False, "unknown"): 1,
        ("completed", None, False, "yes"): 1,
        ("completed", None, True, "no"): 4,
    }  # fmt: skip
    assert len(system.charges(killed.prompt)) == 2
