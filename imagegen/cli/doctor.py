"""`imagegen doctor`: proves that ledger, states and object store agree, and repairs what is safe to repair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import click

from imagegen.cli.context import examination, join_running, services_of
from imagegen.cli.output import DONE, FAILED, columns, emit


@click.command()
@click.option("--repair", is_flag=True, help="Do what is safe: see `docs/operations.md`. Says what it did.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@click.pass_context
def doctor(ctx: click.Context, repair: bool, as_json: bool) -> None:
    """Prove that ledger, jobs, budgets and stored objects agree.

    Exit 0 when the books balance, 1 with a table of findings when they do not.

    Nothing is changed without --repair, and a running system may be examined. After a repair the exit code is that of
    what is left.
    """
    services, settings = services_of(ctx), join_running()
    doctors = examination()
    found = doctors.examine(services, settings)
    repaired = list(doctors.repair(found, services)) if repair else []
    left = doctors.examine(services, settings) if repaired else found
    if as_json:
        done = [{"kind": one.finding.kind, "id": one.finding.id, "done": one.done} for one in repaired]
        items = [one.document() for one in left]
        emit({"clean": doctors.clean(left), "repaired": done, "items": items, "nextCursor": None})
    else:
        for one in repaired:
            click.echo(f"repaired  {one.finding.kind}  {one.finding.id}: {one.done}")
        _print(left, doctors.clean(left))
    ctx.exit(DONE if doctors.clean(left) else FAILED)


def _print(found: Sequence[Any], clean: bool) -> None:
    if found:
        rows = [(one.severity, one.kind, one.id, one.what, one.remedy) for one in found]
        click.echo(columns([("SEVERITY", "KIND", "ID", "WHAT", "REMEDY"), *rows]))
    counts = Counter(one.severity for one in found)
    told = ", ".join(f"{counts[name]} {name}" for name in ("error", "warning", "info") if counts[name])
    click.echo(f"{'the books balance' if clean else 'the books do not balance'}{f' ({told})' if told else ''}")
