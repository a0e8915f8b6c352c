"""The wheel in an environment of its own: a service elsewhere orders pictures, and nothing of the workers is there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from urllib.request import urlopen
from zipfile import ZipFile

import pytest

from imagegen.cli.token import mint_here
from tests.acceptance.system import System, Told, words
from tests.acceptance.together import all_of
from tests.acceptance.wheelhouse import build, install, linked, needed

SERVICE = """
import json, sys
from imagegen.client import Client

broker, namespace, prompt = sys.argv[1:]
with Client.celery(broker, namespace=namespace) as client:
    one = client.generate(prompt, width=512, height=512)
    four = client.batch([{"name": name, "description": prompt} for name in ("Ada", "Bo", "Cleo", "Dov")])
    one, four = client.wait(one, timeout=60), client.wait(four, timeout=60)
print(json.dumps({
    "one": [one.status, one.public_url, one.width],
    "four": [four.status, [job.status for job in four.jobs], four.cost.actual],
}))
"""
OVER_HTTP = """
import asyncio, json, sys
from imagegen.client import AsyncClient, Client

url, token, prompt = sys.argv[1:]


async def four():
    async with AsyncClient(url, token) as client:
        batch = await client.batch([{"name": name, "description": prompt} for name in ("Ada", "Bo", "Cleo", "Dov")])
        return await client.wait(batch, timeout=60)


with Client(url, token) as client:
    one = client.wait(client.generate(prompt, width=512, height=512), timeout=60)
print(json.dumps([one.ok, one.owner, [job.ok for job in asyncio.run(four()).jobs]]))
"""
TEST = """
import requests

def test_a_charge(imagegen_emulator):
    root = f"{imagegen_emulator.url}/api/v1/nanobanana"
    order = {"prompt": "a fox", "aspectRatio": "16:9", "resolution": "1K"}
    assert requests.post(f"{root}/generate-2", json=order, headers={"Authorization": "Bearer k"}).json()["code"] == 200
    assert imagegen_emulator.ledger()["count"] == 1
"""


@dataclass(frozen=True)
class Installed:
    """The wheel's file, the commands of its environment, and another service's working folder."""

    wheel: Path
    commands: Path
    folder: Path

    def run(self, name: str, *words: str, **told: str) -> Told:
        """A command of the environment, with nothing of this session's around it but what is told."""
        command = [str(self.commands / name), *words]
        return Told(
            subprocess.run(
                command, capture_output=True, text=True, cwd=self.folder, env=self.environ(**told), timeout=60,
                check=False,
            )
        )  # fmt: skip

    def environ(self, **told: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TMPDIR"}}
        return {**kept, "COLUMNS": "200", "IMAGEGEN_HOME": str(self.folder / "home"), **told}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel, built and installed."""
    folder = tmp_path_factory.mktemp("wheel")
    wheel = build(folder)
    commands = install(wheel, folder / "environment")
    (folder / "another service").mkdir()
    return Installed(wheel, commands, folder / "another service")


def test_it_holds_the_library_alone(installed: Installed) -> None:
    """`imagegen/` with its types, prices, templates and the demo's batch, and metadata; no worker comes along."""
    with ZipFile(installed.wheel) as wheel:
        names = wheel.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"imagegen"}
    assert len(tops) == 2
    for data in ("py.typed", "catalog.toml", "templates/master_asset.txt", "cli/demo_batch.yaml", "client/__init__.py"):
        assert f"imagegen/{data}" in names
    (entry_points,) = [name for name in names if name.endswith("entry_points.txt")]
    with ZipFile(installed.wheel) as wheel:
        told = wheel.read(entry_points).decode()
    assert "[celery.commands]\nimagegen = imagegen.cli.main:imagegen" in told
    assert "[pytest11]\nimagegen = imagegen.testing.plugin" in told
    for undeclared in ("storage", "tasks", "sqlalchemy", "boto3", "psycopg2", "pyvips", "pytest"):
        assert "ModuleNotFoundError" in installed.run("python", "-c", f"import {undeclared}").err


def test_another_service_orders_and_reads_its_documents(system: System, installed: Installed) -> None:
    """One picture and a batch of four by `imagegen.client`, from another folder: finished documents, five charges."""
    (installed.folder / "service.py").write_text(SERVICE)
    prompt = words("from the wheel")
    told = installed.run("python", "service.py", system.settings.broker, system.settings.namespace, prompt)
    assert told.code == 0, told
    document = told.json
    status, url, width = document["one"]
    assert (status, width) == ("completed", 512)
    with urlopen(url, timeout=10) as answer:
        assert answer.headers["Content-Type"] == "image/png"
    assert document["four"][:2] == ["completed", ["completed"] * 4]
    assert document["four"][2] > 0
    assert len(system.charges(prompt)) == 5


