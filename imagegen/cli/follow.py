"""Waiting for a job or batch: polls until the end, shows what happens, and says how to go on when it is left."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol, Self
from uuid import UUID

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from imagegen.cli.doors import Door
from imagegen.cli.output import (
    INTERRUPTED,
    STILL_RUNNING,
    Document,
    dollars,
    emit,
    emit_error,
    jobs_of,
    label,
    outcome_code,
    summary,
)
from imagegen.contracts import BatchDocument, JobDocument
from imagegen.errors import StillRunning
from imagegen.records import Event
from imagegen.states import TERMINAL, BatchStatus

FIRST_PAUSE, LAST_PAUSE = 0.2, 1.0
"""Seconds between two looks, growing from the first to the last."""
_BATCH_OPEN = {BatchStatus.QUEUED, BatchStatus.RUNNING}


class View(Protocol):
    """Shows a document as it was found, as often as it was looked at."""

    def show(self, document: Document, door: Door) -> None: ...


class Silence:
    """For `--json`: standard output holds the one document alone."""

    def show(self, document: Document, door: Door) -> None:
        """Nothing."""


class Lines:
    """A plain line per move, for logs and pipes."""

    def __init__(self, *, err: bool) -> None:
        self._err = err
        self._seen: dict[UUID, tuple[object, int]] = {}

    def show(self, document: Document, door: Door) -> None:
        news: list[tuple[Event, str]] = []
        for job in jobs_of(document):
            mark = (job.status, job.stage, job.updated_at)
            before, last = self._seen.get(job.job_id, (None, 0))
            if mark == before:
                continue
            fresh = [event for event in door.history(job.job_id) if event.id > last]
            news += [(event, label(job)) for event in fresh]
            self._seen[job.job_id] = mark, max([last, *(event.id for event in fresh)])
        # A batch that was refused before it was written has no jobs.
        width = max((len(label(job)) for job in jobs_of(document)), default=0)
        for line in move_lines(news, width):
            click.echo(line, err=self._err)


class Bars:
    """A progress bar per job, for people at a terminal."""

    def __init__(self, console: Console) -> None:
        self._tasks: dict[UUID, TaskID] = {}
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            TextColumn("{task.fields[status]}"),
            TextColumn("{task.fields[note]}", style="dim"),
            TimeElapsedColumn(),
            console=console,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, document: Document, door: Door) -> None:
        for job in jobs_of(document):
            if job.job_id not in self._tasks:
                self._tasks[job.job_id] = self._progress.add_task(label(job), total=1.0, status="", note="")
            self._progress.update(
                self._tasks[job.job_id],
                # A bar that is full counts as finished and gets the tick: only a picture does.
                completed=job.progress if job.error is None else 0.99,
                status=_styled(job.status),
                note=_note(job),
            )


@contextmanager
def view_for(as_json: bool, *, err: bool = True) -> Iterator[View]:
    """Bars at a terminal, lines elsewhere, nothing for programs."""
    if as_json:
        yield Silence()
    elif sys.stderr.isatty():
        with Bars(Console(stderr=True)) as bars:
            yield bars
    else:
        yield Lines(err=err)


def follow(door: Door, wanted: UUID, view: View, timeout: float | None) -> Iterator[Document]:
    """The document each time it was looked at, until it has ended. Raises `StillRunning` after `timeout` seconds."""
    start, pause = door.monotonic(), FIRST_PAUSE
    while True:
        document = door.look(wanted)
        if document is not None:
            view.show(document, door)
            yield document
            if has_ended(document):
                return
        if timeout is not None and door.monotonic() - start >= timeout:
            raise StillRunning.of(wanted)
        door.rest(pause)
        pause = min(pause * 1.2, LAST_PAUSE)


def follow_to_exit(
    ctx: click.Context, door: Door, wanted: UUID, *, timeout: float | None, as_json: bool, err: bool = True
) -> None:
    """Waits, prints what it came to, and leaves with the exit code of the contract."""
    last: Document | None = None
    try:
        with view_for(as_json, err=err) as view:
            for document in follow(door, wanted, view, timeout):
                last = document
    except StillRunning as error:
        code = STILL_RUNNING
        _say_how_to_go_on(wanted, "is still running")
        if last is None and as_json:
            emit_error(error, as_json)
    except KeyboardInterrupt:
        code = INTERRUPTED
        _say_how_to_go_on(wanted, "goes on without you")
    else:
        code = outcome_code(last) if last is not None else STILL_RUNNING
    if last is not None:
        print_document(last, as_json)
    ctx.exit(code)


def print_document(document: Document, as_json: bool) -> None:
    """The document as JSON, or a line per job."""
    if as_json:
        emit(document.json_document())
    else:
        click.echo(summary(document))


def has_ended(document: Document) -> bool:
    """Whether nothing more will happen to it by itself."""
    if isinstance(document, BatchDocument):
        return document.status not in _BATCH_OPEN
    return document.status in TERMINAL


def move_lines(news: Sequence[tuple[Event, str]], width: int = 0) -> list[str]:
    """Each move with its job's name, oldest first: `09:30:00.123  Marisol Tern  generating  submit: intent` (UTC).

    `width`: of the names' column at least, so that lines of several calls stand below each other.
    """
    width = max([width, *(len(name) for _, name in news)])
    return [
        f"{_clock(event.at)}  {name:<{width}}  {event.status:<10}  {event.move}: {event.cause}"
        for event, name in sorted(news, key=lambda pair: pair[0].id)
    ]


def _clock(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%H:%M:%S.%f")[:-3]


def _say_how_to_go_on(wanted: UUID, what: str) -> None:
    click.echo(f"{wanted} {what}. Watch it: imagegen watch {wanted}", err=True)


def _styled(status: str) -> str:
    colour = {"completed": "green", "failed": "red", "cancelled": "yellow"}.get(status, "cyan")
    return f"[{colour}]{status}[/]"


def _note(job: JobDocument) -> str:
    if job.error is not None:
        return job.error.code
    if job.waiting_for is not None:
        until = job.waiting_for.until
        return job.waiting_for.reason + (f" until {datetime.fromisoformat(until):%H:%M:%S} UTC" if until else "")
    return dollars(job.cost.actual) if job.cost.actual is not None else str(job.model or "")
