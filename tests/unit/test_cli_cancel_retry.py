"""`imagegen cancel` and `imagegen retry`: what they choose, print and refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from imagegen import endings
from imagegen.cli import choosing
from imagegen.cli.main import imagegen
from imagegen.errors import ContentRefused
from imagegen.jobs import Job
from imagegen.providers.base import Delivered, Rejected, Running
from imagegen.states import MoveName, Status
from imagegen.testing.memory import MemoryJobs
from tests.jobs_kit import MemoryStore, new_batch, step
from tests.pipeline_doubles import PAID
from tests.pipeline_parts import World


class Desk:
    """A command line over the pipeline's world in memory."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.rows = MemoryJobs()
        self.world = World(MemoryStore(self.rows))

    def run(self, *args: str) -> Result:
        env = {"IMAGEGEN_DATABASE_URL": "postgresql://db/x", "IMAGEGEN_HOME": str(self.home), "IMAGEGEN_REDIS_URL": ""}
        app = SimpleNamespace(services=self.world.services)
        return CliRunner().invoke(imagegen, args, obj=SimpleNamespace(app=app), env=env)

    def json(self, *args: str) -> Any:
        return json.loads(self.run(*args, "--json").stdout)

    def failed(self, **fields: Any) -> Job:
        """A job that was refused without a charge."""
        job = self.world.job(**fields)
        endings.fail(job, ContentRefused("no"), self.world.services)
        return self.world.now(job)

    def lost(self, **fields: Any) -> Job:
        """A job whose paid picture is lost."""
        self.world.studio.submissions = [Delivered(data=b"<html>", actual=PAID)]
        job = self.world.job("gemini", **fields)
        self.world.chain(job)
        return self.world.now(job)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path / "var")


def test_cancel_says_what_was_charged(desk: Desk) -> None:
    """One line per job: not charged, charged and kept, or still being bought."""
    world = desk.world
    queued, drawn, bought = world.job(), world.job(), world.job()
    world.shop.progresses = [Running()]
    world.stage(drawn)
    said: list[Result] = []
    world.shop.meanwhile = lambda: said.append(desk.run("cancel", str(bought.id)))
    world.stage(bought)
    told = desk.run("cancel", str(queued.id), str(drawn.id))
    assert (told.exit_code, told.stdout.splitlines()) == (
        0,
        [f"{queued.id}  cancelled, not charged", f"{drawn.id}  cancelled, charged $0.039 (the picture is kept)"],
    )
    assert (said[0].exit_code, said[0].stdout) == (0, f"{bought.id}  cancelling: its paid call is under way\n")
    again = desk.run("cancel", str(bought.id))
    assert again.stdout == f"{bought.id}  cancelled, charged $0.039 (the picture is kept)\n"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"billed": "unknown", "cost_uncertain": Decimal("0.039")}, "cancelled, perhaps charged $0.039"),
        (
            {"billed": "yes", "cost_wasted": Decimal("0.003")},
            "cancelled, charged $0.003 for an attempt before this one",
        ),
    ],
)
def test_cancel_does_not_hide_an_earlier_attempt(desk: Desk, fields: dict[str, Any], says: str) -> None:
    """What an attempt before this one cost is told."""
    job = desk.world.job(**fields)
    assert desk.run("cancel", str(job.id)).stdout == f"{job.id}  {says}\n"


def test_cancel_by_filter_takes_live_jobs_alone(desk: Desk) -> None:
    """Page by page, each once, of the project asked for; what has ended is left alone."""
    live = [desk.world.job(project_id="p") for _ in range(3)]
    other, ended = desk.world.job(project_id="q"), desk.failed(project_id="p")
    found = desk.json("cancel", "--project", "p")
    assert {one["jobId"] for one in found["items"]} == {str(job.id) for job in live}
    assert {(one["status"], one["outcome"]) for one in found["items"]} == {("cancelled", "cancelled, not charged")}
    assert found["nextCursor"] is None
    assert desk.world.now(other).status is Status.QUEUED
    assert desk.world.now(ended) == ended
    assert desk.run("cancel", "--project", "p").stdout == "no jobs\n"