def test_another_service_orders_over_http(system: System, installed: Installed) -> None:
    """The plain and the asynchronous client need no extra and no broker: five pictures, five charges."""
    (installed.folder / "over_http.py").write_text(OVER_HTTP)
    prompt, token = words("over HTTP"), mint_here(system.settings, "far", service=False, ttl=timedelta(hours=1))
    told = installed.run("python", "over_http.py", system.run.instance.addresses["api"], token, prompt)
    assert told.code == 0, told
    assert told.json == [True, "far", [True] * 4]
    assert len(system.charges(prompt)) == 5


def test_its_commands_know_what_they_can(system: System, installed: Installed) -> None:
    """Help is whole; `up`, `demo`, `migrate` and `bucket` exit 2 and say what they need; without a broker exit 3."""
    lacking = ("up", "demo", "migrate", "bucket", "list", "providers")
    calls = {name: partial(installed.run, "imagegen", name) for name in lacking}
    told = all_of(
        {
            **calls,
            "help": lambda: installed.run("imagegen", "--help"),
            "submit": lambda: installed.run("imagegen", "submit", "a fox"),
        }
    )
    assert told["help"].code == 0
    for command in ("submit", "batch", "show", "watch", "list", "emulator", "config", *lacking):
        assert f"\n  {command} " in told["help"].out
    for name in lacking:
        assert told[name].code == 2, told[name]
        assert "a checkout or the image" in told[name].err, told[name]
        assert "Traceback" not in told[name].err
    assert told["submit"].code == 3
    assert f"no running imagegen in {installed.folder / 'home'}" in told["submit"].err
    assert "IMAGEGEN_REDIS_URL" in told["submit"].err
    assert "imagegen up" not in told["submit"].err
    assert not (installed.folder / "home").exists()
    assert system.charges() == []


def test_submit_goes_through_the_broker(system: System, installed: Installed, tmp_path: Path) -> None:
    """With the broker's address `submit`, `batch` and `show` work; bad input exits 2; three pictures, three charges."""
    prompt = words("by its command")
    batch = tmp_path / "two.json"
    batch.write_text(json.dumps({"requests": [{"prompt": f"{prompt} {number}"} for number in range(2)]}))
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({"requests": [{"prompt": prompt}, {"prompt": prompt, "model": "dall-e"}]}))
    redis = {"IMAGEGEN_REDIS_URL": system.settings.redis}
    told = all_of(
        {
            "submit": lambda: installed.run("imagegen", "submit", prompt, "--wait", "--json", **redis),
            "batch": lambda: installed.run(
                "imagegen", "batch", str(batch), "--wait", "--json", IMAGEGEN_BROKER_URL=system.settings.broker
            ),
            "wrong": lambda: installed.run("imagegen", "submit", prompt, "--model", "dall-e", "--wait", **redis),
            "wrong batch": lambda: installed.run("imagegen", "batch", str(wrong), "--wait", **redis),
        }
    )
    assert {name: one.code for name, one in told.items()} == {"submit": 0, "batch": 0, "wrong": 2, "wrong batch": 2}, (
        told
    )
    job = told["submit"].json
    assert (job["status"], [one["status"] for one in told["batch"].json["jobs"]]) == ("completed", ["completed"] * 2)
    for name in ("wrong", "wrong batch"):
        assert "INVALID_REQUEST" in told[name].out
        assert "'dall-e' is not known" in told[name].out
    assert installed.run("imagegen", "show", job["jobId"], "--json", **redis).json == job
    assert len(system.charges(prompt)) == 3


def test_the_emulator_comes_along(installed: Installed) -> None:
    """`imagegen emulator` serves and stops at SIGTERM, and pytest finds the fixture; each has one charge, or none."""
    (installed.folder / "test_mine.py").write_text(TEST)
    extra = linked(needed(["pytest"]), installed.folder / "pytest-alone")
    told = installed.run(
        "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py", PYTHONPATH=str(extra)
    )
    assert (told.code, "1 passed" in told.out) == (0, True), told
    with subprocess.Popen(
        [str(installed.commands / "imagegen"), "emulator", "--port", "0"], env=installed.environ(),
        cwd=installed.folder, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            name, _, url = process.stdout.readline().strip().partition(" ")
            assert (name, process.stdout.readline()) == ("emulator", "ready\n")
            with urlopen(f"{url}/__ledger", timeout=10) as answer:
                assert json.load(answer)["count"] == 0
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()
