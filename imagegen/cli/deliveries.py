"""`imagegen deliveries`: who was told of which end, what came of it, and telling them once more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import click

from imagegen.cli.context import services_of
from imagegen.cli.output import columns, emit
from imagegen.contracts import rfc3339
from imagegen.outbox import Delivery, Sending, State
from imagegen.ports_deliveries import DeliveryFilter

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")


@click.group(invoke_without_command=True)
@click.option("--status", type=click.Choice([state.value for state in State]), help="Only those that stand so.")
@click.option("--owner", metavar="NAME", help="Only this owner's.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="At most so many.")
@click.option("--cursor", metavar="TEXT", help="The nextCursor of the page before.")
@as_json
@click.pass_context
def deliveries(
    ctx: click.Context, status: str | None, owner: str | None, limit: int, cursor: str | None, as_json: bool
) -> None:
    """List the webhooks and tasks that tell callers of an end.

    The newest come first, each with its last attempt; --json has every attempt.
    """
    if ctx.invoked_subcommand is not None:
        return
    where = DeliveryFilter(state=State(status) if status else None, owner=owner)
    found, more = services_of(ctx).deliveries.list(where, limit=limit, cursor=cursor)
    if as_json:
        emit({"items": [delivery_document(one) for one in found], "nextCursor": more})
    elif found:
        heading = ("ID", "SINCE (UTC)", "EVENT", "TO", "STATUS", "ATTEMPTS", "LAST")
        click.echo(columns([heading, *[_line(one) for one in found]]))
    else:
        click.echo("no deliveries")


@deliveries.command("redeliver")
@click.argument("delivery_id", metavar="ID", type=click.UUID)
@as_json
@click.pass_context
def redeliver(ctx: click.Context, delivery_id: UUID, as_json: bool) -> None:
    """Tell of it once more, however it ended before.

    The event id stays the same.
    """
    services = services_of(ctx)
    again = services.deliveries.redeliver(delivery_id, at=services.clock.now())
    if as_json:
        emit(delivery_document(again))
    else:
        click.echo(f"{again.event_id} goes to {shown_address(again)} again; see: imagegen deliveries")


def delivery_document(one: Delivery) -> dict[str, Any]:
    """A delivery as JSON; of a URL without its query, which may hold a secret."""
    return {
        "id": str(one.id),
        "eventId": one.event_id,
        "type": one.kind,
        "target": one.target.value,
        "address": shown_address(one),
        "owner": one.owner,
        "jobId": None if one.job_id is None else str(one.job_id),
        "batchId": None if one.batch_id is None else str(one.batch_id),
        "status": one.state.value,
        "attempts": one.attempts,
        "createdAt": rfc3339(one.at),
        "nextAttemptAt": rfc3339(one.due_at),
        "log": [_sending(sending) for sending in one.log],
    }


def shown_address(one: Delivery) -> str:
    """`https://host/path`, or `task@queue`."""
    if isinstance(one.address, Mapping):
        return f"{one.address['name']}@{one.address['queue']}"
    parts = urlsplit(one.address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _sending(one: Sending) -> dict[str, Any]:
    return {"at": rfc3339(one.at), "ms": one.ms, "status": one.status, "error": one.error}


def _line(one: Delivery) -> tuple[str, ...]:
    last = one.log[-1] if one.log else None
    told = "" if last is None else f"{last.error or last.status or 'sent'} in {last.ms} ms"
    since = f"{one.at:%Y-%m-%d %H:%M:%S}"
    return str(one.id), since, one.event_id, shown_address(one), one.state.value, str(one.attempts), told
