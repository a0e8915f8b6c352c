"""The dry run: what admission would decide and what it would cost, with nothing written and nothing spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import chain
from math import ceil
from uuid import uuid4

from imagegen import thrift
from imagegen.balances import Balances
from imagegen.budgets import scopes
from imagegen.checks import Problems, check_targets, check_text
from imagegen.circuits import circuit
from imagegen.contracts import BatchRequest, ImageRequest
from imagegen.estimates import (
    BatchEstimate,
    BudgetRoom,
    BudgetVerdict,
    EstimatedCost,
    EstimateDocument,
    ExpectedSeconds,
    Quota,
    QuotaVerdict,
)  # fmt: skip
from imagegen.inputs import Door
from imagegen.jobs import Job
from imagegen.money import price_of
from imagegen.planning import Planner, plan_image
from imagegen.ports import Services
from imagegen.records import Budget
from imagegen.unwritten import Unwritten

NOTHING = Decimal(0)


def estimate(
    request: ImageRequest, services: Services, door: Door, balances: Balances | None = None
) -> EstimateDocument:
    """What this request would come to. Raises `InvalidRequest` with every problem, as admission does.

    The provider is asked for its balance where it has one (free of charge), unless `balances` remember it. A refusal
    by budget is part of the answer.
    """
    planned = plan_image(request, replace(services, blobs=Unwritten(services.blobs)), door=door)
    asked = _Asked(services, balances)
    (job,) = _affordable([planned], services, asked)
    return _document(job, services, asked)


def estimate_batch(request: BatchRequest, services: Services, door: Door) -> BatchEstimate:
    """What this batch would come to, all of it together; raises as `estimate` does."""
    check_text({"idempotencyKey": request.idempotency_key, "owner": request.owner})
    planner = Planner(replace(services, blobs=Unwritten(services.blobs)), door, request.owner)
    problems = Problems()
    with problems.collected():
        check_targets(request, signing=services.signer is not None, allow_hosts=services.allow_hosts)
    _, planned = planner.plan_members(request, request.members(), uuid4(), problems)
    problems.check()
    asked = _Asked(services)
    jobs = _affordable(planned, services, asked)
    told = [_document(job, services, asked) for job in jobs]
    cost = EstimatedCost(
        low=_dollars(sum((_low(job, services) for job in jobs), NOTHING)),
        high=_dollars(sum((_high(job, services) for job in jobs), NOTHING)),
    )
    return BatchEstimate(jobs=told, cost=cost, budget=budget_verdict(jobs, asked.budgets))


class _Asked:
    """What is asked once, however many members a batch has."""

    def __init__(self, services: Services, balances: Balances | None = None) -> None:
        self._services = services
        self._balances = balances or Balances(services.clock.monotonic)
        self._quotas: dict[tuple[str, str], Quota] = {}
        self.budgets: Sequence[Budget] = services.budgets.list(at=services.clock.now())

    def quota(self, job: Job) -> Quota:
        """Of the job's provider, for its owner."""
        key = job.provider, job.owner
        if key not in self._quotas:
            self._quotas[key] = quota(job, self._services, self._balances)
        return self._quotas[key]


def _affordable(jobs: Sequence[Job], services: Services, asked: _Asked) -> Sequence[Job]:
    """As admission has it: pictures that are there, or cheaper ones, where a budget has no room for these."""
    if budget_verdict(jobs, asked.budgets).admitted:
        return jobs
    instead = chain([[thrift.expected(job, services) for job in jobs]], thrift.cheaper_together(jobs, services))
    return next((one for one in instead if budget_verdict(one, asked.budgets).admitted), jobs)


def _document(job: Job, services: Services, asked: _Asked) -> EstimateDocument:
    hit = _hit(job, services)
    return EstimateDocument(
        provider=job.provider, model=job.model, width=job.width, height=job.height, format=job.format,
        ratio=job.plan["ratio"], tier=job.plan["tier"], emulated=job.emulated, cache_hit=hit,
        cost=EstimatedCost(low=_dollars(_low(job, services)), high=_dollars(_high(job, services))),
        expected_seconds=ExpectedSeconds(p50=0.0, p95=0.0) if hit else expected(job, services),
        quota=asked.quota(job), budget=budget_verdict([job], asked.budgets), sent_prompt=job.sent_prompt,
        warnings=list(job.plan["warnings"]),
    )  # fmt: skip


def _hit(job: Job, services: Services) -> bool:
    return not job.fresh and services.jobs.cached(job.fingerprint, emulated=job.emulated, at=job.created_at) is not None


def _high(job: Job, services: Services) -> Decimal:
    return NOTHING if _hit(job, services) else job.cost_estimated or NOTHING


def _low(job: Job, services: Services) -> Decimal:
    """The picture alone, by its price row; the rest of the upper price may not be needed."""
    high = _high(job, services)
    return min(high, Decimal(job.plan["price"].get("amount", high)))


def expected(job: Job, services: Services) -> ExpectedSeconds:
    """By the nearest rank among the newest attempts."""
    seconds = sorted(services.jobs.latencies(job.provider, job.model))
    if not seconds:
        return ExpectedSeconds()

    def rank(percent: int) -> float:
        return round(seconds[ceil(len(seconds) * percent / 100) - 1], 3)

    return ExpectedSeconds(p50=rank(50), p95=rank(95), samples=len(seconds))


def quota(job: Job, services: Services, balances: Balances) -> Quota:
    """Whether the provider would be asked, and would have credit for the order."""
    breaker = circuit(services, job.provider, "submit")["state"]
    held_by = {"all", f"provider:{job.provider}", f"owner:{job.owner}"}
    pauses = [one.scope for one in services.pauses.list() if one.scope in held_by]
    credit, error = balances.credit(job.provider, services)
    detail = None if error is None else f"its balance is not known: {error.message}"
    return Quota(
        verdict=_verdict(bool(pauses), breaker, credit, services), breaker=breaker, pauses=pauses, detail=detail,
        credit=None if credit is None else float(credit),
    )  # fmt: skip


def _verdict(paused: bool, breaker: str, credit: Decimal | None, services: Services) -> QuotaVerdict:
    if paused:
        return "paused"
    if breaker == "open":
        return "breaker"
    if credit is None:
        return "unknown"
    if credit <= 0:
        return "exhausted"
    return "low" if credit < services.watch.credit_low else "ok"


def budget_verdict(jobs: Sequence[Job], budgets: Sequence[Budget]) -> BudgetVerdict:
    """Whether these jobs would be admitted together."""
    rooms = []
    for one in budgets:
        wanted = sum((price_of(job) for job in jobs if one.scope in scopes(job)), NOTHING)
        if wanted > 0:
            room = not one.hard or one.committed + wanted <= one.amount
            rooms.append(
                BudgetRoom(
                    scope=one.scope, period=one.period, hard=one.hard, limit=_dollars(one.amount),
                    committed=_dollars(one.committed), remaining=_dollars(one.remaining), requested=_dollars(wanted),
                    admitted=room,
                )
            )  # fmt: skip
    return BudgetVerdict(admitted=all(room.admitted for room in rooms), budgets=rooms)


def _dollars(amount: Decimal) -> float:
    return float(amount.quantize(Decimal("0.000001")))
