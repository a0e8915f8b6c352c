"""`imagegen providers`: who sells what here, at which price, and whether they are being asked at the moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import click

from imagegen.catalog import Catalog, Offer
from imagegen.circuits import OPERATIONS, circuit, open_circuits, reset_circuits, told
from imagegen.cli.context import join_running, services_of
from imagegen.cli.output import columns, dollars, emit
from imagegen.cli.pause import pause_document
from imagegen.errors import ImagegenError, InvalidRequest
from imagegen.ports import Services
from imagegen.ports_callbacks import Tally
from imagegen.records import Pause
from imagegen.settings import Settings, documented_urls
from imagegen.settings_source import KEYS, URLS
from imagegen.settings_values import PROVIDERS

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
which = click.option("--operation", type=click.Choice(OPERATIONS), help="One circuit alone; both when not told.")


@click.group(invoke_without_command=True)
@click.option("--credit", is_flag=True, help="Ask each configured provider for its balance (free of charge).")
@as_json
@click.pass_context
def providers(ctx: click.Context, credit: bool, as_json: bool) -> None:
    """Show every provider: address, models, prices, circuits.

    Each has a circuit breaker for paid calls and one for polls, which `open` and `reset` move by hand.
    """
    if ctx.invoked_subcommand is not None:
        if credit:
            raise InvalidRequest.of("--credit", "belongs to the listing", f"Leave out `{ctx.invoked_subcommand}`.")
        return
    services = services_of(ctx)
    settings = join_running()
    pauses, tallies = services.pauses.list(), services.callbacks.tallies(at=services.clock.now())
    items = [
        {**provider_document(name, settings, services, pauses, credit), "callbacks": callback_counts(name, tallies)}
        for name in PROVIDERS
    ]
    if as_json:
        emit({"items": items, "nextCursor": None})
        return
    for item in items:
        _print(item)


@providers.command("open")
@click.argument("name")
@which
@as_json
@click.pass_context
def open_breaker(ctx: click.Context, name: str, operation: str | None, as_json: bool) -> None:
    """Open NAME's circuit breakers, as if it had failed too often.

    Its jobs wait until a probe succeeds.
    """
    _tell(ctx, open_circuits(services_of(ctx), name, operation), as_json)


@providers.command("reset")
@click.argument("name")
@which
@as_json
@click.pass_context
def reset_breaker(ctx: click.Context, name: str, operation: str | None, as_json: bool) -> None:
    """Close NAME's circuit breakers and forget its failures."""
    _tell(ctx, reset_circuits(services_of(ctx), name, operation), as_json)


def _tell(ctx: click.Context, found: list[dict[str, Any]], as_json: bool) -> None:
    if as_json or (ctx.parent is not None and ctx.parent.params["as_json"]):
        emit({"items": found, "nextCursor": None})
        return
    for one in found:
        click.echo(f"{one['provider']} {one['operation']} {told(one['state'], one['probedIn'])}")


def provider_document(
    name: str, settings: Settings, services: Services, pauses: Sequence[Pause], credit: bool
) -> dict[str, Any]:
    """One provider as JSON. Prices in US dollars per picture and tier; `credit` in the provider's own unit.

    `probedIn`: seconds until an open circuit is probed, else null.
    """
    urls = [str(getattr(settings, field)) for field in URLS[name]]
    used = name in services.providers
    found = {one: circuit(services, name, one) for one in OPERATIONS} if used else None
    document: dict[str, Any] = {
        "provider": name,
        "configured": used,
        "keySet": getattr(settings, KEYS[name]) is not None,
        "real": settings.real,
        "host": urlsplit(urls[0]).netloc,
        "documentedHost": all(url in documented_urls() for url in urls),
        "breaker": {one: found[one]["state"] for one in OPERATIONS} if found else None,
        "probedIn": {one: found[one]["probedIn"] for one in OPERATIONS} if found else None,
        "pauses": [pause_document(one) for one in pauses if one.scope in ("all", f"provider:{name}")],
        "models": _models(name, services.catalog, services.clock.now().date()),
    }
    if credit:
        document["credit"] = _credit(name, services) if used else None
    return document


def callback_counts(name: str, tallies: Sequence[Tally]) -> dict[str, dict[str, int]]:
    """How often the provider's callbacks came to what, in the last 24 hours and 7 days; see `imagegen.callbacks`."""
    own = [one for one in tallies if one.provider == name]
    return {
        "24h": {one.outcome: one.day for one in own if one.day},
        "7d": {one.outcome: one.week for one in own},
    }


def _models(provider: str, catalog: Catalog, today: date) -> list[dict[str, Any]]:
    return [_model(offer, catalog, today) for offer in catalog.offers if offer.provider == provider]


def _model(offer: Offer, catalog: Catalog, today: date) -> dict[str, Any]:
    rows = {tier: catalog.price(offer.provider, offer.model.name, tier, today) for tier in offer.tiers}
    end = offer.end_of_life
    return {
        "model": offer.model.name,
        "providerModel": offer.id,
        "prices": {tier: float(row.amount) if row else None for tier, row in rows.items()},
        "confirmed": all(row.confirmed for row in rows.values() if row),
        "endOfLife": end.date.isoformat() if end else None,
        "ended": offer.dead(today),
        "replacement": end.replacement if end else None,
    }


def _credit(name: str, services: Services) -> dict[str, Any]:
    try:
        left: Decimal | None = services.providers[name].credit()
    except ImagegenError as error:
        return {"left": None, "error": error.document()}
    return {"left": None if left is None else float(left), "error": None}


def _counts(span: str, told: Mapping[str, int]) -> str:
    return f"{span}: " + (", ".join(f"{count} {outcome}" for outcome, count in told.items()) or "none")


def _print(item: dict[str, Any]) -> None:
    if not item["configured"]:
        state = "not used" if item["keySet"] else "not configured"
    else:
        state = "REAL" if item["real"] else "emulated"
    host = item["host"] if item["documentedHost"] else f"{item['host']} (not the documented host)"
    click.echo(f"{item['provider']}  {state}  {host}")
    if item["breaker"]:
        states = (f"{one} {told(state, item['probedIn'][one])}" for one, state in item["breaker"].items())
        click.echo("  breaker  " + "  ".join(states))
    if item["callbacks"]["7d"]:
        click.echo("  callbacks  " + "; ".join(_counts(span, told) for span, told in item["callbacks"].items()))
    for pause in item["pauses"]:
        click.echo(f"  paused   {pause['scope']}" + (f": {pause['reason']}" if pause["reason"] else ""))
    if item.get("credit"):
        credit = item["credit"]
        left = "has no such answer" if credit["left"] is None else f"{credit['left']:,.10g}"
        click.echo(f"  credit   {credit['error']['message'] if credit['error'] else left}")
    rows = [
        (
            "  " + model["model"],
            "  ".join(f"{tier} {dollars(price)}" for tier, price in model["prices"].items())
            + ("" if model["confirmed"] else " (unconfirmed)"),
            f"{'ended' if model['ended'] else 'ends'} {model['endOfLife']}, move to {model['replacement']}"
            if model["endOfLife"]
            else "",
        )
        for model in item["models"]
    ]
    if rows:
        click.echo(columns(rows))
