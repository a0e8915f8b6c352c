"""`imagegen pause` and `imagegen resume`: no new paid call is begun; what was bought is still collected."""

from __future__ import annotations

from typing import Any

import click
from pydantic import TypeAdapter, ValidationError

from imagegen.cli.context import services_of
from imagegen.cli.output import columns, emit
from imagegen.contracts import Name, rfc3339
from imagegen.errors import InvalidRequest
from imagegen.records import Pause
from imagegen.settings_values import PROVIDERS

_NAME: TypeAdapter[str] = TypeAdapter(Name)

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")


@click.command()
@click.argument("scope", required=False, metavar="[all|provider:NAME|owner:NAME]")
@click.option("--reason", metavar="TEXT", help="Shown to whoever asks what is paused.")
@click.option("--list", "list_all", is_flag=True, help="Only show what is paused.")
@as_json
@click.pass_context
def pause(ctx: click.Context, scope: str | None, reason: str | None, list_all: bool, as_json: bool) -> None:
    """Begin no new paid call of anybody, a provider or an owner.

    Kept in the database until resumed. Jobs are accepted and wait; pictures that were bought or ordered before are
    still collected. Pausing again keeps the new reason.
    """
    if list_all:
        if scope is not None or reason is not None:
            raise InvalidRequest.of("--list", "only shows what is paused", "Leave out the scope and the reason.")
        _print_all(ctx, as_json)
        return
    if scope is None:
        raise InvalidRequest.of("SCOPE", "is missing", f"{_SCOPES} `imagegen pause --list` shows what is paused.")
    name, services = checked_scope(scope), services_of(ctx)
    services.pauses.pause(name, reason=(reason or "").strip(), at=services.clock.now())
    if as_json:
        emit(next(pause_document(one) for one in services.pauses.list() if one.scope == name))
    else:
        click.echo(f"paused {name}; end it with: imagegen resume {name}")


@click.command()
@click.argument("scope", metavar="all|provider:NAME|owner:NAME")
@as_json
@click.pass_context
def resume(ctx: click.Context, scope: str, as_json: bool) -> None:
    """End a pause.

    Jobs that waited for it alone go on at once. What is not paused stays as it is (exit 0).
    """
    name, services = checked_scope(scope), services_of(ctx)
    woken = services.pauses.resume(name, at=services.clock.now())
    if as_json:
        emit({"scope": name, "resumed": woken is not None, "woken": woken or 0})
    elif woken is None:
        click.echo(f"{name} was not paused")
    else:
        click.echo(f"resumed {name}: {woken} {'job goes' if woken == 1 else 'jobs go'} on")


def checked_scope(scope: str) -> str:
    """`all`, `provider:NAME` or `owner:NAME` in its one spelling; raises `InvalidRequest`."""
    kind, _, name = (part.strip() for part in scope.partition(":"))
    if scope.strip() == "all":
        return "all"
    if kind not in ("provider", "owner"):
        raise InvalidRequest.of("SCOPE", f"{scope!r} names nothing that can be paused", _SCOPES)
    if kind == "provider" and name not in PROVIDERS:
        raise InvalidRequest.of("SCOPE", f"{name!r} is no provider", f"Use one of {', '.join(PROVIDERS)}.")
    try:
        return f"{kind}:{_NAME.validate_python(name)}"
    except ValidationError as error:
        raise InvalidRequest.of("SCOPE", "names no owner", "An owner has 1 to 120 characters.") from error


_SCOPES = "Use all, provider:NAME or owner:NAME."


def pause_document(one: Pause) -> dict[str, Any]:
    """`{scope, reason, pausedAt}`; the reason is null where none was given."""
    return {"scope": one.scope, "reason": one.reason or None, "pausedAt": rfc3339(one.paused_at)}


def _print_all(ctx: click.Context, as_json: bool) -> None:
    found = services_of(ctx).pauses.list()
    if as_json:
        emit({"items": [pause_document(one) for one in found], "nextCursor": None})
    elif found:
        rows = [(one.scope, f"{one.paused_at:%Y-%m-%d %H:%M:%S}", one.reason) for one in found]
        click.echo(columns([("SCOPE", "SINCE (UTC)", "REASON"), *rows]))
    else:
        click.echo("nothing is paused")
