"""`imagegen costs`: what was paid, for what, and what the cache saved."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import click
from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from imagegen.cli.context import services_of
from imagegen.cli.options import moment, moment_before
from imagegen.cli.output import dollars, emit
from imagegen.costs import GROUPS, METADATA, hit_rate, report, total
from imagegen.errors import InvalidRequest
from imagegen.records import CostFilter, CostRow

BAR = 24
"""Characters of the longest bar."""

_MONEY = ("actual", "waste", "uncertain", "saved")


@click.command()
@click.option("--by", "group", metavar="GROUP", default="day", show_default=True,
              help=f"{', '.join(GROUPS)}, or {METADATA}KEY.")  # fmt: skip
@click.option("--since", type=moment, help="Made after: an RFC 3339 time, or a duration back from now.")
@click.option("--until", type=moment, help="Made before, likewise.")
@click.option("--project", help="Of this project alone.")
@click.option("--owner", help="Of this owner alone.")
@click.option("--emulated", is_flag=True, help="Emulated pictures, which are never among the real ones.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values, a line per group and no total.")
@click.pass_context
def costs(
    ctx: click.Context,
    group: str,
    since: datetime | timedelta | None,
    until: datetime | timedelta | None,
    project: str | None,
    owner: str | None,
    emulated: bool,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Tell what jobs cost, group by group, the dearest first (days in their order).

    ACTUAL was paid for pictures, WASTE for nothing, UNCERTAIN may have been charged; SAVED is the price of the
    pictures that came from the cache. US dollars.
    """
    if as_json and as_csv:
        raise InvalidRequest.of("--csv", "is given together with --json", "Choose one of the two.")
    services = services_of(ctx)
    now = services.clock.now()
    where = CostFilter(
        since=None if since is None else moment_before(since, now),
        until=None if until is None else moment_before(until, now),
        project_id=project, owner=owner, emulated=emulated,
    )  # fmt: skip
    rows = services.costs.by(group, where)
    if as_json:
        emit(report(group, rows, emulated=emulated))
    elif as_csv:
        _print_csv(group, rows)
    else:
        _print_table(group, rows, emulated)


def _print_csv(group: str, rows: Sequence[CostRow]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([group, "jobs", "hits", "hit_rate", *_MONEY])
    for row in rows:
        money = [f"{getattr(row, name):.6f}" for name in _MONEY]
        writer.writerow(["" if row.key is None else row.key, row.jobs, row.hits, hit_rate(row), *money])


def _print_table(group: str, rows: Sequence[CostRow], emulated: bool) -> None:
    if not rows:
        click.echo("no such jobs" if emulated else "no such jobs; those of the emulator are told with --emulated")
        return
    table = Table(box=None, pad_edge=False, show_footer=True, title="emulated: no real money" if emulated else None)
    whole = total(rows)
    table.add_column(group.upper(), footer="TOTAL", no_wrap=True)
    for name, footer in zip(("JOBS", "HITS", "HIT RATE", *map(str.upper, _MONEY)), _figures(whole), strict=True):
        table.add_column(name, justify="right", footer=footer, no_wrap=True)
    table.add_column("", min_width=BAR)
    most = max(map(_spent, rows))
    for row in rows:
        key = Text("-" if row.key is None else row.key)
        table.add_row(key, *_figures(row), Bar(most or 1.0, 0, _spent(row), width=BAR))
    Console(file=sys.stdout).print(table)


def _figures(row: CostRow) -> list[str]:
    money: list[Any] = [dollars(getattr(row, name)) for name in _MONEY]
    return [str(row.jobs), str(row.hits), f"{hit_rate(row):.0%}", *money]


def _spent(row: CostRow) -> float:
    """How long its bar is: what was or may have been paid."""
    return float(row.actual + row.waste + row.uncertain)
