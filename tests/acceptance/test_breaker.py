"""Providers that fail and operators who stop them: jobs wait, nothing is lost, and each picture is paid once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

import pytest

from imagegen.circuits import OPERATIONS
from imagegen.clock import SystemClock
from imagegen.emulator.faults import Rule
from imagegen.policies import BREAKER_FAILURES, BREAKER_RESET, PAUSE_LOOK
from storage.breaker import RedisBreaker
from tests.acceptance.system import System, until, words

SOON = PAUSE_LOOK.total_seconds() / 2
"""Less than after which a paused job would look again by itself."""
RECOVERY = BREAKER_RESET + 30.0
"""Seconds within which parked jobs are done again: the circuit's rest, and a few that met the probe."""


@pytest.fixture(scope="module")
def system(running_system: System) -> Iterator[System]:
    """The session's system; this module's tests share it without emptying its books in between."""
    running_system.emulator.reset()
    yield running_system
    running_system.sql("DELETE FROM imagegen_pauses")
    settings = running_system.settings
    with closing(RedisBreaker(settings.redis, settings.namespace, SystemClock())) as circuits:
        for provider in ("nanobanana", "gemini"):
            for operation in OPERATIONS:
                circuits.reset(provider, operation)


@dataclass(frozen=True)
class Sent:
    """A job on its way."""

    id: UUID
    prompt: str


@dataclass(frozen=True)
class Outage:
    """A provider that answers 503, and the jobs sent to it meanwhile."""

    prompt: str
    jobs: list[Sent]
    fault: Rule


@pytest.fixture(scope="module")
def outage(system: System) -> Outage:
    """Begun once: its jobs rest while other tests run."""
    fault = system.emulator.fault("maintenance", provider="gemini")
    prompt = words("during an outage")
    jobs = [sent(system, f"{prompt} {number}", "gemini") for number in range(BREAKER_FAILURES + 3)]
    return Outage(prompt, jobs, fault)


def test_a_failing_provider_opens_its_circuit_and_its_jobs_wait(system: System, outage: Outage) -> None:
    """Some answers of 503: the circuit opens, every job waits for it, the provider is left alone, nobody is charged."""
    until(lambda: breaker(system, "gemini")["submit"] == "open")
    until(lambda: all(waits(system, job) == "breaker" for job in outage.jobs))
    asked = outage.fault.fired
    document = system.cli("show", str(outage.jobs[0].id), "--json").json
    assert (document["status"], document["waitingFor"]["reason"]) == ("queued", "breaker")
    assert breaker(system, "nanobanana") == breaker(system, "gemini") | {"submit": "closed"}
    assert outage.fault.fired == asked < 3 * len(outage.jobs)
    assert system.charges(outage.prompt) == []
    outage.fault.times = 0


@pytest.fixture(scope="module")
def stopped(system: System) -> Sent:
    """A job of a healthy provider whose circuit an operator opened before; it rests while other tests run."""
    assert "open, probed in" in celery(system, "control", "breaker_open", "nanobanana", "submit")
    return sent(system, words("held by an operator"), "nanobanana")


def test_celery_control_opens_and_resets(system: System, stopped: Sent) -> None:
    """`celery control` stops a healthy provider: a new job waits unsent; wrong names are told; reset closes it."""
    until(lambda: waits(system, stopped) == "breaker")
    assert system.charges(stopped.prompt) == []
    assert "open, probed in" in celery(system, "inspect", "breakers")
    assert "Use one of gemini, nanobanana" in celery(system, "control", "breaker_reset", "nobody")
    assert breaker(system, "nanobanana") == {"submit": "open", "poll": "closed"}
    assert "closed" in celery(system, "control", "breaker_reset", "nanobanana")
    assert breaker(system, "nanobanana") == {"submit": "closed", "poll": "closed"}


