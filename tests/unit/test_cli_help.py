"""What a new user reads first: the help of every command, refusals of the group itself, lines that stand in line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from imagegen.cli.doors import ServicesDoor
from imagegen.cli.follow import Bars, Lines
from imagegen.cli.main import imagegen
from imagegen.cli.options import load_data
from imagegen.errors import InvalidRequest
from imagegen.testing.memory import MemoryJobs
from tests.jobs_kit import MemoryStore, new_batch
from tests.pipeline_parts import World


def commands(command: click.Command, *path: str) -> Iterator[tuple[str, ...]]:
    """The path of every command and group, the first one empty."""
    yield path
    if isinstance(command, click.Group):
        for name, one in command.commands.items():
            yield from commands(one, *path, name)


@pytest.mark.parametrize("path", list(commands(imagegen)), ids=lambda path: " ".join(path) or "imagegen")
def test_help_fits_a_usual_terminal(path: tuple[str, ...]) -> None:
    """At eighty columns no line of a command's help is wider, and no command's summary is cut off."""
    told = CliRunner(env={"COLUMNS": "80"}).invoke(imagegen, [*path, "--help"])
    assert told.exit_code == 0
    assert [line for line in told.output.splitlines() if len(line) > 80] == []
    _, _, listed = told.output.partition("\nCommands:\n")
    assert [line for line in listed.splitlines() if line.endswith("...")] == []


@pytest.mark.parametrize("option", ["--bogus", "--bogus=1"])
def test_an_option_of_nobody_is_refused_as_everywhere(option: str) -> None:
    """Before any command, too, a wrong option is one line, or with --json one document; exit 2."""
    told = CliRunner().invoke(imagegen, [option])
    assert (told.exit_code, told.stdout) == (2, "")
    assert told.stderr.startswith("error INVALID_REQUEST: --bogus: No such option")
    assert told.stderr.endswith(". See imagegen --help.\n")
    told = CliRunner().invoke(imagegen, [option, "--json"])
    assert (told.exit_code, told.stderr) == (2, "")
    (problem,) = json.loads(told.stdout)["problems"]
    assert problem["field"] == "--bogus"


@pytest.mark.parametrize(
    ("content", "why"), [(None, "No such file or directory"), (b"\xff\xfe", "it is not UTF-8")], ids=["gone", "bytes"]
)
def test_a_file_that_cannot_be_read_says_why_in_words(tmp_path: Path, content: bytes | None, why: str) -> None:
    """The reason is a person's, without numbers of the system's or words of the codec's."""
    file = tmp_path / "brief.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidRequest) as refused:
        load_data(file, "FILE")
    assert refused.value.problems[0]["reason"] == f"cannot read {file} ({why})"


def test_lines_of_a_batch_stand_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    """The names' column is as wide at every look, whichever member has news."""
    world = World(MemoryStore(MemoryJobs()))
    batch, _ = new_batch(2)
    names = ("Ondine", "Bramble Thistlewick")
    jobs = world.batch(
        batch,
        [
            world.new("nanobanana", batch_id=batch.id, batch_index=index, asset_id=name)
            for index, name in enumerate(names)
        ],
    )
    door = ServicesDoor(world.services)
    view = Lines(err=False)
    for _ in range(3):
        view.show(door.look(batch.id), door)
        world.clock.advance(1)
        world.stage(jobs[0])
    lines = capsys.readouterr().out.splitlines()
    told = [line[14:33].rstrip() for line in lines]
    assert (set(told), set(told[2:])) == (set(names), {"Ondine"})
    assert {line[33:35] for line in lines} == {"  "}
    refused = door.look(batch.id).model_copy(update={"jobs": []})
    view.show(refused, door)
    assert capsys.readouterr().out == ""


def test_a_bar_says_until_when_a_job_rests() -> None:
    """At a terminal the reason and the time of a wait, with its time zone."""
    world = World(MemoryStore(MemoryJobs()))
    job = replace(world.job(), waiting_for="paused")
    out = StringIO()
    with Bars(Console(file=out, width=120)) as bars:
        bars.show(world.services.links.job(job), ServicesDoor(world.services))
    assert job.next_run_at is not None
    assert f"paused until {job.next_run_at:%H:%M:%S} UTC" in out.getvalue()
