"""`submit`, `batch`, `show`, `watch`, `list`, `providers`, `config`: what they print and how they exit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from imagegen.cli.main import imagegen
from imagegen.errors import BudgetExceeded, PartUnavailable
from imagegen.jobs import Job
from imagegen.states import BatchStatus, Status
from imagegen.testing.breaker import MemoryBreaker
from imagegen.testing.memory import ManualClock
from tests.admission_parts import NOW, World


class BusyClock(ManualClock):
    """Something happens while the command sleeps."""

    def __init__(self) -> None:
        super().__init__(NOW)
        self.meanwhile: Callable[[], None] = lambda: None

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self.meanwhile()


class Desk:
    """A command line over services in memory."""

    def __init__(self, home: Path) -> None:
        self.clock = BusyClock()
        self.world = World(clock=self.clock)
        self.world.settings["breaker"] = MemoryBreaker(self.clock)
        self.home = home

    def run(self, *args: str, input: str | None = None) -> Result:
        env = {"IMAGEGEN_DATABASE_URL": "postgresql://db/x", "IMAGEGEN_HOME": str(self.home), "IMAGEGEN_REDIS_URL": ""}
        app = SimpleNamespace(services=self.world.services)
        return CliRunner().invoke(imagegen, args, obj=SimpleNamespace(app=app), env=env, input=input)

    def json(self, *args: str) -> Any:
        return json.loads(self.run(*args, "--json").stdout)

    def submit(self, *args: str) -> UUID:
        return UUID(self.json("submit", *(args or ("a fox",)))["jobId"])

    def end(self, job_id: UUID, status: Status = Status.COMPLETED, **fields: Any) -> None:
        """The workers' part."""
        self.world.rows.jobs[job_id] = replace(
            self.world.rows.jobs[job_id], status=status, updated_at=self.clock.now(), next_run_at=None, **fields
        )


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path / "var")


def only(desk: Desk) -> Job:
    (job,) = desk.world.rows.jobs.values()
    return job


def test_submit_accepts_every_field(desk: Desk, tmp_path: Path) -> None:
    """Each option becomes the request's field; the answer is the queued job, on one line, and how to watch it."""
    (tmp_path / "noir.yaml").write_text("name: Noir\nmodifiers: [film grain]\n")
    told = desk.run(
        "submit", "a fox", "--project", "p", "--branch", "b", "--scene", "s", "--shot", "t", "--asset", "a",
        "--job-type", "start_frame", "--character", '{"name": "Ada", "hat": "red"}', "--style", "noir.yaml",
        "--width", "640", "--height", "360", "--format", "webp", "--seed", "7", "--priority", "high", "--at", "1h",
        "--deadline", "10m", "--idempotency-key", "k", "--max-paid-attempts", "2", "--fresh", "--placeholder",
        "never", "--owner", "o", "--metadata", "n=1", "--metadata", "t=x y", "--provider", "gemini",
        "--model", "nano-banana-pro",
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    job = only(desk)
    assert told.stdout.startswith(f"queued {job.id}  gemini/nano-banana-pro  640x360  about $")
    assert told.stderr == f"watch it: imagegen watch {job.id}\n"
    assert job.scheduled_at is not None
    assert (job.project_id, job.scene_id, job.shot_id, job.asset_id, job.owner) == ("p", "s", "t", "a", "o")
    request = job.request
    assert (request["character"]["hat"], request["style"]["name"], request["seed"]) == ("red", "Noir", 7)
    assert (job.max_paid_attempts, job.fresh, request["placeholder"]) == (2, True, "never")
    assert job.metadata == {"n": 1, "t": "x y"}


def test_a_local_picture_is_stored_at_submission(desk: Desk, tmp_path: Path) -> None:
    """A path among the references becomes an input of ours; a missing file is refused by field, and nothing written."""
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "hat.png")
    assert desk.run("submit", "a fox", "--reference", "hat.png", "--provider", "gemini").exit_code == 0
    assert only(desk).request["referenceImages"][0].startswith("input:")
    desk.world.rows.jobs.clear()
    told = desk.run("submit", "a fox", "--reference", "gone.png")
    assert told.exit_code == 2
    assert told.stderr.startswith("error INVALID_REQUEST: referenceImages.0: ")
    assert desk.world.written == 0


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "prompt: neither prompt nor character is given"),
        (("x", "--format", "gif"), "--format: 'gif' is not one of"),
        (("x", "--at", "tomorrow"), "--at: 'tomorrow' is neither a duration"),
        (("x", "--at", "2026-12-01T09:00:00"), "has no time zone"),
        (("x", "--deadline", "soon"), "--deadline: 'soon' is no duration"),
        (("x", "--metadata", "novalue"), "--metadata: 'novalue' is not KEY=VALUE"),
        (("x", "--nix"), "--nix: No such option"),
        (("x", "--character", "gone.yaml"), "--character: cannot read gone.yaml"),
        (("x", "--character", "{broken"), "--character: the inline brief is neither JSON nor YAML"),
        (("x", "--style", "nobody"), "visualStyleCapsuleId: there is no style 'nobody'"),
    ],
)
def test_wrong_usage_is_one_clear_line(desk: Desk, args: tuple[str, ...], says: str) -> None:
    """Exit 2; standard error names field, reason and remedy on one line, standard output stays empty."""
    told = desk.run("submit", *args)
    assert told.exit_code == 2
    assert says in told.stderr
    assert told.stderr.startswith("error INVALID_REQUEST: ")
    assert told.stderr.count("\n") == 1
    assert told.stdout == ""


