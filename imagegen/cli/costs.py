"""`imagegen costs`: what was paid, for what, and what the cache saved."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import click
from rich.bar import Bar
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from imagegen.cli.context import services_of
from imagegen.cli.options import moment, moment_before
from imagegen.cli.output import dollars, emit, shown
from imagegen.costs import GROUPS, METADATA, hit_rate, report, total
from imagegen.errors import InvalidRequest
from imagegen.records import CostFilter, CostRow

BAR, SHORTEST_BAR = 24, 6
"""Characters of the longest bar; with less room than the second there are none."""
SHORTEST_NAME = 12
"""Characters at which names are folded at the narrowest; a terminal that is narrower still wraps the lines."""

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
    """Tell what jobs cost, group by group.

    The dearest group comes first; days come in their order. ACTUAL was paid for pictures, WASTE for nothing, UNCERTAIN
    may have been charged; SAVED is the price of the pictures that came from the cache. US dollars.
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
    console = Console(file=sys.stdout)
    title = "emulated: no real money" if emulated else None
    table = Table(box=None, pad_edge=False, show_footer=True, title=title, title_justify="left")
    headings = [group.upper(), "JOBS", "HITS", "HIT RATE", *map(str.upper, _MONEY)]
    body = [["-" if row.key is None else shown(row.key), *_figures(row)] for row in rows]
    footers = ["TOTAL", *_figures(total(rows))]
    widths = [max(map(cell_len, column)) for column in zip(headings, *body, footers, strict=True)]
    table.add_column(headings[0], footer=footers[0], overflow="fold")
    for name, footer, width in list(zip(headings, footers, widths, strict=True))[1:]:
        # A figure that is cut off is a wrong figure: a narrow terminal folds the names.
        table.add_column(name, justify="right", footer=footer, no_wrap=True, min_width=width)
    text = sum(widths) + 2 * len(widths)
    least = text - widths[0] + min(widths[0], SHORTEST_NAME)
    console.width = max(console.width, least) if console.is_terminal else text + BAR
    bar = min(BAR, console.width - text)
    if bar >= SHORTEST_BAR:
        table.add_column("", width=bar)
    most = max(map(_spent, rows)) or 1.0
    for row, cells in zip(rows, body, strict=True):
        bars = [Bar(most, 0, _spent(row), width=bar)] if bar >= SHORTEST_BAR else []
        table.add_row(*map(Text, cells), *bars)
    console.print(table)


def _figures(row: CostRow) -> list[str]:
    money: list[Any] = [dollars(getattr(row, name)) for name in _MONEY]
    return [str(row.jobs), str(row.hits), f"{hit_rate(row):.0%}", *money]


def _spent(row: CostRow) -> float:
    """How long its bar is: what was or may have been paid."""
    return float(row.actual + row.waste + row.uncertain)
