"""`imagegen deliveries`: what it lists, hides and sends again."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from click.testing import CliRunner, Result

from imagegen.cli.main import imagegen
from imagegen.outbox import Delivery, Sending, State, Target
from tests.admission_parts import NOW, World

URL = "https://shop.example/hook?key=secret"


class Desk:
    """A command line over an outbox in memory."""

    def __init__(self, home: Path) -> None:
        self.world, self.home = World(), home

    def run(self, *args: str) -> Result:
        env = {"IMAGEGEN_DATABASE_URL": "postgresql://db/x", "IMAGEGEN_HOME": str(self.home), "COLUMNS": "300"}
        app = SimpleNamespace(services=self.world.services)
        return CliRunner().invoke(imagegen, ["deliveries", *args], obj=SimpleNamespace(app=app), env=env)

    def add(self, number: int, **given: Any) -> Delivery:
        at = NOW + timedelta(seconds=number)
        usual: dict[str, Any] = {
            "id": UUID(int=number), "event_id": f"job_{number}_1_failed", "kind": "image.job.failed", "owner": "ada",
            "target": Target.WEBHOOK, "address": URL, "at": at, "since": at, "due_at": at, "document": {"secret": "x"},
            "job_id": uuid4(),
        }  # fmt: skip
        row = Delivery(**{**usual, **given})
        self.world.rows.outbox[row.id] = row
        return row


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path / "var")


def test_nothing_to_tell_says_so(desk: Desk) -> None:
    """An empty outbox is exit 0, a line for people and an empty list for programs."""
    assert (desk.run().exit_code, desk.run().stdout) == (0, "no deliveries\n")
    assert json.loads(desk.run("--json").stdout) == {"items": [], "nextCursor": None}


def test_they_are_listed_newest_first(desk: Desk) -> None:
    """With every attempt; a URL without its query, a task with its queue, the document never."""
    log = (Sending(at=NOW, ms=12, status=500, error="the receiver answers 500"),)
    hook = desk.add(1, log=log, attempts=1)
    task = {"name": "shop.pictures", "queue": "shop"}
    desk.add(2, target=Target.TASK, address=task, state=State.DELIVERED, due_at=None)
    first, second = json.loads(desk.run("--json").stdout)["items"]
    assert second == {
        "id": str(hook.id), "eventId": hook.event_id, "type": "image.job.failed", "target": "webhook",
        "address": "https://shop.example/hook", "owner": "ada", "jobId": str(hook.job_id), "batchId": None,
        "status": "due", "attempts": 1, "createdAt": "2026-11-21T09:00:01.000Z",
        "nextAttemptAt": "2026-11-21T09:00:01.000Z",
        "log": [{"at": "2026-11-21T09:00:00.000Z", "ms": 12, "status": 500, "error": "the receiver answers 500"}],
    }  # fmt: skip
    assert (first["address"], first["nextAttemptAt"]) == ("shop.pictures@shop", None)
    text = desk.run().stdout
    assert "the receiver answers 500 in 12 ms" in text
    assert "secret" not in text


def test_pages_and_filters(desk: Desk) -> None:
    """By status and owner, and page by page with the cursor of the page before."""
    for number in range(1, 4):
        desk.add(number, owner="ada" if number < 3 else "bob")
    page = json.loads(desk.run("--limit", "2", "--json").stdout)
    rest = json.loads(desk.run("--cursor", page["nextCursor"], "--json").stdout)
    assert [one["owner"] for one in [*page["items"], *rest["items"]]] == ["bob", "ada", "ada"]
    assert len(json.loads(desk.run("--owner", "ada", "--json").stdout)["items"]) == 2
    assert json.loads(desk.run("--status", "failed", "--json").stdout)["items"] == []
    assert desk.run("--status", "lost").exit_code == 2


def test_one_is_sent_again(desk: Desk) -> None:
    """Due now under the same event id; an id that nobody has is exit 2."""
    row = desk.add(1, state=State.DISABLED, due_at=None)
    told = desk.run("redeliver", str(row.id))
    assert told.exit_code == 0
    assert told.stdout.startswith("job_1_1_failed goes to https://shop.example/hook again")
    now = desk.world.clock.now()
    assert desk.world.rows.outbox[row.id] == replace(row, state=State.DUE, due_at=now, since=now)
    assert json.loads(desk.run("redeliver", str(row.id), "--json").stdout)["status"] == "due"
    assert desk.run("redeliver", str(uuid4())).exit_code == 2
    assert desk.run("redeliver", "nonsense").exit_code == 2
