"""`imagegen config` and `imagegen migrate`: what an operator asks before anything runs."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import click

from imagegen.cli.context import NoWorkerApp, join_running, settings_here
from imagegen.cli.output import DONE, FAILED, columns, emit
from imagegen.errors import InvalidRequest


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def config(as_json: bool) -> None:
    """Print each setting, its value and where it comes from.

    Secrets are masked.
    """
    rows = settings_here().describe()
    if as_json:
        emit({"items": [row._asdict() for row in rows], "nextCursor": None})
        return
    click.echo(columns([("NAME", "VALUE", "SOURCE"), *rows]))


@click.command()
@click.option("--check", is_flag=True, help="Only say what is pending; exit 1 if anything is.")
@click.option("--sql", is_flag=True, help="Print the SQL instead of running it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@click.pass_context
def migrate(ctx: click.Context, check: bool, sql: bool, as_json: bool) -> None:
    """Bring the database to this version."""
    if check and sql:
        raise InvalidRequest.of("--sql", "is given together with --check", "Choose one of the two.")
    migrations = _migrations()
    settings = join_running()
    where = (settings.database, settings.database_schema)
    if sql:
        script = str(migrations.sql(*where))
        _tell(as_json, {"sql": script}, script.rstrip() or "-- up to date")
        return
    pending = bool(migrations.pending(*where))
    if check:
        _tell(as_json, {"pending": pending}, "migrations are pending" if pending else "up to date")
        ctx.exit(FAILED if pending else DONE)
    migrations.upgrade(*where)
    _tell(as_json, {"migrated": pending}, "migrated" if pending else "up to date")


def _tell(as_json: bool, document: dict[str, object], line: str) -> None:
    if as_json:
        emit(document)
    else:
        click.echo(line)


def _migrations() -> ModuleType:
    """`storage.migrate` by name: the library does not import it, and the wheel does not carry it."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module("storage.migrate")
    except ModuleNotFoundError as error:
        raise NoWorkerApp(
            f"migrations need the application ({error.name} is missing): they run from a checkout or the image, "
            "not from the bare package"
        ) from error
