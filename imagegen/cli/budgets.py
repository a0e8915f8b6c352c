"""`imagegen budgets`: how much may be committed, and how much is."""

from __future__ import annotations

import click

from imagegen.budgets import PERIODS, checked_limit, checked_scope, document
from imagegen.cli.context import services_of
from imagegen.cli.output import columns, dollars, emit
from imagegen.errors import NotFound
from imagegen.records import Budget

WIDTH = 20
"""Characters of a bar."""

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
_period = click.Choice(PERIODS)


def _emulated(ctx: click.Context) -> str:
    return " (emulated money)" if services_of(ctx).emulated else ""


def _span(period: str) -> str:
    return "in total" if period == "total" else f"per {period}"


@click.group(invoke_without_command=True)
@as_json
@click.pass_context
def budgets(ctx: click.Context, as_json: bool) -> None:
    """Show budgets: limit, committed, remaining, and a bar.

    Committed is what was paid, wasted or perhaps charged, and what live jobs have reserved. Days and months are UTC.
    A hard budget refuses what it has no room for; a soft one only raises alerts.
    """
    if ctx.invoked_subcommand is not None:
        return
    services = services_of(ctx)
    found = services.budgets.list(at=services.clock.now())
    if as_json:
        emit({"items": [document(one) for one in found], "nextCursor": None})
    elif found:
        rows = [_row(one) for one in found]
        click.echo(columns([("SCOPE", "PERIOD", "KIND", "COMMITTED", "LIMIT", "REMAINING", ""), *rows]))
    else:
        click.echo(f"no budget is set{_emulated(ctx)}; set one with: imagegen budgets set all 25 --period month")


@budgets.command("set")
@click.argument("scope", metavar="all|owner:N|project:N|provider:N")
@click.argument("limit", metavar="DOLLARS")
@click.option("--period", type=_period, required=True, help="day and month begin at midnight UTC.")
@click.option("--soft", is_flag=True, help="Refuse nothing; only raise alerts.")
@as_json
@click.pass_context
def set_budget(ctx: click.Context, scope: str, limit: str, period: str, soft: bool, as_json: bool) -> None:
    """Set or change a budget. What its jobs have committed in the present period counts from the start."""
    name, amount, services = checked_scope(scope), checked_limit(limit), services_of(ctx)
    budget = services.budgets.set(name, period, amount, not soft, at=services.clock.now())
    if as_json:
        emit(document(budget))
        return
    kind = "hard" if budget.hard else "soft"
    click.echo(
        f"{budget.scope}: {dollars(budget.amount)} {_span(budget.period)}, {kind}{_emulated(ctx)}; "
        f"{dollars(budget.committed)} committed, {dollars(budget.remaining)} remaining"
    )


@budgets.command("remove")
@click.argument("scope", metavar="all|owner:N|project:N|provider:N")
@click.option("--period", type=_period, help="Only this one; otherwise all of the scope.")
@as_json
@click.pass_context
def remove_budget(ctx: click.Context, scope: str, period: str | None, as_json: bool) -> None:
    """Remove a scope's budget, or its budgets of all periods."""
    name = checked_scope(scope)
    removed = services_of(ctx).budgets.remove(name, period)
    if not removed:
        of_period = f" {_span(period)}" if period else ""
        raise NotFound(f"{name} has no budget{of_period}{_emulated(ctx)}; `imagegen budgets` lists them")
    if as_json:
        emit({"scope": name, "removed": removed})
    else:
        click.echo(f"removed {removed} {'budget' if removed == 1 else 'budgets'} of {name}")


def bar(one: Budget) -> str:
    """How full it is, `█████░░░░░  25%`; anything committed shows, and only a full one looks full."""
    share = one.committed / one.amount
    filled = min(int(share * WIDTH), WIDTH)
    if share > 0 and not filled:
        filled = 1
    return f"{'█' * filled}{'░' * (WIDTH - filled)} {int(share * 100):>3}%"


def _row(one: Budget) -> tuple[str, ...]:
    kind = "hard" if one.hard else "soft"
    return (one.scope, one.period, kind, dollars(one.committed), dollars(one.amount), dollars(one.remaining), bar(one))