def test_several_problems_get_a_line_each(desk: Desk) -> None:
    """More than one thing wrong: a headline, then one line per field; JSON lists the same problems."""
    args = ("submit", "x", "--width", "1", "--height", "99999")
    told = desk.run(*args)
    head, *lines = told.stderr.splitlines()
    assert head == "error INVALID_REQUEST: 2 problems"
    assert [line.split(":")[0].strip() for line in lines] == ["width", "height"]
    document = desk.json(*args)
    assert [problem["field"] for problem in document["problems"]] == ["width", "height"]
    assert document["error"]["code"] == "INVALID_REQUEST"


def test_wrong_usage_is_json_for_programs(desk: Desk) -> None:
    """With --json a command line that does not parse is one JSON document on standard output, exit 2."""
    told = desk.run("submit", "x", "--json", "--format", "gif")
    assert told.exit_code == 2
    assert json.loads(told.stdout)["problems"][0]["field"] == "--format"
    assert told.stderr == ""


def test_a_conflict_and_an_empty_budget_exit_5(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused at admission is exit 5, whether by idempotency key or by budget."""
    assert desk.run("submit", "a fox", "--idempotency-key", "k").exit_code == 0
    told = desk.run("submit", "another", "--idempotency-key", "k")
    assert told.exit_code == 5
    assert told.stderr.startswith("error IDEMPOTENCY_CONFLICT: ")

    def broke(*_: Any, **__: Any) -> None:
        raise BudgetExceeded("no room in owner:o")

    monkeypatch.setattr(desk.world.rows, "admit", broke)
    assert desk.run("submit", "a fox").exit_code == 5


def test_a_part_that_is_away_exits_3(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL away: exit 3 with its error, nothing else."""

    def away(*_: Any, **__: Any) -> None:
        raise PartUnavailable("PostgreSQL cannot be reached")

    monkeypatch.setattr(desk.world.rows, "list", away)
    told = desk.run("list")
    assert (told.exit_code, told.stderr) == (3, "error PART_UNAVAILABLE: PostgreSQL cannot be reached\n")


def test_without_database_and_running_up_exit_3_names_the_folder(desk: Desk) -> None:
    """Nothing configured and nobody at home: exit 3, and the folder that was looked in."""
    told = CliRunner().invoke(
        imagegen, ["list"], obj=SimpleNamespace(app=SimpleNamespace(services=None)),
        env={"IMAGEGEN_DATABASE_URL": "", "IMAGEGEN_HOME": str(desk.home)},
    )  # fmt: skip
    assert told.exit_code == 3
    assert str(desk.home) in told.stderr


def test_an_application_of_somebody_else_is_refused(desk: Desk) -> None:
    """`tasks` is a common name: an app without services is told apart, exit 2."""
    told = CliRunner().invoke(
        imagegen, ["list"], obj=SimpleNamespace(app=SimpleNamespace(services=None)),
        env={"IMAGEGEN_DATABASE_URL": "postgresql://db/x", "IMAGEGEN_HOME": str(desk.home)},
    )  # fmt: skip
    assert told.exit_code == 2
    assert "is not imagegen's application" in told.stderr


def test_wait_ends_with_the_job(desk: Desk) -> None:
    """--wait prints the finished job; exit 0 with a picture, 1 without."""
    desk.clock.meanwhile = lambda: desk.end(only(desk).id, public_url="https://x/y.png", cost_credits=Decimal("0.04"))
    told = desk.run("submit", "a fox", "--wait")
    assert told.exit_code == 0
    assert told.stdout.startswith("completed ")
    assert told.stdout.endswith("$0.04  emulated  https://x/y.png\n")
    assert "admit: " in told.stderr


def test_a_failed_job_exits_1_with_its_reason(desk: Desk) -> None:
    """The error's code, message and what was charged stand on the job's line, and in its JSON."""
    desk.clock.meanwhile = lambda: desk.end(
        only(desk).id, Status.FAILED, error_code="CONTENT_REFUSED", error_message="no", failure_stage="generating"
    )
    told = desk.run("submit", "a fox", "--wait")
    assert told.exit_code == 1
    assert told.stdout.endswith("CONTENT_REFUSED: no (generating, not billed)\n")
    told = desk.run("watch", str(only(desk).id), "--json")
    assert told.exit_code == 1
    assert json.loads(told.stdout)["error"]["code"] == "CONTENT_REFUSED"


def test_timeout_exits_4_and_says_how_to_go_on(desk: Desk) -> None:
    """Still running at --timeout: exit 4, the job as it stands on standard output, the next command on the other."""
    told = desk.run("submit", "a fox", "--wait", "--timeout", "3s", "--json")
    job_id = only(desk).id
    assert told.exit_code == 4
    assert json.loads(told.stdout)["status"] == "queued"
    assert told.stderr == f"{job_id} is still running. Watch it: imagegen watch {job_id}\n"


def test_ctrl_c_while_waiting_exits_130(desk: Desk) -> None:
    """Ctrl-C leaves the job alone, says so, and exits 130."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    desk.clock.meanwhile = interrupt
    told = desk.run("submit", "a fox", "--wait")
    job = only(desk)
    assert told.exit_code == 130
    assert f"{job.id} goes on without you. Watch it: imagegen watch {job.id}" in told.stderr
    assert job.status is Status.QUEUED


BATCH = {"projectId": "p", "characters": [{"name": "Ada"}, {"name": "Bo"}]}


def test_batch_takes_json_yaml_and_standard_input(desk: Desk, tmp_path: Path) -> None:
    """The three spellings give the same batch; its jobs come in input order."""
    (tmp_path / "b.json").write_text(json.dumps(BATCH))
    (tmp_path / "b.yaml").write_text("projectId: p\ncharacters:\n  - name: Ada\n  - name: Bo\n")
    for args, text in ((("b.json",), None), (("b.yaml",), None), (("-",), json.dumps(BATCH))):
        told = desk.run("batch", *args, "--json", input=text)
        assert told.exit_code == 0, told.output
        assert [job["character"] for job in json.loads(told.stdout)["jobs"]] == ["Ada", "Bo"]
    told = desk.run("batch", "gone.yaml")
    assert (told.exit_code, "FILE: cannot read gone.yaml" in told.stderr) == (2, True)


def test_a_partial_batch_exits_1(desk: Desk, tmp_path: Path) -> None:
    """One picture of two is not done; the last line counts them."""
    (tmp_path / "b.json").write_text(json.dumps(BATCH))
    batch_id = UUID(desk.json("batch", "b.json")["batchId"])
    _, jobs = desk.world.rows.get_batch(batch_id)

    def finish() -> None:
        desk.end(jobs[0].id)
        desk.end(jobs[1].id, Status.FAILED, error_code="TEMPORARY", error_message="down")
        desk.world.rows.close_batch(batch_id, at=desk.clock.now())

    desk.clock.meanwhile = finish
    told = desk.run("watch", str(batch_id))
    assert told.exit_code == 1
    assert f"batch {batch_id} {BatchStatus.PARTIAL.value}  1 of 2" in told.stdout


def test_show_tells_history_and_unknown_ids(desk: Desk) -> None:
    """--history lists every move, for people and programs; an unknown id is exit 2."""
    job_id = desk.submit()
    assert desk.json("show", str(job_id), "--history")["history"][0]["move"] == "admit"
    assert "queued      admit: " in desk.run("show", str(job_id), "--history").stdout
    assert "history" not in desk.json("show", str(job_id))
    told = desk.run("show", str(uuid4()))
    assert (told.exit_code, told.stderr.startswith("error NOT_FOUND: ")) == (2, True)


def test_list_filters_and_pages(desk: Desk) -> None:
    """Filters narrow, `nextCursor` leads to the rest, and people see columns."""
    ids = []
    for project in ("a", "b", "b"):
        ids.append(str(desk.submit("a fox", "--project", project)))
        desk.clock.advance(60)
    first = desk.json("list", "--project", "b", "--limit", "1")
    rest = desk.json("list", "--project", "b", "--cursor", first["nextCursor"])
    assert [one["jobId"] for one in first["items"] + rest["items"]] == [ids[2], ids[1]]
    assert rest["nextCursor"] is None
    assert [one["jobId"] for one in desk.json("list", "--since", "90s")["items"]] == [ids[2]]
    lines = desk.run("list").stdout.splitlines()
    assert lines[0].split() == ["ID", "STATUS", "CODE", "TYPE", "PROVIDER/MODEL", "COST", "CREATED", "NAME"]
    assert len(lines) == 4
    assert desk.run("list", "--status", "failed").stdout == "no jobs\n"


def test_providers_tells_hosts_prices_and_breakers(desk: Desk) -> None:
    """Each provider once, with its models' prices; those in use with their breakers."""
    items = {one["provider"]: one for one in desk.json("providers")["items"]}
    assert list(items) == ["nanobanana", "gemini", "fal", "replicate", "kie"]
    assert items["gemini"]["breaker"] == {"submit": "closed", "poll": "closed"}
    assert items["fal"]["breaker"] is None
    assert items["gemini"]["documentedHost"]
    ends = {model["endOfLife"]: model["ended"] for model in items["gemini"]["models"] if model["endOfLife"]}
    assert ends
    assert ends == {end: end <= desk.clock.now().date().isoformat() for end in ends}
    desk.clock.advance(timedelta(days=3650).total_seconds())
    listed = desk.run("providers").stdout
    assert ("ends " in listed, [end for end in ends if f"ended {end}, move to " not in listed]) == (False, [])
    assert "nanobanana  emulated  api.nanobananaapi.ai\n" in desk.run("providers").stdout


def test_config_masks_secrets_and_names_sources(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting with its source; a key never in clear."""
    monkeypatch.setenv("GEMINI_API_KEY", "very-secret")
    told = desk.run("config")
    assert "very-secret" not in told.output
    rows = {one["name"]: one for one in desk.json("config")["items"]}
    assert rows["GEMINI_API_KEY"] == {"name": "GEMINI_API_KEY", "value": "********", "source": "environment"}
