"""`imagegen demo`: four characters from their briefs to pictures, on parts of its own and the emulator's money."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import click
import yaml
from rich.console import Console
from rich.table import Table

from imagegen.cli.contact_sheet import Plate, contact_sheet
from imagegen.cli.context import services_of, settings_here, worker_app
from imagegen.cli.doors import ServicesDoor
from imagegen.cli.follow import follow, view_for
from imagegen.cli.output import DONE, FAILED, counted, dollars, emit, label
from imagegen.cli.up import Options, running
from imagegen.contracts import BatchDocument, BatchRequest, JobDocument, parse_batch
from imagegen.embedded.environment import Plan
from imagegen.errors import StillRunning
from imagegen.jobs import Job
from imagegen.layout import slug
from imagegen.ports import Services
from imagegen.states import Status

PATIENCE = 45.0
"""Seconds the four pictures may take; the demo ends within a minute."""


@dataclass(frozen=True)
class Books:
    """What the emulated providers charged, US dollars."""

    charges: int
    total: Decimal


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@click.pass_context
def demo(ctx: click.Context, as_json: bool) -> None:
    """Make four characters with the emulator: no account, no money.

    Nothing is left running.
    """
    home = settings_here().home / "demo"
    worker_app()
    _say(as_json, f"starting Redis, PostgreSQL, the provider emulator and the workers in {home}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    plan = Plan.isolated(home)
    with running(plan, Options(api=False, flower=False)) as started:
        with joined(plan, started.instance.env):
            services = services_of(ctx)
            document = _make(services, as_json)
            _, jobs = services.jobs.get_batch(document.batch_id)
            pictures = _pictures(services, jobs)
        books = _books(started.instance.addresses["provider"])
    paths = _save(home, document, pictures, books)
    _tell(document, books, paths, as_json)
    # The demo's promise is one charge per picture, so a charge more or less is a failure too.
    paid_once = books.charges == len(document.jobs)
    ctx.exit(DONE if document.status == "completed" and paid_once else FAILED)


def order() -> BatchRequest:
    """The batch of the demo, as shipped. Always fresh, so that a second demo buys its pictures too."""
    text = resources.files("imagegen.cli").joinpath("demo_batch.yaml").read_text(encoding="utf-8")
    return parse_batch({**yaml.safe_load(text), "fresh": True})


@contextlib.contextmanager
def joined(plan: Plan, env: Any) -> Iterator[None]:
    """This process as one of the demo's own: its environment and working folder, whatever is configured around."""
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update({**plan.environ, **env})
        with contextlib.chdir(plan.cwd):
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _make(services: Services, as_json: bool) -> BatchDocument:
    door = ServicesDoor(services)
    document = door.submit_batch(order())
    if not isinstance(document, BatchDocument):
        raise TypeError("a batch was admitted without its row")
    wanted = document.batch_id
    _say(as_json, f"batch {wanted}: {len(document.jobs)} characters")
    with view_for(as_json) as view, contextlib.suppress(StillRunning):
        for found in follow(door, wanted, view, PATIENCE):
            if isinstance(found, BatchDocument):
                document = found
    return document


def _pictures(services: Services, jobs: Sequence[Job]) -> dict[str, bytes]:
    """The published files by job id, as far as there are any."""
    done = [job for job in jobs if job.status is Status.COMPLETED and job.object_key]
    return {str(job.id): services.blobs.get(str(job.object_key)) for job in done}


def _books(emulator: str) -> Books:
    with urlopen(f"{emulator}/__ledger", timeout=5) as answer:
        ledger = json.load(answer)
    return Books(int(ledger["count"]), Decimal(ledger["total"]))


def _save(home: Path, document: BatchDocument, pictures: dict[str, bytes], books: Books) -> list[Path]:
    """Writes every picture and the contact sheet; returns their paths, the sheet last."""
    paths: list[Path] = []
    plates: list[Plate] = []
    for job in document.jobs:
        data = pictures.get(str(job.job_id))
        if data is None:
            continue
        kind = str(job.content_type).removeprefix("image/")
        paths.append(home / f"{slug(label(job))}.{kind}")
        paths[-1].write_bytes(data)
        plates.append(Plate(data, label(job), dollars(job.cost.actual), f"{job.model} · {_seconds(job)} s"))
    if plates:
        first = document.jobs[0]
        title = str(first.metadata.get("book", "imagegen"))
        subtitle = "  ·  ".join([*([first.style.name.replace("-", " ")] if first.style else []), str(first.model)])
        paths.append(home / "contact-sheet.png")
        paths[-1].write_bytes(contact_sheet(title, subtitle, plates, footer(len(plates), books)))
    return paths


def footer(pictures: int, books: Books) -> str:
    """`4 pictures, 4 charges, $0.16`."""
    return f"{counted(pictures, 'picture')}, {counted(books.charges, 'charge')}, {dollars(books.total)}"


def _tell(document: BatchDocument, books: Books, paths: Sequence[Path], as_json: bool) -> None:
    if as_json:
        charges = {"count": books.charges, "total": float(books.total)}
        emit({**document.json_document(), "charges": charges, "files": [str(path) for path in paths]})
        return
    Console(width=None if sys.stdout.isatty() else 120).print(_table(document, books))
    for path in paths:
        click.echo(str(path))


def _table(document: BatchDocument, books: Books) -> Table:
    table = Table(title="what it cost", title_justify="left", show_footer=True)
    table.add_column("job", footer="total")
    table.add_column("status", footer=document.status)
    table.add_column("model")
    table.add_column("size")
    table.add_column("estimated", justify="right", footer=dollars(document.cost.estimated))
    table.add_column("actual", justify="right", footer=dollars(document.cost.actual))
    table.add_column("seconds", justify="right", footer=_seconds(document))
    for job in document.jobs:
        status = job.error.code if job.error else job.status
        size = f"{job.width}x{job.height}"
        table.add_row(
            label(job), status, f"{job.provider}/{job.model}", size, dollars(job.cost.estimated),
            dollars(job.cost.actual), _seconds(job),
        )  # fmt: skip
    done = sum(job.status == Status.COMPLETED for job in document.jobs)
    table.caption = f"the emulator's own books: {footer(done, books)}"
    table.caption_justify = "left"
    return table


def _seconds(document: JobDocument | BatchDocument) -> str:
    if document.created_at is None or document.completed_at is None:
        return "-"
    taken = datetime.fromisoformat(document.completed_at) - datetime.fromisoformat(document.created_at)
    return f"{taken.total_seconds():.1f}"


def _say(as_json: bool, line: str) -> None:
    if not as_json:
        click.echo(line, err=True)
