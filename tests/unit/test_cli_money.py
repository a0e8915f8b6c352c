"""`costs`, `alerts` and the dry runs of `submit` and `batch`: what they print and how they exit."""

from __future__ import annotations

import base64
import csv
import io
import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from imagegen.cli.output import columns
from imagegen.records import Alert
from imagegen.states import Status
from tests.admission_parts import NOW
from tests.drawings import a_file
from tests.unit.test_cli_commands import Desk

SMALL = ("--width", "512", "--height", "512")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    return Desk(tmp_path / "var")


def budget(desk: Desk, dollars: str) -> None:
    desk.world.services.budgets.set("all", "day", Decimal(dollars), True, at=NOW)


def test_a_dry_run_is_a_table_for_people(desk: Desk) -> None:
    """Model, size, price, cache, time, quota, budget and prompt; exit 0, and no row."""
    told = desk.run("submit", "a fox", *SMALL, "--dry-run")
    assert told.exit_code == 0
    names = [line.split()[0] for line in told.stdout.splitlines()]
    assert names[:7] == ["model", "size", "price", "cache", "time", "quota", "prompt"]
    assert names[-1] == "budget"
    assert "price   $0.0" in told.stdout
    assert desk.world.written == 0


def test_a_dry_run_is_one_document_for_programs(desk: Desk) -> None:
    """The same as JSON, every key there."""
    plan = desk.json("submit", "a fox", *SMALL, "--dry-run")
    assert (plan["dryRun"], plan["cacheHit"], plan["width"], plan["provider"]) == (True, False, 512, "nanobanana")
    assert plan["cost"]["high"] >= plan["cost"]["low"] > 0
    assert {"quota", "budget", "expectedSeconds", "warnings", "sentPrompt"} <= set(plan)


@pytest.mark.parametrize("as_json", [False, True])
def test_a_dry_run_over_budget_exits_5(desk: Desk, as_json: bool) -> None:
    """With the budget that has no room, in the table and in the JSON."""
    budget(desk, "0.001")
    told = desk.run("submit", "a fox", *SMALL, "--dry-run", *["--json"] * as_json)
    assert told.exit_code == 5
    if as_json:
        assert json.loads(told.stdout)["budget"]["admitted"] is False
    else:
        assert "BUDGET_EXCEEDED" in told.stdout
        assert "NO" in told.stdout
    assert desk.run("submit", "a fox", "--width", "1", "--height", "1", "--dry-run").exit_code == 2


def test_a_batch_is_run_dry(desk: Desk, tmp_path: Path) -> None:
    """Each member and the sum; a budget for three of the four exits 5; nothing of it is stored, data: pictures too."""
    picture = "data:image/png;base64," + base64.b64encode(a_file("PNG", 320, 180)).decode()
    body: dict[str, Any] = {"characters": [{"name": name} for name in ("Ada", "Bo", "Cy", "Di")]}
    body |= {"referenceImages": [picture], "provider": "gemini"}
    (tmp_path / "four.json").write_text(json.dumps(body))
    told = desk.json("batch", "four.json", "--dry-run")
    high = told["jobs"][0]["cost"]["high"]
    assert (len(told["jobs"]), told["cost"]["high"]) == (4, pytest.approx(4 * high, abs=1e-4))
    assert "job 4" in desk.run("batch", "four.json", "--dry-run").stdout
    budget(desk, f"{3 * high:.6f}")
    assert desk.run("batch", "four.json", "--dry-run").exit_code == 5
    assert (desk.world.written, desk.world.blobs.keys) == (0, [])


