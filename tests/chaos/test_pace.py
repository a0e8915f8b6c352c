"""Eight worker processes under one limit per provider, which the emulator enforces: no refusal, and no slot wasted."""

from __future__ import annotations

import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from imagegen.embedded.application import Worker
from imagegen.emulator import Emulator
from tests.acceptance.system import System, started, until, words
from tests.chaos.books import table

PROVIDERS = ("gemini", "nanobanana")
LIMIT, AT_LEAST = 60, 57
"""Submissions a minute: what the provider lets in, and what must come of it."""
JOBS = 66
FLUSH_AFTER = 25.0
PROCESSES = 8
QUEUES = tuple("{ns}" + kind for kind in ("", ".generate", ".poll", ".transfer"))
WORKERS = (
    *(Worker(f"any{at}", QUEUES, "threads", 4) for at in range(PROCESSES)),
    Worker("housekeeping", ("{ns}.housekeeping",), "threads", 2),
)

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(200)]


def test_the_limit_is_kept_and_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No submission is refused, at least 57 come in the minute, also where all of Redis is lost in the middle."""
    limits = ",".join(f"{name}={LIMIT}/m" for name in PROVIDERS)
    told = {"IMAGEGEN_RATE_LIMITS": limits}
    with (
        Emulator(latency=1.0, plain=True, limits=limits) as emulator,
        started(tmp_path / "home", emulator, WORKERS, **told) as system,
    ):
        for _ in range(JOBS):
            for name in PROVIDERS:
                system.client.generate(words("paced"), provider=name)
        until(lambda: min(len(taken(system, name)) for name in PROVIDERS) >= 1)
        time.sleep(FLUSH_AFTER)
        with system.redis() as redis:
            redis.flushall()
        until(lambda: min(span(taken(system, name)) for name in PROVIDERS) >= LIMIT, seconds=90, every=0.5)
        rows = [(name, within(taken(system, name)), longest(taken(system, name))) for name in PROVIDERS]
        refused = {name: emulator.ledger()["limits"][name]["refused"] for name in PROVIDERS}
        with capsys.disabled():
            print("\n" + table(("provider", "submissions in the first minute", "longest gap"), rows))
        assert refused == {name: [] for name in PROVIDERS}
        assert min(row[1] for row in rows) >= AT_LEAST


def taken(system: System, provider: str) -> list[float]:
    """When the provider was asked, in seconds."""
    told = system.emulator.ledger()["limits"].get(provider, {"taken": []})["taken"]
    return [datetime.fromisoformat(at).timestamp() for at in told]


def span(moments: list[float]) -> float:
    """Seconds from the first to the last."""
    return moments[-1] - moments[0] if moments else 0.0


def within(moments: list[float]) -> int:
    """How many came in the minute that the first one began."""
    return sum(at < moments[0] + LIMIT for at in moments)


def longest(moments: list[float]) -> str:
    """The longest time without one."""
    return f"{max(b - a for a, b in pairwise(moments)):.2f} s"
