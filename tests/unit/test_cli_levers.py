"""`pause`, `resume`, `providers open|reset`: what they do, print and refuse."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from imagegen.cli.main import imagegen
from imagegen.contracts import rfc3339
from imagegen.testing.breaker import MemoryBreaker
from imagegen.testing.memory import MemoryPauses
from tests.admission_parts import World


class Desk:
    """A command line over services in memory."""

    def __init__(self, home: Path) -> None:
        self.world, self.home = World(), home
        self.pauses = MemoryPauses(self.world.rows)
        self.breaker = MemoryBreaker(self.world.clock)
        self.world.settings |= {"breaker": self.breaker, "pauses": self.pauses}

    def run(self, *args: str) -> Result:
        env = {"IMAGEGEN_DATABASE_URL": "postgresql://db/x", "IMAGEGEN_HOME": str(self.home), "IMAGEGEN_REDIS_URL": ""}
        app = SimpleNamespace(services=self.world.services)
        return CliRunner().invoke(imagegen, args, obj=SimpleNamespace(app=app), env=env)

    def json(self, *args: str) -> Any:
        return json.loads(self.run(*args, "--json").stdout)

    def states(self) -> dict[str, dict[str, str]]:
        items = self.json("providers")["items"]
        return {one["provider"]: one["breaker"] for one in items if one["breaker"]}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path / "var")


CLOSED = {"submit": "closed", "poll": "closed"}


def test_circuits_are_opened_and_reset_by_name(desk: Desk) -> None:
    """One provider's circuits, one operation or both, are moved; the listing shows it with the time to the probe."""
    told = desk.run("providers", "open", "gemini", "--operation", "submit")
    assert (told.exit_code, told.stdout) == (0, "gemini submit open, probed in 30 s\n")
    assert desk.states() == {"nanobanana": CLOSED, "gemini": {"submit": "open", "poll": "closed"}}
    assert "  breaker  submit open, probed in 30 s  poll closed\n" in desk.run("providers").stdout
    assert desk.json("providers")["items"][1]["probedIn"] == {"submit": 30.0, "poll": None}
    desk.run("providers", "open", "gemini")
    assert desk.states()["gemini"] == {"submit": "open", "poll": "open"}
    told = desk.run("providers", "reset", "gemini")
    assert (told.exit_code, told.stdout) == (0, "gemini submit closed\ngemini poll closed\n")
    assert desk.states() == {"nanobanana": CLOSED, "gemini": CLOSED}


def test_moved_circuits_are_told_as_json(desk: Desk) -> None:
    """A list of the circuits that were moved, wherever `--json` stands."""
    moved = {"provider": "gemini", "operation": "poll", "state": "open", "probedIn": 30.0}
    assert desk.json("providers", "open", "gemini", "--operation", "poll") == {"items": [moved], "nextCursor": None}
    told = json.loads(desk.run("providers", "--json", "reset", "gemini", "--operation", "poll").stdout)
    assert told["items"] == [{**moved, "state": "closed", "probedIn": None}]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("providers", "open", "kie"), "provider: 'kie' is no provider in use. Use one of gemini, nanobanana."),
        (("providers", "reset", "nobody"), "provider: 'nobody' is no provider in use"),
        (("providers", "open", "gemini", "--operation", "draw"), "--operation: 'draw' is not one of"),
        (("providers", "open"), "NAME: is missing"),
        (("providers", "close", "gemini"), "command: No such command 'close'"),
        (("providers", "--credit", "open", "gemini"), "--credit: belongs to the listing"),
        (("pause",), "SCOPE: is missing. Use all, provider:NAME or owner:NAME."),
        (("pause", "gemini"), "SCOPE: 'gemini' names nothing that can be paused. Use all, provider:NAME or owner:NAME"),
        (("pause", "provider:"), "SCOPE: '' is no provider. Use one of nanobanana, gemini, fal, replicate, kie."),
        (("pause", "provider:banana"), "SCOPE: 'banana' is no provider."),
        (("pause", "owner: "), "SCOPE: names no owner"),
        (("pause", "project:x"), "SCOPE: 'project:x' names nothing that can be paused"),
        (("pause", "all", "--list"), "--list: only shows what is paused"),
        (("resume", "provider:banana"), "SCOPE: 'banana' is no provider."),
        (("resume",), "SCOPE"),
    ],
)
def test_wrong_names_are_refused(desk: Desk, args: tuple[str, ...], says: str) -> None:
    """Exit 2, one line with field, reason and remedy; nothing is moved or paused."""
    told = desk.run(*args)
    assert (told.exit_code, told.stdout) == (2, "")
    assert told.stderr.startswith("error INVALID_REQUEST: ")
    assert says in told.stderr
    assert desk.states() == {"nanobanana": CLOSED, "gemini": CLOSED}
    assert desk.pauses.list() == []


def test_what_is_paused_is_listed(desk: Desk) -> None:
    """Each scope with its reason and time; the providers' listing shows what concerns each; pausing again renews."""
    assert desk.run("pause", "--list").stdout == "nothing is paused\n"
    told = desk.run("pause", "provider:gemini", "--reason", "bill under review")
    assert (told.exit_code, told.stdout) == (
        0, "paused provider:gemini; end it with: imagegen resume provider:gemini\n",
    )  # fmt: skip
    desk.world.clock.advance(60)
    assert desk.json("pause", "owner:studio 9") == {
        "scope": "owner:studio 9", "reason": None, "pausedAt": rfc3339(desk.world.clock.now()),
    }  # fmt: skip
    lines = desk.run("pause", "--list").stdout.splitlines()
    assert lines[0].split() == ["SCOPE", "SINCE", "(UTC)", "REASON"]
    assert [line.split("  ")[0] for line in lines[1:]] == ["provider:gemini", "owner:studio 9"]
    assert lines[1].endswith("bill under review")
    shown = desk.run("providers").stdout
    assert shown.count("paused") == 1
    assert "  paused   provider:gemini: bill under review\n" in shown
    assert desk.json("pause", "provider:gemini", "--reason", "paid")["reason"] == "paid"
    assert len(desk.json("pause", "--list")["items"]) == 2


def test_resuming_tells_how_many_jobs_go_on(desk: Desk) -> None:
    """A pause ends once; what is not paused stays so, which is no failure."""
    desk.run("pause", "all")
    assert all(one["pauses"][0]["scope"] == "all" for one in desk.json("providers")["items"])
    assert desk.run("resume", "all").stdout == "resumed all: 0 jobs go on\n"
    told = desk.run("resume", "all")
    assert (told.exit_code, told.stdout) == (0, "all was not paused\n")
    assert desk.json("resume", "owner:me") == {"scope": "owner:me", "resumed": False, "woken": 0}
    desk.run("pause", "owner:me")
    assert desk.json("resume", "owner:me") == {"scope": "owner:me", "resumed": True, "woken": 0}
