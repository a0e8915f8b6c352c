"""`imagegen providers`: who sells what here, at which price, and whether they are being asked at the moment."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import click

from imagegen.catalog import Catalog, Offer
from imagegen.cli.context import join_running, services_of
from imagegen.cli.output import columns, dollars, emit
from imagegen.errors import ImagegenError
from imagegen.ports import Services
from imagegen.settings import Settings, documented_urls
from imagegen.settings_source import KEYS, URLS
from imagegen.settings_values import PROVIDERS

OPERATIONS = ("submit", "poll")
"""The calls that have a circuit breaker of their own."""


@click.command()
@click.option("--credit", is_flag=True, help="Ask each configured provider for its balance (free of charge).")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@click.pass_context
def providers(ctx: click.Context, credit: bool, as_json: bool) -> None:
    """Show every provider: configured or not, its address, models, prices and breaker."""
    services = services_of(ctx)
    settings = join_running()
    items = [provider_document(name, settings, services, credit) for name in PROVIDERS]
    if as_json:
        emit({"items": items, "nextCursor": None})
        return
    for item in items:
        _print(item)


def provider_document(name: str, settings: Settings, services: Services, credit: bool) -> dict[str, Any]:
    """One provider as JSON. Prices in US dollars per picture and tier; `credit` in the provider's own unit."""
    urls = [str(getattr(settings, field)) for field in URLS[name]]
    used = name in services.providers
    document: dict[str, Any] = {
        "provider": name,
        "configured": used,
        "keySet": getattr(settings, KEYS[name]) is not None,
        "real": settings.real,
        "host": urlsplit(urls[0]).netloc,
        "documentedHost": all(url in documented_urls() for url in urls),
        "breaker": {one: services.breaker.state(name, one) for one in OPERATIONS} if used else None,
        "models": _models(name, services.catalog, services.clock.now().date()),
    }
    if credit:
        document["credit"] = _credit(name, services) if used else None
    return document


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
        "replacement": end.replacement if end else None,
    }


def _credit(name: str, services: Services) -> dict[str, Any]:
    try:
        left: Decimal | None = services.providers[name].credit()
    except ImagegenError as error:
        return {"left": None, "error": error.document()}
    return {"left": None if left is None else float(left), "error": None}


def _print(item: dict[str, Any]) -> None:
    if not item["configured"]:
        state = "not used" if item["keySet"] else "not configured"
    else:
        state = "REAL" if item["real"] else "emulated"
    host = item["host"] if item["documentedHost"] else f"{item['host']} (not the documented host)"
    click.echo(f"{item['provider']}  {state}  {host}")
    if item["breaker"]:
        click.echo("  breaker  " + "  ".join(f"{one} {state}" for one, state in item["breaker"].items()))
    if item.get("credit"):
        told = item["credit"]
        left = "has no such answer" if told["left"] is None else f"{told['left']:g}"
        click.echo(f"  credit   {told['error']['message'] if told['error'] else left}")
    rows = [
        (
            "  " + model["model"],
            "  ".join(f"{tier} {dollars(price)}" for tier, price in model["prices"].items())
            + ("" if model["confirmed"] else " (unconfirmed)"),
            f"ends {model['endOfLife']}, move to {model['replacement']}" if model["endOfLife"] else "",
        )
        for model in item["models"]
    ]
    if rows:
        click.echo(columns(rows))
