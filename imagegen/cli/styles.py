"""`imagegen styles`: stored style capsules, which requests name by `visualStyleCapsuleId`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from imagegen.cli.context import services_of
from imagegen.cli.options import load_data, with_paths_below
from imagegen.cli.output import columns, emit
from imagegen.contracts import Style, parse_style
from imagegen.errors import InvalidRequest
from imagegen.inputs import style_with_stored_inputs
from imagegen.prompts import style_sha256

MAX_ID = 120
"""Characters of a style's id, as `visualStyleCapsuleId` takes them."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.group()
def styles() -> None:
    """Keep style capsules, which make pictures look alike.

    A capsule is words, colours and references.
    """


@styles.command("put")
@click.argument("style_id", metavar="ID")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@as_json
@click.pass_context
def put(ctx: click.Context, style_id: str, file: Path, as_json: bool) -> None:
    """Store the capsule in FILE as ID, in place of an older one.

    FILE is JSON or YAML. Local pictures among its references are stored along; their paths count from the folder of
    FILE.
    """
    style_id = _checked_id(style_id)
    style = parse_style(with_paths_below(file.parent, load_data(file, "FILE")))
    services = services_of(ctx)
    style = style_with_stored_inputs(style, door="cli", blobs=services.blobs)
    services.styles.put(style_id, style, at=services.clock.now())
    if as_json:
        emit(_document(style_id, style))
    else:
        click.echo(f"stored {style_id}: {_told(style)}")


@styles.command("list")
@as_json
@click.pass_context
def list_styles(ctx: click.Context, as_json: bool) -> None:
    """List the stored capsules."""
    stored = services_of(ctx).styles.list()
    if as_json:
        emit({"items": [_document(style_id, style) for style_id, style in stored], "nextCursor": None})
    elif stored:
        rows = [(style_id, style.name, _told(style)) for style_id, style in stored]
        click.echo(columns([("ID", "NAME", "CONTENT"), *rows]))
    else:
        click.echo("no styles stored; add one with `imagegen styles put ID FILE`")


@styles.command("show")
@click.argument("style_id", metavar="ID")
@as_json
@click.pass_context
def show(ctx: click.Context, style_id: str, as_json: bool) -> None:
    """Show one capsule."""
    style = services_of(ctx).styles.get(style_id.strip())
    if as_json:
        emit(_document(style_id.strip(), style))
        return
    click.echo(f"{style_id.strip()}: {style.name}  sha256 {style_sha256(style)}")
    for field in ("modifiers", "palette", "avoid", "references"):
        for word in getattr(style, field):
            click.echo(f"  {field}: {word}")


def _checked_id(style_id: str) -> str:
    trimmed = style_id.strip()
    if not trimmed or len(trimmed) > MAX_ID or not trimmed.isprintable():
        raise InvalidRequest.of(
            "ID", "is empty, too long or not printable", f"Name the style with 1 to {MAX_ID} characters."
        )
    return trimmed


def _document(style_id: str, style: Style) -> dict[str, Any]:
    return {"id": style_id, **style.model_dump(mode="json", by_alias=True), "sha256": style_sha256(style)}


def _told(style: Style) -> str:
    """`3 modifiers, 2 colours, 1 reference`."""
    kinds = ((style.modifiers, "modifier"), (style.palette, "colour"), (style.references, "reference"))
    told = [f"{len(words)} {one}{'s' if len(words) > 1 else ''}" for words, one in kinds if words]
    return ", ".join(told) or "its name alone"
