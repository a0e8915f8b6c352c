"""`imagegen submit` and `imagegen batch`: one request, or one to four, from the command line."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from imagegen.cli.context import admission, services_of
from imagegen.cli.doors import door_of
from imagegen.cli.follow import follow_to_exit, print_document
from imagegen.cli.options import duration, load_data, parse_data, request_body, request_options, with_paths_below
from imagegen.cli.output import Document, dollars, emit
from imagegen.contracts import BatchDocument, ImageRequest, parse_batch, parse_request
from imagegen.jobs import Job
from imagegen.ports import Services

WAIT = click.option("--wait", is_flag=True, help="Wait for the end; exit 1 unless every picture came.")
TIMEOUT = click.option("--timeout", type=duration, help="With --wait: leave with exit 4 after, such as 5m.")
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")


@click.command()
@click.argument("prompt", required=False)
@request_options
@click.option("--dry-run", is_flag=True, help="Model, size, price and cache verdict; nothing is accepted or bought.")
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
        _print_plan(request, services_of(ctx), as_json)
        return
    door = door_of(ctx)
    document = door.submit(request)
    if wait:
        follow_to_exit(ctx, door, identity(document), timeout=timeout, as_json=as_json)
    _accepted(document, as_json)


@click.command()
@click.argument("file", type=click.Path(allow_dash=True, dir_okay=False, path_type=Path))
@WAIT
@TIMEOUT
@JSON
@click.pass_context
def batch(ctx: click.Context, file: Path, wait: bool, timeout: int | None, as_json: bool) -> None:
    """Ask for one to four pictures that are accepted together; FILE is JSON or YAML, - is standard input.

    Local pictures named in FILE lie beside it.
    """
    if str(file) == "-":
        body = parse_data(sys.stdin.read(), "FILE", "standard input")
    else:
        body = with_paths_below(file.parent, load_data(file, "FILE"))
    request = parse_batch(body)
    request.members()
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


def _print_plan(request: ImageRequest, services: Services, as_json: bool) -> None:
    job: Job = admission().plan_image(request, services, door="cli")
    known = None if job.fresh else services.jobs.cached(job.fingerprint, emulated=job.emulated)
    document = plan_document(job, hit=known is not None)
    if as_json:
        emit(document)
        return
    price = "nothing: the picture is in the cache" if known else dollars(job.cost_estimated)
    lines = {
        "model": f"{job.model} at {job.provider}" + (" (emulated)" if job.emulated else ""),
        "size": f"{job.width}x{job.height} {job.format}, drawn {document['ratio']} at {document['tier']}",
        "price": price,
        "cache": "hit" if known else "not asked (--fresh)" if job.fresh else "miss",
        "prompt": job.sent_prompt,
    }
    for name, text in lines.items():
        click.echo(f"{name:<7} {text}")
    for warning in document["warnings"]:
        click.echo(f"warning {warning}")


def plan_document(job: Job, *, hit: bool) -> dict[str, Any]:
    """What a dry run answers: the decision of admission, and what it would cost. US dollars, six decimals at most."""
    estimate = None if job.cost_estimated is None else float(job.cost_estimated)
    return {
        "dryRun": True,
        "provider": job.provider,
        "model": job.model,
        "width": job.width,
        "height": job.height,
        "format": job.format,
        "ratio": job.plan["ratio"],
        "tier": job.plan["tier"],
        "emulated": job.emulated,
        "cacheHit": hit,
        "cost": {"estimated": 0.0 if hit else estimate, "currency": "USD"},
        "sentPrompt": job.sent_prompt,
        "warnings": list(job.plan["warnings"]),
    }
