"""Budgets: which of them a job belongs to, for which period, and whether there is room. Pure; US dollars, days UTC.

| scope | counts |
|---|---|
| `all` | every job |
| `owner:N`, `project:N` | the jobs of an owner, of a project (`projectId`) |
| `provider:N` | the jobs that are at this provider |

What a job commits (`imagegen.money`) counts on its `reserved_on`: the day of its admission, or of its owner's retry.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from pydantic import TypeAdapter, ValidationError

from imagegen.contracts import Name
from imagegen.errors import BudgetExceeded, InvalidRequest
from imagegen.jobs import Job
from imagegen.money import NOTHING, utc_day
from imagegen.records import Budget
from imagegen.settings_values import PROVIDERS

PERIODS = ("day", "month", "total")
BEGINNING = date(1970, 1, 1)
"""When the period `total` began."""

SMALLEST, MOST = Decimal("0.000001"), Decimal(100_000_000)
"""What is the least a limit tells apart, and what it is below: the columns' own bounds, US dollars."""
_NAME: TypeAdapter[str] = TypeAdapter(Name)
_KINDS = ("owner", "project", "provider")
_SCOPES = "Use all, owner:NAME, project:NAME or provider:NAME."
_SHARED = ("scope", "period", "requested")
"""What every owner is told of a budget without room."""

Place = tuple[str, date]
"""A scope and a day in it."""


def scopes(job: Job) -> tuple[str, ...]:
    """The budgets' scopes that this job belongs to."""
    return ("all", f"owner:{job.owner}", f"project:{job.project_id}", f"provider:{job.provider}")


def starts(period: str, day: date) -> date:
    """The first day of the period that this day lies in."""
    if period == "total":
        return BEGINNING
    return day.replace(day=1) if period == "month" else day


def growth(before: Iterable[Job], after: Iterable[Job]) -> dict[Place, Decimal]:
    """By how much a change of jobs raises what is committed, by scope and day; only where it does."""
    grown: dict[Place, Decimal] = defaultdict(Decimal)
    for sign, jobs in ((-1, before), (1, after)):
        for job in jobs:
            day = job.reserved_on or utc_day(job.created_at)
            for scope in scopes(job):
                grown[scope, day] += sign * job.committed
    return {place: amount for place, amount in grown.items() if amount > 0}


def check(grown: Mapping[Place, Decimal], budgets: Sequence[Budget]) -> None:
    """Raises `BudgetExceeded` for the hard budget that this growth, counted in `committed` already, exceeds most.

    `budgets`: with what is committed in the periods (`starts`) that the growth touches.
    """
    worst: tuple[Decimal, Budget, Decimal] | None = None
    for budget in budgets:
        wanted = sum(
            (
                amount
                for (scope, day), amount in grown.items()
                if (scope, starts(budget.period, day)) == (budget.scope, budget.starts)
            ),
            NOTHING,
        )
        over = budget.committed - budget.amount
        if budget.hard and wanted > 0 and over > 0 and (worst is None or over > worst[0]):
            worst = over, budget, wanted
    if worst is not None:
        raise refusal(worst[1], worst[2])


def afford(prices: Iterable[tuple[Job, Decimal]], budgets: Sequence[Budget], day: date) -> None:
    """Raises `BudgetExceeded` where a hard budget has no room for these prices together; `budgets`: as of that day."""
    grown: dict[Place, Decimal] = defaultdict(Decimal)
    for job, price in prices:
        for scope in scopes(job):
            grown[scope, day] += price
    check(grown, [replace(one, committed=one.committed + grown.get((one.scope, day), NOTHING)) for one in budgets])


def refusal(budget: Budget, wanted: Decimal) -> BudgetExceeded:
    """What is told: `budget.committed` includes the `wanted` dollars. Numbers as in documents."""
    committed = budget.committed - wanted
    remaining = max(NOTHING, budget.amount - committed)
    name = f"{budget.scope} ({budget.period})"
    return BudgetExceeded(
        f"the budget {name} has no room: limit {_told(budget.amount)}, committed {_told(committed)}, "
        f"remaining {_told(remaining)}, asked for {_told(wanted)}",
        {
            "scope": budget.scope,
            "period": budget.period,
            "limit": float(budget.amount),
            "committed": float(committed),
            "remaining": float(remaining),
            "requested": float(wanted),
        },
    )


def discreet(told: BudgetExceeded, owner: str) -> BudgetExceeded:
    """The refusal as this owner may read it: of a budget that it shares, not what all together may and do spend."""
    scope, period = (str(told.details.get(name)) for name in ("scope", "period"))
    if scope == f"owner:{owner}":
        return told
    known = {name: told.details[name] for name in _SHARED if name in told.details}
    return BudgetExceeded(f"the budget {scope} ({period}) has no room for it", known)


def _told(amount: Decimal) -> str:
    plain = f"{amount.normalize():f}"
    whole, _, cents = plain.partition(".")
    return f"${whole}.{cents:0<2}"


def checked_scope(scope: str, field: str = "SCOPE") -> str:
    """`all`, `owner:N`, `project:N` or `provider:N` in its one spelling; raises `InvalidRequest` naming `field`."""
    kind, _, name = (part.strip() for part in scope.partition(":"))
    if scope.strip() == "all":
        return "all"
    if kind not in _KINDS:
        raise InvalidRequest.of(field, f"{scope!r} names nothing that has a budget", _SCOPES)
    if kind == "provider" and name not in PROVIDERS:
        raise InvalidRequest.of(field, f"{name!r} is no provider", f"Use one of {', '.join(PROVIDERS)}.")
    try:
        return f"{kind}:{_NAME.validate_python(name)}"
    except ValidationError as error:
        raise InvalidRequest.of(field, f"names no {kind}", "A name has 1 to 120 characters.") from error


def checked_limit(limit: str) -> Decimal:
    """US dollars above zero with at most six decimals, a `$` before them or not; raises `InvalidRequest`."""
    try:
        amount = Decimal(limit.strip().removeprefix("$"))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 < amount < MOST or amount != amount.quantize(SMALLEST):
        raise InvalidRequest.of(
            "LIMIT", f"{limit!r} is no limit", "Write US dollars above 0 with at most six decimals, such as 25 or 0.50."
        )
    return amount.quantize(SMALLEST)


def document(one: Budget) -> dict[str, Any]:
    """`{scope, period, starts, hard, limit, committed, remaining, currency}`; US dollars as numbers."""
    return {
        "scope": one.scope,
        "period": one.period,
        "starts": None if one.period == "total" else one.starts.isoformat(),
        "hard": one.hard,
        "limit": float(one.amount),
        "committed": float(one.committed),
        "remaining": float(one.remaining),
        "currency": "USD",
    }
