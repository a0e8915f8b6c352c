"""`imagegen styles`: capsules in, listed and shown."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from imagegen.cli import styles as module
from imagegen.errors import InvalidRequest, NotFound
from imagegen.prompts import style_sha256
from tests.admission_parts import World
from tests.drawings import a_file

CAPSULE = {"name": "Noir", "modifiers": ["film grain", "high contrast"], "palette": ["teal"]}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(module, "services_of", lambda ctx: world.services)
    return world


def run(*args: str) -> Result:
    return CliRunner().invoke(module.styles, args)


def written(folder: Path, capsule: Any, name: str = "noir.json") -> str:
    path = folder / name
    path.write_text(json.dumps(capsule))
    return str(path)


def test_a_capsule_is_stored_listed_and_shown(world: World, tmp_path: Path) -> None:
    """What was put is listed with what it holds and shown word by word."""
    assert run("put", "noir", written(tmp_path, CAPSULE)).output == "stored noir: 2 modifiers, 1 colour\n"
    style = world.styles.get("noir")
    assert style.modifiers == CAPSULE["modifiers"]
    assert run("list").output.splitlines() == [
        "ID    NAME  CONTENT",
        "noir  Noir  2 modifiers, 1 colour",
    ]
    assert run("show", "noir").output.splitlines() == [
        f"noir: Noir  sha256 {style_sha256(style)}",
        "  modifiers: film grain",
        "  modifiers: high contrast",
        "  palette: teal",
    ]


def test_json_output_is_one_document(world: World, tmp_path: Path) -> None:
    """Programs get the capsule with its id and digest, and lists as items with a cursor."""
    stored = json.loads(run("put", "noir", written(tmp_path, CAPSULE), "--json").stdout)
    assert stored == {
        "id": "noir", **CAPSULE, "avoid": [], "references": [], "sha256": style_sha256(world.styles.get("noir")),
    }  # fmt: skip
    assert json.loads(run("show", "noir", "--json").stdout) == stored
    assert json.loads(run("list", "--json").stdout) == {"items": [stored], "nextCursor": None}


def test_an_empty_list_says_how_to_fill_it(world: World) -> None:
    """Nothing stored is told with the command that stores."""
    assert "imagegen styles put ID FILE" in run("list").output


def test_local_pictures_are_stored_along(world: World, tmp_path: Path) -> None:
    """A reference beside the capsule's file becomes an input of ours: the file may go."""
    picture = a_file("PNG")
    (tmp_path / "look.png").write_bytes(picture)
    (tmp_path / "noir.yaml").write_text("name: Noir\nreferences: [look.png]\n")
    assert run("put", "noir", str(tmp_path / "noir.yaml")).exit_code == 0
    sha256 = hashlib.sha256(picture).hexdigest()
    assert world.styles.get("noir").references == [f"input:{sha256}"]
    assert world.blobs.get(f"inputs/{sha256}") == picture


@pytest.mark.parametrize(
    ("style_id", "capsule", "told"),
    [
        ("noir", {"modifiers": ["x"]}, "name: is missing"),
        ("noir", {**CAPSULE, "modifers": []}, "modifers: is not a field"),
        ("noir", {**CAPSULE, "references": ["none.png"]}, "references.0"),
        ("noir", ["not", "an", "object"], "holds no object"),
        ("  ", CAPSULE, "ID: is empty"),
        ("x" * 121, CAPSULE, "ID: is empty, too long"),
    ],
)
def test_a_wrong_capsule_is_refused(world: World, tmp_path: Path, style_id: str, capsule: Any, told: str) -> None:
    """A capsule with a misspelt, missing or unreadable part is refused by field, and nothing is stored."""
    error = run("put", style_id, written(tmp_path, capsule)).exception
    assert isinstance(error, InvalidRequest)
    assert told in str(error)
    assert world.styles.list() == []


def test_a_missing_style_is_not_found(world: World) -> None:
    """`show` of an id that was never put says so."""
    assert isinstance(run("show", "none").exception, NotFound)
