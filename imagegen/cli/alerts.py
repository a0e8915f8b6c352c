"""`imagegen alerts`: what is raised at the moment."""

from __future__ import annotations

from typing import Any

import click

from imagegen.cli.context import services_of
from imagegen.cli.output import columns, emit
from imagegen.contracts import rfc3339
from imagegen.records import Alert


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@click.pass_context
def alerts(ctx: click.Context, as_json: bool) -> None:
    """Show the alerts that are raised.

    They tell of budgets, balances, prices, spending, waiting and failures.
    """
    found = services_of(ctx).alerts.list()
    if as_json:
        emit({"items": [alert_document(one) for one in found], "nextCursor": None})
    elif found:
        rows = [(f"{one.raised_at:%Y-%m-%d %H:%M:%S}", one.kind, "yes" if one.told_at else "no", one.message)
                for one in found]  # fmt: skip
        click.echo(columns([("SINCE (UTC)", "KIND", "TOLD", "MESSAGE"), *rows]))
    else:
        click.echo("no alert is raised")


def alert_document(one: Alert) -> dict[str, Any]:
    """`{key, kind, message, detail, raisedAt, toldAt}`; `toldAt` null: the webhook has not taken it yet."""
    told = {"key": one.key, "kind": one.kind, "message": one.message, "detail": dict(one.detail)}
    return {**told, "raisedAt": rfc3339(one.raised_at), "toldAt": rfc3339(one.told_at)}
