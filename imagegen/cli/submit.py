"""`imagegen submit` and `imagegen batch`: one request, or one to four, from the command line."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from imagegen.cli.doors import door_of
from imagegen.cli.dry_run import print_batch_estimate, print_estimate
from imagegen.cli.follow import follow_to_exit, print_document
from imagegen.cli.options import duration, load_data, parse_data, request_body, request_options, with_paths_below
from imagegen.cli.output import Document
from imagegen.contracts import BatchDocument, parse_batch, parse_request

WAIT = click.option("--wait", is_flag=True, help="Wait for the end; exit 1 unless every picture came.")
TIMEOUT = click.option("--timeout", type=duration, help="With --wait: leave with exit 4 after, such as 5m.")
DRY_RUN = click.option(
    "--dry-run", is_flag=True, help="Model, size, price, time, quota and budget; nothing is accepted, stored or bought."
)
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")


@click.command()
@click.argument("prompt", required=False)
@request_options
@DRY_RUN
@WAIT
@TIMEOUT
@JSON
@click.pass_context
def submit(
    ctx: click.Context,
    /,
    prompt: str | None,
    dry_run: bool,
    wait: bool,
    timeout: int | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Ask for one picture; returned means accepted."""
    request = parse_request(request_body(prompt, given, datetime.now(UTC)))
    if dry_run:
        print_estimate(ctx, request, as_json)
    door = door_of(ctx)
    document = door.submit(request)
    if wait:
        follow_to_exit(ctx, door, identity(document), timeout=timeout, as_json=as_json)
    _accepted(document, as_json)


@click.command()
@click.argument("file", type=click.Path(allow_dash=True, dir_okay=False, path_type=Path))
@DRY_RUN
@WAIT
@TIMEOUT
@JSON
@click.pass_context
def batch(ctx: click.Context, file: Path, dry_run: bool, wait: bool, timeout: int | None, as_json: bool) -> None:
    """Ask for one to four pictures that are accepted together.

    FILE is JSON or YAML; - is standard input. Local pictures named in FILE lie beside it.
    """
    if str(file) == "-":
        body = parse_data(sys.stdin.read(), "FILE", "standard input")
    else:
        body = with_paths_below(file.parent, load_data(file, "FILE"))
    request = parse_batch(body)
    request.members()
    if dry_run:
        print_batch_estimate(ctx, request, as_json)
    door = door_of(ctx)
    document = door.submit_batch(request)
    if wait:
        follow_to_exit(ctx, door, identity(document), timeout=timeout, as_json=as_json)
    _accepted(document, as_json)


def identity(document: Document) -> Any:
    """The id by which the document is asked for: a batch's own, else the job's."""
    return document.batch_id if isinstance(document, BatchDocument) else document.job_id


def _accepted(document: Document, as_json: bool) -> None:
    print_document(document, as_json)
    if not as_json:
        click.echo(f"watch it: imagegen watch {identity(document)}", err=True)
