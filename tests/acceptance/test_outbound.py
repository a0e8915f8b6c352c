"""Ends are told through the whole system: signed webhooks and callers' own tasks, whatever dies in between."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from imagegen.cli.token import mint_here
from imagegen.client import Batch, Client, Job
from imagegen.client.celery import CeleryClient
from imagegen.embedded.addresses import free_port
from imagegen.emulator import Emulator
from imagegen.ids import job_id_for
from tests.acceptance.system import ROOT, System, started, until, words
from tests.receiver import Inbox, receiving

SECRETS = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")
SMALL = {"width": 320, "height": 180, "provider": "gemini"}

FOREIGN = """
import json, sys
from celery import Celery

app = Celery("shop", broker=sys.argv.pop(1))
app.conf.update(task_default_queue="shop", worker_enable_remote_control=False, broker_connection_retry_on_startup=True)
told = sys.argv.pop(1)


@app.task(name="shop.pictures", bind=True)
def pictures(self, document):
    with open(told, "a") as lines:
        lines.write(json.dumps([self.request.id, document]) + "\\n")


app.worker_main(["worker", "-P", "solo", "-Q", "shop", "--without-gossip", "--without-mingle", "-l", "error"])
"""


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system that signs its webhooks and may reach the loopback."""
    home: Path = tmp_path_factory.mktemp("telling") / "home"
    told: dict[str, Any] = {"IMAGEGEN_WEBHOOK_SECRET": ",".join(SECRETS), "IMAGEGEN_ALLOW_HOSTS": "127.0.0.0/8"}
    with Emulator(plain=True) as emulator, started(home, emulator, **told) as system:
        yield system


@pytest.fixture(scope="module")
def inbox() -> Iterator[Inbox]:
    with receiving() as inbox:
        yield inbox


def receiver(system: System) -> CeleryClient:
    """What the receiving service has: a client with the newer secret alone."""
    return Client.celery(system.settings.broker, webhook_secret=SECRETS[1])


def deliveries(system: System, *words_: str) -> Any:
    """What `imagegen deliveries … --json` prints."""
    told = system.cli("deliveries", *words_, "--json")
    assert told.code == 0, told.err
    return told.json


def states(system: System, identity: Any) -> list[str]:
    """How the deliveries of a job or batch stand."""
    asked = "SELECT state FROM imagegen_deliveries WHERE %s IN (job_id, batch_id) ORDER BY at"
    return [state for (state,) in system.sql(asked, str(identity))]


@contextmanager
def foreign(system: System, folder: Path) -> Iterator[Path]:
    """A worker of another application on the same broker; the file in which it notes its calls."""
    told, script = folder / "told.jsonl", folder / "shop.py"
    told.touch()
    script.write_text(FOREIGN)
    process = subprocess.Popen([sys.executable, str(script), system.settings.broker, str(told)], cwd=folder)
    try:
        yield told
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_a_job_s_end_is_told_once_and_again_by_hand(telling: System, inbox: Inbox) -> None:
    """The receiver verifies what came with one of two secrets; told again, it has the same id; the log has both."""
    job = telling.client.generate(words("a told fox"), callback_url=inbox.url("/job?key=1"), **SMALL)
    done = telling.client.wait(job, timeout=30)
    (got,) = until(lambda: inbox.at("/job"))
    with receiver(telling) as client:
        event = client.verify_webhook(got.body, got.headers)
    assert (event.id, event.type) == (f"job_{job.id}_1_completed", "image.job.completed")
    assert event.document.json_document() == done.json_document()
    until(lambda: states(telling, job.id) == ["delivered"])
    (row,) = [one for one in deliveries(telling, "--status", "delivered")["items"] if one["jobId"] == str(job.id)]
    assert (row["attempts"], row["address"], row["log"][0]["status"]) == (1, inbox.url("/job"), 204)
    again = deliveries(telling, "redeliver", row["id"])
    assert again["status"] == "due"
    until(lambda: len(inbox.at("/job")) == 2)
    assert {one.headers["webhook-id"] for one in inbox.at("/job")} == {event.id}
    assert len(telling.charges("a told fox")) == 1


