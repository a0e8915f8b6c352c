"""`imagegen erase`: what it counts, asks, does and tells."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from imagegen.cli.main import imagegen
from imagegen.jobs import Job
from imagegen.states import Status
from tests.pipeline_parts import World

pytest_plugins = ["tests.worlds"]


class Desk:
    """A command line over a world in memory."""

    def __init__(self, world: World, home: Path) -> None:
        self.world, self.home = world, home

    def run(self, *args: str, typed: str | None = None) -> Result:
        return self.call("erase", *args, typed=typed)

    def call(self, *args: str, typed: str | None = None) -> Result:
        env = {"IMAGEGEN_DATABASE_URL": "postgresql://db/x", "IMAGEGEN_HOME": str(self.home), "COLUMNS": "300"}
        app = SimpleNamespace(services=self.world.services)
        return CliRunner().invoke(imagegen, [*args], obj=SimpleNamespace(app=app), env=env, input=typed)

    def drawn(self, **given: Any) -> Job:
        job = self.world.job("gemini", **given)
        self.world.chain(job)
        return self.world.now(job)

    def gone(self, job: Job) -> bool:
        return self.world.now(job).erased_at is not None


@pytest.fixture
def desk(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    return Desk(world, tmp_path / "var")


def test_a_dry_run_counts_and_changes_nothing(desk: Desk) -> None:
    """Jobs, live ones, pictures and bytes, for people and as JSON."""
    job = desk.drawn()
    desk.world.job()
    told = desk.run("owner:ada", "--dry-run")
    assert (told.exit_code, told.stdout) == (
        0, f"would erase 2 jobs (1 live), 1 picture of {job.bytes} bytes, 0 styles\n",
    )  # fmt: skip
    assert json.loads(desk.run(f"job:{job.id}", "--dry-run", "--json").stdout) == {
        "scope": f"job:{job.id}", "jobs": 1, "live": 0, "pictures": 1, "bytes": job.bytes, "styles": 0,
    }  # fmt: skip
    assert not desk.gone(job)


def test_a_job_is_erased_without_a_question(desk: Desk) -> None:
    """Exit 0, what went, and what its provider keeps; a second time changes nothing."""
    job = desk.drawn()
    told = desk.run(f"job:{job.id}")
    assert told.exit_code == 0, told.output
    assert told.stdout.startswith(f"erased 1 job, 1 picture of {job.bytes} bytes\ngemini: 1 paid call; no API")
    assert desk.gone(job)
    assert desk.run(f"job:{job.id}").stdout == "erased 0 jobs, 0 pictures of 0 bytes\n"


def test_people_see_that_a_job_was_erased(desk: Desk) -> None:
    """`show` says when, `list` in the place of its name."""
    job = desk.drawn()
    assert "erased" not in desk.call("show", str(job.id)).stdout + desk.call("list").stdout
    desk.run(f"job:{job.id}")
    assert re.search(r"  erased \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$", desk.call("show", str(job.id)).stdout.rstrip())
    assert desk.call("list").stdout.splitlines()[1].endswith("(erased)")


def test_an_owner_is_erased_when_it_was_said(desk: Desk) -> None:
    """Asked for people, --yes for scripts; a no, or nobody to ask, changes nothing."""
    job = desk.drawn()
    assert desk.run("owner:ada", typed="n\n").exit_code == 1
    refused = desk.run("owner:ada", "--json")
    assert (refused.exit_code, json.loads(refused.stdout)["problems"][0]["field"]) == (2, "--yes")
    assert not desk.gone(job)
    told = desk.run("owner:ada", "--yes", "--json")
    assert told.exit_code == 0, told.output
    document = json.loads(told.stdout)
    assert (document["scope"], document["jobs"], document["waits"]) == ("owner:ada", 1, 0)
    assert [one["provider"] for one in document["providers"]] == ["gemini"]
    assert desk.gone(job)
    desk.drawn()
    assert desk.run("owner:ada", typed="y\n").exit_code == 0


def test_what_waits_is_told(desk: Desk) -> None:
    """A part that is away is named; the housekeeping goes on when it is back."""
    job = desk.drawn()
    desk.world.blobs.go_away(60)
    told = desk.run(f"job:{job.id}")
    assert told.exit_code == 0
    assert "erased later: 1 job; away" in told.stdout


def test_what_cannot_be_erased(desk: Desk) -> None:
    """A live job is refused with 1, an unknown one or owner with 2, as is any other spelling."""
    live = desk.world.job()
    assert live.status is Status.QUEUED
    assert "cancel it first" in desk.run(f"job:{live.id}").stderr
    codes = [desk.run(scope, "--yes").exit_code for scope in (f"job:{live.id}", f"job:{uuid4()}", "owner:eve")]
    assert codes == [1, 2, 2]
    for scope in ("ada", "owner:", "job:7", "job:", "project:x"):
        told = desk.run(scope)
        assert (told.exit_code, "Write job:ID or owner:NAME." in told.stderr) == (2, True), scope
    assert desk.world.now(live) == live
