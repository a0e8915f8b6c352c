"""`imagegen cache`: what the result cache holds and saved, and pictures taken out of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from imagegen.cli.context import services_of
from imagegen.cli.output import dollars, emit
from imagegen.contracts import rfc3339
from imagegen.errors import InvalidRequest
from imagegen.records import Stock
from imagegen.settings_values import BadValue, parse_duration

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
_UNITS = ("bytes", "kB", "MB", "GB")


@click.group(invoke_without_command=True)
@as_json
@click.pass_context
def cache(ctx: click.Context, as_json: bool) -> None:
    """Show what the result cache holds, answered and saved."""
    if ctx.invoked_subcommand is not None:
        return
    services = services_of(ctx)
    found = services.jobs.stock(emulated=services.emulated)
    if as_json:
        emit(stock_document(found))
        return
    oldest = f", the oldest of {found.oldest:%Y-%m-%d %H:%M:%S} UTC" if found.oldest else ""
    click.echo(f"{_pictures(found)}{oldest}{' (emulated)' if services.emulated else ''}")
    click.echo(f"{found.hits} {'job' if found.hits == 1 else 'jobs'} answered, {dollars(found.saved)} saved")


@cache.command()
@click.option("--older-than", metavar="30d", help="Only pictures bought longer ago: a number with s, m, h or d.")
@click.option("--model", metavar="NAME", help="Only pictures that this model drew.")
@as_json
@click.pass_context
def purge(ctx: click.Context, older_than: str | None, model: str | None, as_json: bool) -> None:
    """Take pictures out of the cache.

    The next job for one of them buys it anew. Published pictures, and the originals in the object store, stay where
    they are.
    """
    services = services_of(ctx)
    if model is not None and model not in services.catalog.models:
        raise InvalidRequest.of(
            "--model", f"{model!r} is not in the catalog", f"Use one of {', '.join(sorted(services.catalog.models))}."
        )
    before = None if older_than is None else services.clock.now() - _age(older_than)
    gone = services.jobs.purge(emulated=services.emulated, before=before, model=model)
    if as_json:
        emit({"purged": gone.entries, "bytes": gone.bytes})
    else:
        click.echo(f"purged {_pictures(gone)}{' (emulated)' if services.emulated else ''}")


def _age(told: str) -> timedelta:
    try:
        return timedelta(seconds=parse_duration(told))
    except BadValue as error:
        raise InvalidRequest.of("--older-than", error.reason, error.remedy) from error


def stock_document(found: Stock) -> dict[str, Any]:
    """`{entries, bytes, oldest, hits, saved, currency}`; US dollars as a number, `oldest` null where there is none."""
    return {
        "entries": found.entries, "bytes": found.bytes, "oldest": rfc3339(found.oldest), "hits": found.hits,
        "saved": float(found.saved), "currency": "USD",
    }  # fmt: skip


def _pictures(found: Stock) -> str:
    return f"{found.entries} {'picture' if found.entries == 1 else 'pictures'}, {size(found.bytes)}"


def size(amount: float) -> str:
    """Bytes for people, in powers of 1000."""
    power = 0
    while amount >= 1000 and power < len(_UNITS) - 1:
        amount, power = amount / 1000, power + 1
    return f"{amount:.{1 if power else 0}f} {_UNITS[power]}"
