"""`imagegen cancel` and `imagegen retry`: jobs or batches by id, or all that a filter matches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any
from uuid import UUID

import click

from imagegen.cli.choosing import Forecast, choosing, chosen, print_forecast
from imagegen.cli.context import cancelling, retrying, services_of
from imagegen.cli.output import DONE, FAILED, dollars, emit
from imagegen.errors import Conflict, NotFound, PurchaseNeeded
from imagegen.jobs import Job
from imagegen.links import Links
from imagegen.ports import Services
from imagegen.states import Stage, Status

_LIVE = (Status.QUEUED, Status.PROCESSING, Status.GENERATING, Status.UPLOADING)
_FAILED = (Status.FAILED,)


@click.command("cancel")
@choosing(_LIVE)
@click.pass_context
def cancel_jobs(ctx: click.Context, /, ids: tuple[UUID, ...], dry_run: bool, as_json: bool, **given: Any) -> None:
    """Cancel jobs at whatever stage they are; says what was charged.

    Name jobs and batches by their ids, or give filters. A job whose paid call is under way ends when its answer has
    come. A picture that was charged is kept: the next request for the same gets it for nothing. Exit 1 if any could not
    be cancelled.
    """
    services = services_of(ctx)
    jobs = chosen(services, ids, given, _LIVE)
    if dry_run:
        print_forecast((_cancelling(job) for job in jobs), as_json)
        return

    def act(job: Job) -> Job:
        ended: Job = cancelling().cancel(job.id, services)
        return ended

    ctx.exit(_each(jobs, act, told_of_cancelled, "not cancelled", as_json, services.links))


@click.command("retry")
@choosing(_FAILED)
@click.option("--buy", is_flag=True, help="Pay once more where a picture was, or may have been, charged and is lost.")
@click.pass_context
def retry_jobs(
    ctx: click.Context, /, ids: tuple[UUID, ...], dry_run: bool, as_json: bool, buy: bool, **given: Any
) -> None:
    """Go on with failed jobs at the stage that failed.

    Name jobs and batches by their ids, or give filters. What was paid is not bought again; what would have to be is
    left alone without --buy. Of a batch its failed members alone go on. Exit 1 if any could not go on.
    """
    services = services_of(ctx)
    jobs = chosen(services, ids, given, _FAILED)
    if dry_run:
        print_forecast((_retrying(job, services, buy) for job in jobs), as_json)
        return

    def act(job: Job) -> Job:
        again: Job = retrying().retry(job.id, services, buy)
        return again

    ctx.exit(_each(jobs, act, told_of_retried, "not retried", as_json, services.links))


def told_of_cancelled(job: Job) -> str:
    """What became of it and whether it was charged, for people."""
    if not job.terminal:
        return "cancelling: its paid call is under way"
    if job.billed == "unknown":
        return f"cancelled, perhaps charged {dollars(job.cost_uncertain)}"
    if job.billed == "no":
        return "cancelled, not charged"
    charged = dollars((job.cost_credits or 0) + (job.cost_wasted or Decimal(0)))
    if job.stage is Stage.GENERATE and not job.stopped:
        return f"cancelled, charged {charged} for an attempt before this one"
    return f"cancelled, charged {charged} (the picture is kept)"


def told_of_retried(job: Job) -> str:
    """Where it goes on and for how much, for people."""
    if job.stage is Stage.GENERATE:
        return f"goes on from the beginning, for about {dollars(job.cost_estimated)}"
    return f"goes on at {job.stage}, nothing is bought again"


def _cancelling(job: Job) -> Forecast:
    price: Decimal = cancelling().price_of_cancelling(job)
    if job.terminal:
        return Forecast(job=job, dollars=price, would=f"be left alone: it is {job.status}")
    would = f"cost {dollars(price)} without a picture" if price else "cost nothing"
    if price and job.stage in {Stage.GENERATE, Stage.RECONCILE}:
        would = f"perhaps {would}"
    return Forecast(job=job, dollars=price, would=would)


def _retrying(job: Job, services: Services, buy: bool) -> Forecast:
    plan = retrying().plan_of(job, services)
    if plan.buys:
        would = "buy again" if buy else "be left alone: only --buy buys it again"
    elif plan.refusal is not None:
        would = f"be left alone: it is {job.status}"
    else:
        would = f"go on at {plan.stage}"
    return Forecast(job=job, dollars=plan.dollars, would=would, needs_buy=plan.buys)


def _each(
    jobs: Iterable[Job],
    act: Callable[[Job], Job],
    told: Callable[[Job], str],
    refused: str,
    as_json: bool,
    links: Links,
) -> int:
    """Acts on each job, tells what came of it, and returns the exit code."""
    items: list[dict[str, Any]] = []
    code = DONE
    for job in jobs:
        try:
            after, error = act(job), None
            says = told(after)
        except (Conflict, NotFound, PurchaseNeeded) as refusal:
            after, error, code = job, refusal.document(), FAILED
            says = f"{refused}: {refusal}"
        items.append({**links.job(after).json_document(), "outcome": says, "refusal": error})
        if not as_json:
            click.echo(f"{after.id}  {says}")
    if as_json:
        emit({"items": items, "nextCursor": None})
    elif not items:
        click.echo("no jobs")
    return code
