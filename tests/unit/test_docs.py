"""The documents tell the truth: their links lead somewhere, their tables are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from imagegen.cli.main import imagegen
from imagegen.contracts import BatchDocument, BatchRequest, Cost, ImageRequest, JobDocument, JobError, WaitingFor
from imagegen.errors import BY_CODE, ImagegenError
from imagegen.settings import Settings
from imagegen.settings_rules import access_problems
from imagegen.states import MOVES, MoveName, Stage, Status

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
SOURCES = [path for package in ("imagegen", "storage", "tasks") for path in sorted((ROOT / package).rglob("*.py"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file, and every anchor a heading."""
    for link in LINK.findall(page.read_text()):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = page if not name else (page.parent / name).resolve()
        assert target.exists(), f"{page.name}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in {slug(line) for line in target.read_text().splitlines() if line.startswith("#")}, link


def slug(heading: str) -> str:
    words = re.sub(r"[^\w\- ]", "", heading.lstrip("#").strip().lower())
    return words.replace(" ", "-")


@pytest.mark.parametrize("name", list(MoveName))
def test_the_table_of_moves_is_the_code_s(name: MoveName) -> None:
    """docs/states.md shows each move's sources, stages, target and meaning as `MOVES` has them."""
    rule = MOVES[name]
    row = next(line for line in (ROOT / "docs/states.md").read_text().splitlines() if line.startswith(f"| `{name}` |"))
    sources, stages, target, tells = (cell.strip() for cell in row.split("|")[2:6])
    assert sources == ", ".join(status for status in Status if status in rule.sources)
    assert stages == (", ".join(stage for stage in Stage if stage in (rule.stages or ())) or "any")
    assert target == (rule.target or ("as told" if name is MoveName.RETRY else "the same"))
    assert tells == rule.tells


@pytest.mark.parametrize("code", [code for code in BY_CODE if code != ImagegenError.code])
def test_the_table_of_errors_is_the_code_s(code: str) -> None:
    """docs/errors.md shows each error's code, retryable, billed and meaning as its class has them."""
    error = BY_CODE[code]
    meaning = (error.__doc__ or "").strip().splitlines()[0]
    row = f"| `{code}` | {'yes' if error.default_retryable else 'no'} | {error.default_billed} | {meaning} |"
    assert row in (ROOT / "docs/errors.md").read_text()


def test_the_tables_of_settings_are_the_code_s(tmp_path: Path) -> None:
    """docs/settings.md has each setting in the first column of one row, and nothing that is none."""
    rows = [line for line in (ROOT / "docs/settings.md").read_text().splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(named) == sorted(row.name for row in Settings.load({}, tmp_path).describe())


COMMAND = re.compile(r"(?:`|\$ |&& |celery -A tasks )imagegen ([a-z][^`\n|&#]*)")


@pytest.mark.parametrize("page", [*PAGES, *SOURCES], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_is_named_exists(page: Path) -> None:
    """`imagegen …` in a page, or in what the code tells its users, is a command with the options that it is given."""
    for text in COMMAND.findall(page.read_text()):
        command: click.Command = imagegen
        words = [word.strip("[](),.;") for word in text.split()]
        while isinstance(command, click.Group) and words and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        assert command is not imagegen, text
        known = {name for option in command.params for name in option.opts}
        assert {word for word in words if word.startswith("--")} <= known, text


def test_going_real_as_the_readme_says_it_starts(tmp_path: Path) -> None:
    """The exports of README's "Going real" are all that a start asks for."""
    text = (ROOT / "README.md").read_text().partition("## Going real")[2].partition("## ")[0]
    given = dict(re.findall(r"([A-Z_]+)=(\S+)", text.partition("$ imagegen migrate")[0]))
    given |= {"IMAGEGEN_DATABASE_URL": "postgresql://db/x", "IMAGEGEN_REDIS_URL": "redis://redis/0"}
    given["IMAGEGEN_JWT_SECRET"] = "0123456789abcdef" * 4
    settings = Settings.load(given, tmp_path)
    settings.check()
    assert (settings.real, settings.provider_names, access_problems(settings)) == (True, ("gemini",), [])
    assert all(name in text for name in given)


@pytest.mark.parametrize(
    "model", [ImageRequest, BatchRequest, JobDocument, BatchDocument, Cost, JobError, WaitingFor],
)  # fmt: skip
def test_every_field_of_requests_and_documents_is_told(model: type[BaseModel]) -> None:
    """docs/documents.md names each field, as it is written in JSON."""
    named = set(re.findall(r"`(\w+)`", (ROOT / "docs/documents.md").read_text()))
    assert {str(field.alias) for field in model.model_fields.values()} <= named
