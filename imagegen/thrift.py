"""A cheaper model instead of a refusal, for requests with `onBudget: "cheaper"`.

What the request would get is tried first; where a hard budget has no room for it, every configured offer that draws
the picture no smaller than that one, for less, is tried from the dearest down. A batch goes down together: each of its
members that allows it to its next cheaper offer. What was used is in the document, and why in the `admit` event.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from imagegen import models
from imagegen.errors import BudgetExceeded, InvalidRequest
from imagegen.jobs import Batch, Job
from imagegen.models import Choice
from imagegen.planning import offer_fields
from imagegen.ports import Services
from imagegen.records import Admitted
from imagegen.references import check_reachable

log = logging.getLogger(__name__)


def admit(jobs: Sequence[Job], batch: Batch | None, services: Services) -> Admitted:
    """`Jobs.admit` of these jobs; where budgets have no room for them, with those for nothing whose picture is there,
    else the dearest cheaper ones that there is room for, where they may be.

    Raises `BudgetExceeded`, which tells of the jobs as they were asked for.
    """
    try:
        return services.jobs.admit(jobs, batch, worker=services.worker)
    except BudgetExceeded as refusal:
        hits = [expected(job, services) for job in jobs]
        if hits != list(jobs):
            try:
                return services.jobs.admit(hits, batch, worker=services.worker)
            except BudgetExceeded as still:
                log.info("no room beside the pictures that are there: %s", still)
        detail = {"onBudget": {"refused": dict(refusal.details), "wanted": [_offer(job) for job in jobs]}}
        for cheaper in cheaper_together(jobs, services):
            try:
                return services.jobs.admit(cheaper, batch, worker=services.worker, detail=detail)
            except BudgetExceeded as again:
                log.info("no room for %s either: %s", [_offer(job) for job in cheaper], again)
        raise


def expected(job: Job, services: Services) -> Job:
    """A job whose picture was bought before costs nothing; should it be gone by then, room for it is asked anew."""
    known = None if job.fresh else services.jobs.cached(job.fingerprint, emulated=job.emulated)
    return job if known is None else replace(job, cost_credits=Decimal(0))


def cheaper_together(jobs: Sequence[Job], services: Services) -> Iterator[Sequence[Job]]:
    """What is tried instead of these jobs, step by step down; nothing where none of them may be cheaper."""
    steps = [[job, *_cheaper(job, services)] for job in jobs]
    for down in range(1, max(map(len, steps))):
        yield [own[min(down, len(own) - 1)] for own in steps]


def _cheaper(job: Job, services: Services) -> Iterator[Job]:
    """The same job bought for less, the dearest first."""
    if job.request.get("onBudget") != "cheaper" or job.cost_estimated is None:
        return
    plan = job.plan
    sent = [plan[name] for name in ("source", "mask") if plan.get(name)] + list(plan.get("references", ()))
    choices = models.cheaper(
        services.catalog, than=job.cost_estimated, model=job.model, tier=plan["tier"], ratio=plan["ratio"],
        request_provider=job.request.get("provider"), job_type=job.job_type, width=job.width, height=job.height,
        references=len(sent), providers=list(services.providers), today=job.created_at.date(), published=job.format,
        prompt_length=len(job.sent_prompt),
    )  # fmt: skip
    for choice in choices:
        if _reachable(choice, sent, services):
            offered = offer_fields(
                choice, plan, sent_prompt=job.sent_prompt, width=job.width, height=job.height, format=job.format,
                seed=job.request.get("seed"), emulated=job.emulated,
            )  # fmt: skip
            yield replace(job, **offered)


def _reachable(choice: Choice, sent: list[Any], services: Services) -> bool:
    try:
        check_reachable(sent, services, services.providers[choice.provider])
    except InvalidRequest:
        return False
    return True


def _offer(job: Job) -> dict[str, Any]:
    return {"provider": job.provider, "model": job.model, "estimated": float(job.cost_estimated or 0)}
