"""The documents tell the truth: their links lead somewhere, their tables are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from imagegen.contracts import BatchDocument, BatchRequest, Cost, ImageRequest, JobDocument, JobError, WaitingFor
from imagegen.errors import BY_CODE, ImagegenError
from imagegen.states import MOVES, MoveName, Stage, Status

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
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


@pytest.mark.parametrize(
    "model", [ImageRequest, BatchRequest, JobDocument, BatchDocument, Cost, JobError, WaitingFor],
)  # fmt: skip
def test_every_field_of_requests_and_documents_is_told(model: type[BaseModel]) -> None:
    """docs/documents.md names each field, as it is written in JSON."""
    named = set(re.findall(r"`(\w+)`", (ROOT / "docs/documents.md").read_text()))
    assert {str(field.alias) for field in model.model_fields.values()} <= named
