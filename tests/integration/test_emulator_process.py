"""The emulator as a command, and its fixture in somebody else's test session."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from imagegen.cli.emulator import emulator

ROOT = Path(__file__).parents[2]
SUBMIT = "/api/v1/nanobanana/generate-2"


@contextmanager
def running(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`python -m imagegen.emulator` on a free port, and its address; ended whatever happens."""
    command = [sys.executable, "-m", "imagegen.emulator", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            name, address = process.stdout.readline().split()
            assert (name, process.stdout.readline().strip()) == ("emulator", "ready")
            yield process, address
        finally:
            if process.poll() is None:
                process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_it_is_told_to_stop(number: signal.Signals, tmp_path: Path) -> None:
    """It says its address, obeys a YAML script and its limits, and ends with 0 and nothing on stderr within seconds."""
    script = tmp_path / "faults.yaml"
    script.write_text("- fault: maintenance\n  times: 1\n  match: {provider: nanobanana}\n")
    options = ("--plain", "--latency", "lognormal:1:0.2", "--limit", "nanobanana=2/h", "--limit", "gemini=1/s")
    with running("--faults", str(script), *options) as (process, address):
        answers = [
            requests.post(address + SUBMIT, json={"prompt": "x"}, headers={"Authorization": "Bearer k"}, timeout=10)
            for _ in range(3)
        ]
        assert [answer.json()["code"] for answer in answers] == [455, 200, 429]
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
        assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--latency", "soon"], 2, "lognormal"),
        (["--funds", "much"], 2, "US dollars"),
        (["--limit", "gemini=fast"], 2, "no rate limit"),
        (["--limit", "gemini=1/s", "--limit", "fal=1/s"], 2, "not emulated"),
        (["--faults", "{folder}/bad.json"], 2, "explode"),
        (["--port", "{busy}"], 3, "cannot listen"),
    ],
)
def test_wrong_use_says_what_would_be_right(options: list[str], code: int, words: str, tmp_path: Path) -> None:
    """A bad option exits 2, a busy port 3, each with a message that names the thing."""
    (tmp_path / "bad.json").write_text('[{"fault": "explode"}]')
    with socket.create_server(("127.0.0.1", 0)) as taken:
        filled = [option.format(folder=tmp_path, busy=taken.getsockname()[1]) for option in options]
        result = CliRunner().invoke(emulator, filled)
    assert result.exit_code == code
    assert words in result.output


def test_the_fixture_works_in_a_session_of_its_own() -> None:
    """The documentation's example passes where only the installed plugin brings the fixture."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--confcutdir=docs", "-W", "error"]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*command, "docs/examples/test_with_emulator.py"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_the_plugin_loads_nothing_heavy() -> None:
    """pytest imports the plugin in every session: it must not bring the emulator, Pillow, Celery or requests."""
    code = (
        "import sys, pytest; before = set(sys.modules); import imagegen.testing.plugin; "
        "heavy = {'imagegen.emulator', 'PIL', 'celery', 'requests', 'pydantic', 'yaml'}; "
        "print(sorted(heavy & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