def test_costs_are_a_table_with_bars(desk: Desk) -> None:
    """A line per group with its figures, the total below; emulated jobs only when asked for."""
    for owner, dollars in (("ada", "0.039"), ("bo", "0.134")):
        desk.end(desk.submit("a fox", "--owner", owner), cost_credits=Decimal(dollars))
    desk.submit("a bear", "--owner", "ada")
    assert "--emulated" in desk.run("costs", "--by", "owner").stdout
    told = desk.run("costs", "--by", "owner", "--emulated")
    assert told.exit_code == 0
    lines = [line.split() for line in told.stdout.splitlines() if line.strip()]
    assert lines[1] == ["OWNER", "JOBS", "HITS", "HIT", "RATE", "ACTUAL", "WASTE", "UNCERTAIN", "SAVED"]
    assert lines[2][:6] == ["bo", "1", "0", "0%", "$0.134", "$0.00"]
    assert lines[3][:6] == ["ada", "2", "0", "0%", "$0.039", "$0.00"]
    assert lines[4][:5] == ["TOTAL", "3", "0", "0%", "$0.173"]
    assert lines[2][-1].count("█") > lines[3][-1].count("█") > 0


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("columns", ["40", "60", "80", "160"])
def test_no_figure_is_ever_cut(desk: Desk, monkeypatch: pytest.MonkeyPatch, columns: str, terminal: bool) -> None:
    """However narrow the terminal, every dollar is whole and long names are folded; a pipe has them on one line."""
    project = "a-project-with-a-name-of-thirty-six-x"
    desk.end(desk.submit("a fox", "--project", project), cost_credits=Decimal("1234.039"))
    monkeypatch.setenv("COLUMNS", columns)
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    told = desk.run("costs", "--by", "project", "--emulated").stdout
    assert told.count("$1234.039") == 2
    assert "UNCERTAIN" in told
    assert "…" not in told
    assert terminal or f"\n{project}  " in told


def test_costs_are_told_to_programs(desk: Desk) -> None:
    """As one JSON document, or as CSV, with the filters that were given."""
    job = desk.submit("a fox", "--metadata", "film=Noir, the first")
    desk.end(job, Status.FAILED, cost_credits=Decimal(0), cost_wasted=Decimal("0.1"))
    by = ("costs", "--by", "metadata.film", "--emulated")
    (item,) = desk.json(*by)["items"]
    assert (item["key"], item["waste"], item["jobs"]) == ("Noir, the first", 0.1, 1)
    rows = list(csv.DictReader(io.StringIO(desk.run(*by, "--csv").stdout)))
    assert [(row["metadata.film"], row["waste"], row["hit_rate"]) for row in rows] == [
        ("Noir, the first", "0.100000", "0.0")
    ]
    desk.clock.advance(3600)
    assert desk.json(*by, "--since", "30m")["items"] == []
    assert desk.json(*by, "--owner", "nobody")["items"] == []
    assert desk.run(*by, "--csv", "--json").exit_code == 2
    assert desk.run("costs", "--by", "colour").exit_code == 2


def test_a_key_is_text_and_no_markup(desk: Desk) -> None:
    """What callers wrote is printed as it stands."""
    desk.submit("a fox", "--project", "[red]x[/red]")
    assert "[red]x[/red]" in desk.run("costs", "--by", "project", "--emulated").stdout


def test_no_caller_steers_the_operator_s_terminal(desk: Desk) -> None:
    """Escape sequences and line ends that callers wrote are shown as such, in every table; programs get them exact."""
    wild = "\x1b]0;owned\x07\nx"
    desk.submit("a fox", "--project", "\x1b[31mred", "--metadata", f"film={wild}")
    by = ("costs", "--by", "metadata.film", "--emulated")
    for told in (desk.run(*by), desk.run("costs", "--by", "project", "--emulated")):
        assert (told.exit_code, "\x1b" in told.stdout, "\\x1b" in told.stdout) == (0, False, True)
    assert desk.json(*by)["items"][0]["key"] == wild
    assert columns([("NAME", "N"), (wild, "1")]).splitlines()[1] == "\\x1b]0;owned\\x07\\nx  1"


def test_alerts_are_listed(desk: Desk) -> None:
    """What is raised, since when and whether it was told; nothing is told so."""
    assert desk.run("alerts").stdout == "no alert is raised\n"
    for told_at in (None, NOW + timedelta(seconds=1)):
        key = f"{told_at is None:d}"
        alert = Alert(key=key, kind="credit", message="top up", detail={"left": 1}, raised_at=NOW, told_at=told_at)
        assert desk.world.alerts.raise_alert(alert)
    lines = desk.run("alerts").stdout.splitlines()
    assert [line.split()[3] for line in lines[1:]] == ["yes", "no"]
    second, first = desk.json("alerts")["items"]
    assert (first["toldAt"], second["toldAt"], first["detail"]) == (None, "2026-11-21T09:00:01.000Z", {"left": 1})
