"""The examples of the documents, run as they stand."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import yaml

from imagegen.contracts import parse_batch
from tests.acceptance.system import ROOT, System
from tests.acceptance.together import together

EXAMPLES = ROOT / "docs" / "examples"
SCRIPTS = {"client_one.py": 1, "client_batch.py": 4, "send_task_raw.py": 1}
"""The scripts, with the pictures that each buys."""
ELSEWHERE = {"webhook_receiver.py", "fastapi_service.py"}
"""Tried where a system of their own kind runs: `test_outbound`."""
BATCHES = sorted(path.name for path in EXAMPLES.glob("batch-*.yaml"))
BRIEFS = sorted((EXAMPLES / "briefs").glob("*.yaml"))
STYLES = sorted((EXAMPLES / "styles").glob("*.yaml"))


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Python in the examples' folder, as a reader would try them."""
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, cwd=EXAMPLES, timeout=90, check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip


def test_every_example_is_tried() -> None:
    """No example is without a test."""
    found = {path.name for path in EXAMPLES.iterdir() if path.is_file()}
    assert found == {*SCRIPTS, *BATCHES, "test_with_emulator.py", *ELSEWHERE}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_gets_its_pictures(system: System, script: str) -> None:
    """It exits 0 with an address for each picture and exactly as many charges."""
    done = run(script, system.settings.broker, system.settings.namespace)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("http") == SCRIPTS[script]
    assert len(system.charges()) == SCRIPTS[script]


def test_the_batches_become_pictures(system: System) -> None:
    """`imagegen batch FILE --wait` completes each of them, with a charge per picture."""
    told = together(system, {name: ("batch", str(EXAMPLES / name), "--wait", "--json") for name in BATCHES})
    expected = 0
    for name, one in told.items():
        assert one.code == 0, one
        members = parse_batch(yaml.safe_load((EXAMPLES / name).read_text())).members()
        expected += len(members)
        assert [job["status"] for job in one.json["jobs"]] == ["completed"] * len(members)
    assert len(system.charges()) == expected


def test_every_brief_and_style_can_be_ordered(system: System) -> None:
    """`--character FILE --style FILE` is accepted for each of them; a dry run tells the prompt and charges nothing."""
    pairs = {brief.stem: (brief, STYLES[at % len(STYLES)]) for at, brief in enumerate(BRIEFS)}
    told = together(
        system,
        {
            name: ("submit", "--character", str(brief), "--style", str(style), "--dry-run", "--json")
            for name, (brief, style) in pairs.items()
        },
    )
    for name, (brief, style) in pairs.items():
        assert told[name].code == 0, told[name]
        prompt = told[name].json["sentPrompt"]
        assert yaml.safe_load(brief.read_text())["name"] in prompt
        assert yaml.safe_load(style.read_text())["modifiers"][0] in prompt
    assert {style for _, style in pairs.values()} == set(STYLES)
    assert system.charges() == []


def test_the_fixture_s_example_passes() -> None:
    """`pytest docs/examples/test_with_emulator.py` as its text says; it asserts its own charges."""
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "test_with_emulator.py")
    assert (done.returncode, "2 passed" in done.stdout) == (0, True), done.stdout + done.stderr
