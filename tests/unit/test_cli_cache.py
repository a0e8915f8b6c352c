"""`imagegen cache`: what it prints, takes out and refuses."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from imagegen.cli.cache import size
from imagegen.cli.main import imagegen
from imagegen.records import Cached
from imagegen.states import Status
from tests.admission_parts import World
from tests.jobs_kit import new_job

BYTES = 1_500_000


class Desk:
    """A command line over services in memory."""

    def __init__(self, home: Path) -> None:
        self.world, self.home = World(), home

    def run(self, *args: str) -> Result:
        env = {"IMAGEGEN_DATABASE_URL": "postgresql://db/x", "IMAGEGEN_HOME": str(self.home), "IMAGEGEN_REDIS_URL": ""}
        app = SimpleNamespace(services=self.world.services)
        return CliRunner().invoke(imagegen, args, obj=SimpleNamespace(app=app), env=env)

    def json(self, *args: str) -> Any:
        return json.loads(self.run(*args, "--json").stdout)

    def keep(self, fingerprint: str, days: int, model: str = "nano-banana") -> None:
        """A picture of this age, drawn by this model, and a hit of it."""
        rows, emulated = self.world.rows, self.world.services.emulated
        rows.pictures[fingerprint, emulated] = Cached(
            fingerprint=fingerprint, blob_sha256="b" * 64, content_type="image/png", width=64, height=64, bytes=BYTES
        )
        rows.bought[fingerprint, emulated] = self.world.clock.now() - timedelta(days=days)
        hit = new_job(
            id=uuid4(), fingerprint=fingerprint, emulated=emulated, cache_hit=True, model=model,
            status=Status.COMPLETED, next_run_at=None, cost_estimated=Decimal("0.04"),
        )  # fmt: skip
        rows.jobs[hit.id] = hit


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path / "var")


def test_what_the_cache_holds(desk: Desk) -> None:
    """Pictures, bytes, hits and dollars saved, for people and as JSON; an empty one too."""
    empty = {"entries": 0, "bytes": 0, "oldest": None, "hits": 0, "saved": 0.0, "currency": "USD"}
    assert desk.json("cache") == empty
    assert "0 pictures, 0 bytes" in desk.run("cache").stdout
    desk.keep("fox", 40)
    desk.keep("cat", 1)
    told = desk.json("cache")
    assert (told["entries"], told["bytes"], told["hits"], told["saved"]) == (2, 3_000_000, 2, 0.08)
    assert told["oldest"] is not None
    shown = desk.run("cache").stdout
    assert "2 pictures, 3.0 MB, the oldest of " in shown
    assert "2 jobs answered, $0.08 saved" in shown


@pytest.mark.parametrize(
    ("words", "left"),
    [((), set()), (("--older-than", "30d"), {"cat"}), (("--model", "nano-banana-pro"), {"fox"}),
     (("--older-than", "30d", "--model", "nano-banana-pro"), {"fox", "cat"})],
)  # fmt: skip
def test_pictures_are_taken_out(desk: Desk, words: tuple[str, ...], left: set[str]) -> None:
    """All, the old ones, those of a model; how many is told."""
    desk.keep("fox", 40)
    desk.keep("cat", 1, "nano-banana-pro")
    told = desk.json("cache", "purge", *words)
    assert told == {"purged": 2 - len(left), "bytes": (2 - len(left)) * 1_500_000}
    assert {name for name, _ in desk.world.rows.pictures} == left


def test_a_purge_is_told_to_people(desk: Desk) -> None:
    """One line."""
    desk.keep("fox", 40)
    assert desk.run("cache", "purge").stdout.startswith("purged 1 picture, 1.5 MB")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--older-than", "soon"), "--older-than: 'soon' is no duration"),
        (("--model", "crayon"), "--model: 'crayon' is not in the catalog"),
    ],
)
def test_wrong_words_are_refused(desk: Desk, words: tuple[str, ...], says: str) -> None:
    """Field, reason and remedy, exit code 2, and nothing is taken out."""
    desk.keep("fox", 40)
    told = desk.run("cache", "purge", *words)
    assert (told.exit_code, says in told.stderr) == (2, True)
    assert len(desk.world.rows.pictures) == 1


@pytest.mark.parametrize(
    ("amount", "shown"), [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (2_500_000_000_000, "2500.0 GB")]
)
def test_bytes_for_people(amount: int, shown: str) -> None:
    """In powers of a thousand."""
    assert size(amount) == shown
