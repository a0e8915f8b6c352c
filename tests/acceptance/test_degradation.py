"""When a provider is down: the next one buys, or a placeholder stands in until it is back; never a second charge."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from urllib.request import urlopen
from uuid import UUID

import pytest

from imagegen.client import Job
from imagegen.clock import SystemClock
from imagegen.images import verify
from storage.breaker import RedisBreaker
from storage.circuit import LOOK_EVERY
from tests.acceptance.system import System, until, words

SIZE = {"width": 512, "height": 512}
PROVIDERS = ("nanobanana", "gemini")


@pytest.fixture
def breaker(system: System) -> Iterator[RedisBreaker]:
    """The workers' circuits, closed again afterwards."""
    breaker = RedisBreaker(system.settings.redis, system.settings.namespace, SystemClock())
    try:
        yield breaker
    finally:
        for provider in PROVIDERS:
            breaker.reset(provider, "submit")


def finished(system: System, **fields: object) -> Job:
    """A job's end; its prompt is nobody else's."""
    return system.client.wait(system.client.generate(words("a lighthouse"), **SIZE, **fields), timeout=60)


def check_bought_elsewhere(system: System, job: Job) -> None:
    assert (job.status, job.provider, list(job.tried)) == ("completed", "gemini", ["nanobanana", "gemini"])
    (charge,) = system.charges()
    assert charge["provider"] == "gemini"
    assert str(system.paid([job.id]).normalize()) == str(job.cost.actual)


@pytest.mark.parametrize("fault", ["bad_key", "no_credit"])
def test_where_the_first_provider_refuses_the_second_buys(system: System, fault: str) -> None:
    """401 and 402 are no charge: one picture, bought at the second provider, both named in `tried`, at once."""
    system.emulator.fault(fault, provider="nanobanana")
    check_bought_elsewhere(system, finished(system))


def test_where_the_first_provider_is_down_the_second_buys(system: System, breaker: RedisBreaker) -> None:
    """An open circuit: not one call goes to the provider that rests."""
    breaker.open("nanobanana", "submit")
    # A worker that has just looked believes for so long that the circuit is closed.
    time.sleep(LOOK_EVERY)
    job = finished(system)
    check_bought_elsewhere(system, job)
    assert job.attempts == 1


def test_a_named_provider_is_never_left(system: System) -> None:
    """Who asks for one gets that one, or its error."""
    system.emulator.fault("no_credit", provider="nanobanana")
    job = finished(system, provider="nanobanana")
    assert job.error is not None
    assert (job.status, job.error.code, list(job.tried)) == ("failed", "INSUFFICIENT_CREDIT", ["nanobanana"])
    assert system.charges() == []


def test_a_possible_charge_never_goes_elsewhere(system: System) -> None:
    """The first provider charged and its answer was lost: nobody else is asked for the same picture."""
    system.emulator.fault("lost_answer", provider="nanobanana", times=1)
    job = finished(system)
    assert job.error is not None
    assert (job.error.code, job.error.billed, list(job.tried)) == ("SUBMISSION_UNKNOWN", "unknown", ["nanobanana"])
    assert [charge["provider"] for charge in system.charges()] == ["nanobanana"]


def test_a_placeholder_stands_in_until_a_provider_is_back(system: System) -> None:
    """Both refuse: completed with a flagged, free, uncached picture; once one is back, the real one takes its place."""
    for provider in PROVIDERS:
        system.emulator.fault("no_credit", provider=provider)
    shown = finished(system, placeholder="on_failure", character={"name": "Mara Vance"})
    assert (shown.status, shown.placeholder, shown.billed, shown.cost.actual) == ("completed", True, "no", 0.0)
    assert (shown.error, list(shown.tried)) == (None, list(PROVIDERS))
    assert size_of(shown) == (512, 512)
    row = system.jobs.get(shown.id)
    assert system.jobs.cached(row.fingerprint, emulated=True) is None
    assert system.charges() == []
    assert system.paid([shown.id]) == 0

    system.emulator.reset()
    (next_one,) = system.sql("SELECT id FROM image_generation_jobs WHERE replaces = %s", str(shown.id))[0]
    system.sql("UPDATE image_generation_jobs SET next_run_at = now() WHERE id = %s", str(next_one))
    until(lambda: not system.jobs.get(shown.id).placeholder)
    until(lambda: not system.client.wait(shown, timeout=10).placeholder)
    real = system.client.wait(shown, timeout=10)
    bought = system.jobs.get(UUID(str(next_one)))
    assert (real.sha256, real.public_url) == (bought.sha256, bought.public_url)
    assert real.public_url != shown.public_url
    assert size_of(real) == (512, 512)
    assert (real.billed, real.cost.actual, bought.billed) == ("no", 0.0, "yes")
    assert len(system.charges()) == 1
    assert "replace" in system.moves(shown.id)


def size_of(job: Job) -> tuple[int, int]:
    """Of the file behind the job's address."""
    assert job.public_url is not None
    with closing(urlopen(job.public_url, timeout=10)) as answer:
        picture = verify(answer.read())
    assert picture.sha256 == job.sha256
    return picture.width, picture.height