def test_filters_go_through_every_page(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """More jobs than one page holds: all of them."""
    monkeypatch.setattr(choosing, "PAGE", 2)
    jobs = [desk.failed() for _ in range(5)]
    assert desk.json("retry", "--status", "failed", "--dry-run")["count"] == 5
    assert len(desk.json("retry", "--code", "CONTENT_REFUSED")["items"]) == len(jobs)
    assert {desk.world.now(job).status for job in jobs} == {Status.QUEUED}


def test_a_job_that_moves_on_while_pages_are_read_is_met(desk: Desk) -> None:
    """Queued when the command began and claimed since: cancelled with the others."""
    jobs = [desk.world.job(), desk.world.job()]
    lister = desk.rows.list

    def moving(where: Any, **page: Any) -> Any:
        found = lister(where, **page)
        if where.status == Status.QUEUED and page["cursor"] is None:
            desk.rows.claim(step(jobs[0], MoveName.CLAIM, claim=uuid4()), None)
        return found

    desk.rows.list = moving  # type: ignore[method-assign]
    assert len(desk.json("cancel", "--owner", "ada")["items"]) == 2
    assert {desk.world.now(job).status for job in jobs} == {Status.CANCELLED}


def test_dry_runs_count_and_change_nothing(desk: Desk) -> None:
    """How many, for how many dollars, and what would happen to each; the rows stay as they are."""
    drawn = desk.world.job()
    desk.world.shop.progresses = [Running()]
    desk.world.stage(drawn)
    desk.world.job()
    before = dict(desk.rows.jobs)
    told = desk.json("cancel", "--owner", "ada", "--dry-run")
    assert (told["count"], told["dollars"]) == (2, 0.039)
    assert {one["would"] for one in told["items"]} == {"cost nothing", "cost $0.039 without a picture"}
    lines = desk.run("cancel", "--owner", "ada", "--dry-run").stdout.splitlines()
    assert (lines[0].split(), lines[-1]) == (["ID", "STATUS", "CODE", "DOLLARS", "NAME", "WOULD"], "2 jobs, $0.039")
    assert desk.rows.jobs == before


def test_retry_needs_buy_for_what_must_be_paid_again(desk: Desk) -> None:
    """The free one goes on, the other is refused with dollars and remedy: exit 1; with --buy it goes on too."""
    free, lost = desk.failed(), desk.lost()
    forecast = desk.json("retry", str(free.id), str(lost.id), "--dry-run")
    assert [(one["dollars"], one["needsBuy"]) for one in forecast["items"]] == [(0.039, False), (0.039, True)]
    assert forecast["items"][1]["would"] == "be left alone: only --buy buys it again"
    assert desk.json("retry", str(lost.id), "--dry-run", "--buy")["items"][0]["would"] == "buy again"
    told = desk.run("retry", str(free.id), str(lost.id))
    first, second = told.stdout.splitlines()
    assert told.exit_code == 1
    assert first == f"{free.id}  goes on from the beginning, for about $0.039"
    assert second.startswith(f"{lost.id}  not retried: ")
    assert "about $0.039" in second
    assert "--buy" in second
    item = desk.json("retry", str(lost.id))["items"][0]
    assert (item["status"], item["refusal"]["code"], item["refusal"]["billed"]) == ("failed", "PURCHASE_NEEDED", "yes")
    assert desk.run("retry", "--buy", str(lost.id)).exit_code == 0
    assert desk.world.now(lost).status is Status.QUEUED


def test_a_batch_id_stands_for_its_members(desk: Desk) -> None:
    """`retry` takes the failed one alone, `cancel` those on their way; what has nothing to do is refused by name."""
    batch, _ = new_batch(3)
    fresh = [desk.world.new("gemini", batch_id=batch.id, batch_index=index) for index in range(3)]
    jobs = desk.world.batch(batch, fresh)
    desk.world.studio.submissions = [Rejected(error=ContentRefused("no"))]
    desk.world.chain(jobs[0])
    desk.world.chain(jobs[1])
    assert [one["jobId"] for one in desk.json("cancel", str(batch.id))["items"]] == [str(jobs[2].id)]
    assert [one["jobId"] for one in desk.json("retry", str(batch.id))["items"]] == [str(jobs[0].id)]
    desk.world.chain(desk.world.now(jobs[0]))
    told = desk.run("retry", str(batch.id))
    assert told.exit_code == 1
    assert f"{jobs[1].id}  not retried: job {jobs[1].id} is completed" in told.stdout
    assert desk.run("cancel", str(jobs[1].id)).exit_code == 1


@pytest.mark.parametrize("command", ["cancel", "retry"])
@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "ID: is missing"),
        ((str(uuid4()), "--project", "p"), "--project: is given together with ids"),
        (("--status", "completed"), "--status: 'completed' is not"),
        (("nobody",), "IDS: 'nobody' is not a valid UUID"),
        ((str(uuid4()),), "error NOT_FOUND: no job or batch has the id"),
    ],
)
def test_wrong_usage_touches_nothing(desk: Desk, command: str, args: tuple[str, ...], says: str) -> None:
    """Neither ids nor filters, both, or an unknown id: exit 2, one line, no job moved."""
    job = desk.world.job()
    told = desk.run(command, *args)
    assert (told.exit_code, told.stdout) == (2, "")
    assert says in told.stderr
    assert desk.world.now(job) == job


def test_an_unknown_id_among_others_touches_none(desk: Desk) -> None:
    """All ids are looked up before the first job is cancelled."""
    job = desk.world.job()
    assert desk.run("cancel", str(job.id), str(uuid4())).exit_code == 2
    assert desk.world.now(job) == replace(job)