def test_a_batch_s_end_is_told_once_for_the_whole(telling: System, inbox: Inbox) -> None:
    """One webhook with all members, none for a member; also by `imagegen batch`'s door, over Celery."""
    about = words("told")
    batch = telling.client.batch([f"{about} a", f"{about} b"], callback_url=inbox.url("/batch"), **SMALL)
    done = telling.client.wait(batch, timeout=30)
    (got,) = until(lambda: inbox.at("/batch"))
    with receiver(telling) as client:
        event = client.verify_webhook(got.body, got.headers)
    assert (event.id, event.type) == (f"batch_{batch.id}_1_completed", "image.batch.completed")
    assert isinstance(event.document, Batch)
    assert isinstance(done, Batch)
    assert [job.id for job in event.document.jobs] == [job.id for job in done.jobs]
    assert len(states(telling, batch.id)) == len(inbox.at("/batch")) == 1
    assert [states(telling, job.id) for job in done.jobs] == [[], []]


def test_a_worker_killed_before_the_delivery_costs_none(telling: System, inbox: Inbox) -> None:
    """The worker that delivers stands still while the job ends, and is killed: its successor tells of it."""
    pid = telling.run.supervisor.pids()["housekeeping"]
    os.kill(pid, signal.SIGSTOP)
    job = telling.client.generate(words("a killed courier"), callback_url=inbox.url("/killed"), **SMALL)
    assert telling.client.wait(job, timeout=30).ok
    assert inbox.at("/killed") == []
    os.kill(pid, signal.SIGKILL)
    (got,) = until(lambda: inbox.at("/killed"))
    assert got.headers["webhook-id"] == f"job_{job.id}_1_completed"


def test_a_caller_s_task_gets_the_document(telling: System, tmp_path: Path) -> None:
    """A worker of a foreign application runs its own task with the finished document, failed ones too."""
    telling.emulator.fault("refusal", times=1)
    with foreign(telling, tmp_path) as told:
        job = telling.client.generate(
            words("a foreign fox"), notify_task={"name": "shop.pictures", "queue": "shop"}, **SMALL
        )
        done = telling.client.wait(job, timeout=30)
        until(lambda: told.read_text().endswith("\n"))
    assert isinstance(done, Job)
    ((_, document),) = [json.loads(line) for line in told.read_text().splitlines()]
    assert document == done.json_document()


def test_the_example_s_receiver_is_told(telling: System) -> None:
    """`docs/examples/webhook_receiver.py` as it stands: orders, is told, exits 0 with the picture's address."""
    script, settings = ROOT / "docs" / "examples" / "webhook_receiver.py", telling.settings
    words_ = [sys.executable, str(script), settings.broker, settings.namespace, SECRETS[0]]
    done = subprocess.run(words_, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("image.job.completed http")


def test_the_example_s_shop_is_told(telling: System) -> None:
    """`docs/examples/fastapi_service.py` as it stands: ordered twice, drawn once, shown, told by a verified webhook."""
    script, settings, port = ROOT / "docs" / "examples" / "fastapi_service.py", telling.settings, free_port()
    token = mint_here(settings, "shop", service=False, ttl=timedelta(hours=1))
    words_ = [sys.executable, str(script), telling.run.instance.addresses["api"], token, SECRETS[0], str(port)]
    shop, about, order = f"http://127.0.0.1:{port}", words("a shop sign"), f"{uuid4()}"
    with subprocess.Popen(words_) as process, requests.Session() as customer:
        try:
            until(lambda: accepts(port), 60)
            for _ in range(2):
                told = customer.post(f"{shop}/orders", json={"number": order, "prompt": about}, timeout=30)
                assert told.status_code == 202, told.text
            assert customer.post(f"{shop}/pictures", json={"type": "forged"}, timeout=30).status_code == 400
            until(lambda: states(telling, job_id_for("shop", order)) == ["delivered"])
            shown = customer.get(f"{shop}/orders/{order}", timeout=30).json()
            assert (shown["status"], shown["picture"].startswith("http")) == ("completed", True)
        finally:
            process.terminate()
    assert len(telling.charges(about)) == 1


def accepts(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_whom_we_must_not_reach_is_refused_at_admission(telling: System) -> None:
    """A private address and a task of ours: exit 2, the field named, no row, no charge."""
    about = words("a closed door")
    told = telling.cli("submit", about, "--callback-url", "https://10.0.0.7/hook", "--json")
    assert (told.code, told.json["problems"][0]["field"]) == (2, "callbackUrl")
    refused = telling.client.wait(
        telling.client.generate(about, notify_task={"name": "imagegen.sweep", "queue": "x"}), timeout=30
    )
    assert isinstance(refused, Job)
    assert refused.error is not None
    assert refused.error.code == "INVALID_REQUEST"
    assert telling.charges(about) == []