def test_pauses_stop_buying_and_add_up(system: System) -> None:
    """Paused: new jobs wait unpaid, others go on, orders from before are collected; resumed: they go on at once."""
    prompt = words("ordered before")
    drawing = system.emulator.fault("rate_limit", provider="nanobanana", prompt_contains=prompt, route="poll")
    ordered = sent(system, prompt, "nanobanana", "mine")
    until(lambda: drawing.fired)
    paused(system, "owner:mine")
    paused(system, "provider:gemini")
    mine = sent(system, words("mine"), "nanobanana", "mine")
    other = sent(system, words("another's"), "nanobanana", "another")
    assert system.client.wait(other.id, timeout=30).status == "completed"
    paused(system, "all")
    everybody = sent(system, words("everybody's"), "nanobanana", "another")
    until(lambda: waits(system, mine) == waits(system, everybody) == "paused")
    drawing.times = 0
    assert system.client.wait(ordered.id, timeout=30).status == "completed"
    found = system.cli("pause", "--list", "--json").json["items"]
    assert [(one["scope"], one["reason"]) for one in found] == [
        ("owner:mine", "audit"), ("provider:gemini", "audit"), ("all", "audit"),
    ]  # fmt: skip
    assert waits(system, mine) == waits(system, everybody) == "paused"
    assert system.charges(mine.prompt) == system.charges(everybody.prompt) == []
    # A job of the tests before may have come to wait here too.
    assert woken(system, "all") >= 1
    assert system.client.wait(everybody.id, timeout=SOON).status == "completed"
    woken(system, "provider:gemini")
    assert (waits(system, mine), woken(system, "owner:mine")) == ("paused", 1)
    assert system.client.wait(mine.id, timeout=SOON).status == "completed"
    assert [len(system.charges(job.prompt)) for job in (ordered, mine, other, everybody)] == [1, 1, 1, 1]


def test_what_waited_for_a_circuit_completes(system: System, outage: Outage, stopped: Sent) -> None:
    """The providers are back: no job that had time left failed, and there are as many charges as jobs, to the cent."""
    jobs = [*outage.jobs, stopped]
    done = [system.client.wait(job.id, timeout=RECOVERY) for job in jobs]
    assert {job.status for job in done} == {"completed"}
    charges = [*system.charges(outage.prompt), *system.charges(stopped.prompt)]
    assert len(charges) == len(jobs)
    assert system.paid([job.id for job in jobs]) == sum((Decimal(one["amount"]) for one in charges), Decimal(0))
    for provider in ("nanobanana", "gemini"):
        assert breaker(system, provider) == {"submit": "closed", "poll": "closed"}


def sent(system: System, prompt: str, provider: str, owner: str = "me") -> Sent:
    """A job on its way."""
    return Sent(system.client.generate(prompt, provider=provider, owner=owner).id, prompt)


def paused(system: System, scope: str) -> None:
    """Pauses it as an operator does."""
    assert system.cli("pause", scope, "--reason", "audit").code == 0


def woken(system: System, scope: str) -> int:
    """Resumes it; how many jobs go on."""
    told = system.cli("resume", scope, "--json").json
    assert (told["scope"], told["resumed"]) == (scope, True)
    return int(told["woken"])


def waits(system: System, job: Sent) -> str | None:
    """What the job waits for, where it waits and is accepted."""
    rows = system.sql("SELECT waiting_for FROM image_generation_jobs WHERE id = %s", str(job.id))
    return rows[0][0] if rows else None


def breaker(system: System, provider: str) -> dict[str, str]:
    """The states of a provider's circuits as `imagegen providers` tells them."""
    items = system.cli("providers", "--json").json["items"]
    states: dict[str, str] = next(one["breaker"] for one in items if one["provider"] == provider)
    return states


def celery(system: System, *told: str) -> str:
    """What `celery -A tasks …` prints in the checkout, colours off."""
    done = system.celery("--no-color", told[0], "--timeout", "2", *told[1:])
    assert done.code == 0, done
    return done.out
