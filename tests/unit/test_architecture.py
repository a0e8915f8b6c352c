"""The directions in which imports may go, and the limits every file keeps."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("imagegen", "storage", "tasks")
MAY_IMPORT = {"imagegen": {"imagegen"}, "storage": {"storage", "imagegen"}, "tasks": {"tasks", "storage", "imagegen"}}
HEAVY = {"sqlmodel", "sqlalchemy", "boto3", "botocore", "psycopg2", "alembic", "pybreaker", "structlog", "flower"}
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
EVERY_TEST_FILE = sorted((ROOT / "tests").rglob("*.py"))
TESTS = [path for path in EVERY_TEST_FILE if path.name.startswith("test_")]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_imports_go_one_way(path: Path) -> None:
    """tasks may import storage and imagegen, storage imagegen, and imagegen nobody but itself."""
    package = path.relative_to(ROOT).parts[0]
    assert not (imports(ast.parse(path.read_text())) & set(PACKAGES)) - MAY_IMPORT[package]


@pytest.mark.parametrize("path", [path for path in SOURCES if path.is_relative_to(ROOT / "imagegen")], ids=named)
def test_the_library_carries_no_worker_packages(path: Path) -> None:
    """What ships in the wheel never imports the database, S3 or worker packages."""
    assert not imports(ast.parse(path.read_text())) & HEAVY


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_our_packages_are_imported_at_the_top(path: Path) -> None:
    """No function imports one of our packages: `celery -A tasks` has the folder on its path only while it loads."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert not imports(node) & set(PACKAGES), f"{node.name} in {named(path)}"


def test_only_the_transport_speaks_http() -> None:
    """`requests` has one user, so that one file decides what a lost answer is."""
    users = {named(path) for path in SOURCES if "requests" in imports(ast.parse(path.read_text()))}
    assert users == {"imagegen/transport.py"}


@pytest.mark.parametrize("path", SOURCES + EVERY_TEST_FILE, ids=named)
def test_no_file_is_too_long(path: Path) -> None:
    """A file of more than 400 lines holds two ideas."""
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", TESTS, ids=named)
def test_every_test_states_its_promise(path: Path) -> None:
    """Each test function says in its docstring what is promised."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            assert ast.get_docstring(node), f"{node.name} in {named(path)}"
