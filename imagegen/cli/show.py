"""`imagegen show`, `watch` and `list`: what became of jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import click

from imagegen.cli.context import services_of
from imagegen.cli.doors import door_of
from imagegen.cli.follow import follow_to_exit, move_lines, print_document
from imagegen.cli.options import code_of_failure, duration, moment, moment_before
from imagegen.cli.output import columns, dollars, emit, jobs_of, label
from imagegen.contracts import rfc3339
from imagegen.errors import StillRunning
from imagegen.records import Event, JobFilter
from imagegen.settings_values import PROVIDERS
from imagegen.states import Status

JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
_HEADING = ("ID", "STATUS", "CODE", "TYPE", "PROVIDER/MODEL", "COST", "CREATED", "NAME")
_COST_COLUMN = frozenset({5})


@click.command()
@click.argument("id", type=click.UUID)
@click.option("--history", is_flag=True, help="With every move it made.")
@JSON
@click.pass_context
def show(ctx: click.Context, id: UUID, history: bool, as_json: bool) -> None:
    """Show a job or a batch as it stands."""
    door = door_of(ctx)
    document = door.look(id)
    if document is None:
        raise StillRunning.of(id)
    moves = [(event, label(job)) for job in jobs_of(document) if history for event in door.history(job.job_id)]
    if as_json:
        events = [event_document(event) for event, _ in sorted(moves, key=lambda pair: pair[0].id)]
        emit(document.json_document() | ({"history": events} if history else {}))
        return
    print_document(document, as_json)
    for line in move_lines(moves):
        click.echo(line)


@click.command()
@click.argument("id", type=click.UUID)
@click.option("--timeout", type=duration, help="Leave with exit 4 after, such as 5m.")
@JSON
@click.pass_context
def watch(ctx: click.Context, id: UUID, timeout: int | None, as_json: bool) -> None:
    """Watch a job or a batch until its end.

    Exit 1 unless every picture came.
    """
    follow_to_exit(ctx, door_of(ctx), id, timeout=timeout, as_json=as_json, err=False)


@click.command("list")
@click.option("--status", type=click.Choice([one.value for one in Status]))
@code_of_failure
@click.option("--provider", type=click.Choice(PROVIDERS))
@click.option("--project", help="Project id.")
@click.option("--owner", help="Owner.")
@click.option("--since", type=moment, help="Made after: an RFC 3339 time, or a duration back from now.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True)
@click.option("--cursor", help="`nextCursor` of the page before.")
@JSON
@click.pass_context
def list_jobs(
    ctx: click.Context,
    status: str | None,
    code: str | None,
    provider: str | None,
    project: str | None,
    owner: str | None,
    since: datetime | timedelta | None,
    limit: int,
    cursor: str | None,
    as_json: bool,
) -> None:
    """List jobs, the newest first."""
    services = services_of(ctx)
    where = JobFilter(
        status=status,
        code=code,
        provider=provider,
        project_id=project,
        owner=owner,
        since=None if since is None else moment_before(since, services.clock.now()),
    )
    jobs, following = services.jobs.list(where, limit=limit, cursor=cursor)
    documents = [services.links.job(job) for job in jobs]
    if as_json:
        emit({"items": [one.json_document() for one in documents], "nextCursor": following})
        return
    rows = [
        (
            str(one.job_id),
            one.status,
            one.error.code if one.error else "",
            one.job_type or "",
            f"{one.provider}/{one.model}",
            dollars(one.cost.actual if one.cost.actual is not None else one.cost.estimated),
            (one.created_at or "")[:19].replace("T", " "),
            label(one) if one.erased_at is None else "(erased)",
        )
        for one in documents
    ]
    click.echo(columns([_HEADING, *rows], _COST_COLUMN) if rows else "no jobs")
    if following:
        click.echo(f"more: --cursor {following}", err=True)


def event_document(event: Event) -> dict[str, Any]:
    """One move as JSON."""
    return {
        "id": event.id,
        "jobId": str(event.job_id),
        "run": event.run,
        "at": rfc3339(event.at.astimezone(UTC)),
        "move": event.move,
        "status": event.status,
        "stage": event.stage,
        "cause": event.cause,
        "worker": event.worker,
        "detail": dict(event.detail),
    }
