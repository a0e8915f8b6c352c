"""`--dry-run` of `submit` and `batch`: the answer, as a table or as JSON, and its exit code."""

from __future__ import annotations

from collections.abc import Iterator

import click

from imagegen.cli.context import estimating, services_of
from imagegen.cli.output import DONE, REFUSED, columns, dollars, emit
from imagegen.contracts import BatchRequest, ImageRequest
from imagegen.estimates import BatchEstimate, BudgetVerdict, EstimatedCost, EstimateDocument


def print_estimate(ctx: click.Context, request: ImageRequest, as_json: bool) -> None:
    """Ends the command: exit 0, or 5 where a budget would refuse."""
    services = services_of(ctx)
    found: EstimateDocument = estimating().estimate(request, services, "cli")
    if as_json:
        emit(found.json_document())
    else:
        _print(_lines(found))
        _print_budgets(found.budget)
    ctx.exit(DONE if found.budget.admitted else REFUSED)


def print_batch_estimate(ctx: click.Context, request: BatchRequest, as_json: bool) -> None:
    """Ends the command, likewise."""
    services = services_of(ctx)
    found: BatchEstimate = estimating().estimate_batch(request, services, "cli")
    if as_json:
        emit(found.json_document())
    else:
        for at, job in enumerate(found.jobs):
            click.echo(f"job {at + 1}")
            _print(_lines(job))
        click.echo(f"together {_price(found.cost)}")
        _print_budgets(found.budget)
    ctx.exit(DONE if found.budget.admitted else REFUSED)


def _print(lines: Iterator[tuple[str, str]]) -> None:
    for name, text in lines:
        click.echo(f"{name:<7} {text}")


def _lines(found: EstimateDocument) -> Iterator[tuple[str, str]]:
    yield "model", f"{found.model} at {found.provider}" + (" (emulated)" if found.emulated else "")
    drawn = f"drawn {found.ratio} at {found.tier}"
    yield "size", f"{found.width}x{found.height} {found.format}, {drawn}"
    yield "price", "nothing: the picture is in the cache" if found.cache_hit else _price(found.cost)
    yield "cache", "hit" if found.cache_hit else "miss"
    yield "time", _time(found)
    yield "quota", _quota(found)
    yield "prompt", found.sent_prompt
    for warning in found.warnings:
        yield "warning", warning


def _price(cost: EstimatedCost) -> str:
    return dollars(cost.high) if cost.low == cost.high else f"{dollars(cost.low)} to {dollars(cost.high)}"


def _time(found: EstimateDocument) -> str:
    told = found.expected_seconds
    if told.p50 is None or told.p95 is None:
        return "unknown: this model has drawn nothing here yet"
    if found.cache_hit:
        return "at once"
    return f"half of the pictures within {told.p50:.1f} s, 95 % within {told.p95:.1f} s (last {told.samples})"


def _quota(found: EstimateDocument) -> str:
    told = found.quota
    words = {
        "ok": f"{found.provider} has credit",
        "low": f"{found.provider} is short of credit",
        "exhausted": f"{found.provider} has no credit left: the order would fail",
        "breaker": f"{found.provider} has failed repeatedly: the job would wait",
        "paused": f"paused ({', '.join(told.pauses)}): the job would wait",
        "unknown": f"unknown: {found.provider} tells no balance",
    }
    credit = "" if told.credit is None else f" ({told.credit:,.10g} left)"
    return words[told.verdict] + credit + (f"; {told.detail}" if told.detail else "")


def _print_budgets(verdict: BudgetVerdict) -> None:
    if not verdict.budgets:
        click.echo("budget  none is set")
        return
    rows = [
        (
            one.scope, one.period, "hard" if one.hard else "soft", dollars(one.limit), dollars(one.committed),
            dollars(one.remaining), dollars(one.requested), "yes" if one.admitted else "NO",
        )
        for one in verdict.budgets
    ]  # fmt: skip
    heading = ("BUDGET", "PERIOD", "KIND", "LIMIT", "COMMITTED", "REMAINING", "ASKED FOR", "ROOM")
    click.echo(columns([heading, *rows], frozenset({3, 4, 5, 6})))
    if not verdict.admitted:
        click.echo("this would be refused: BUDGET_EXCEEDED")
