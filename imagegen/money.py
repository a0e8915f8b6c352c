"""What a job costs, in one place: pure rules over its fields and the lines of its books. US dollars as `Decimal`.

    cost_credits    what a delivered picture cost; 0 where none was bought (a hit, a free end), None while unknown
    cost_wasted     paid for nothing: a charged refusal, a failed attempt, a picture after a cancel
    cost_uncertain  may have been charged
    committed       all three, and while the job lives the price of the attempt that is wanted or under way

`docs/money.md` says how the books read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from imagegen.errors import Billed
from imagegen.jobs import Job
from imagegen.records import Entry, EntryKind

NOTHING = Decimal(0)
COSTS = frozenset({"cost_estimated", "cost_credits", "cost_wasted", "cost_uncertain"})
"""The fields of a job that decide what is committed for it."""
_CHARGED: dict[EntryKind, Billed] = {"settle": "yes", "waste": "yes", "uncertain": "unknown"}


def line(job: Job, kind: EntryKind, amount: Decimal, *, attempt_id: UUID | None = None, always: bool = False) -> Entry:
    """A ledger line of the job's attempt (its newest unless said), with the price row that it was bought by."""
    price = job.plan.get("price") or {}
    return Entry(
        kind=kind, amount=amount, attempt_id=attempt_id or job.attempt_id, price=price, always=always, run=job.run
    )


def price_of(job: Job) -> Decimal:
    """What its picture costs: the price it was told, else the upper price it was admitted with."""
    told = job.cost_estimated if job.cost_credits is None else job.cost_credits
    return NOTHING if told is None else told


def committed(job: Job) -> Decimal:
    """What budgets count for it: all that was or may have been paid, and its open reservation while it lives."""
    bought = (job.cost_credits or NOTHING) if job.terminal else price_of(job)
    return bought + (job.cost_wasted or NOTHING) + (job.cost_uncertain or NOTHING)


def admitted(job: Job) -> Job:
    """A new job with its reservation, counted on the day (UTC) of its admission."""
    return replace(job, committed=committed(job), reserved_on=job.reserved_on or utc_day(job.created_at))


def utc_day(moment: datetime) -> date:
    """The day that a moment belongs to, wherever it was told."""
    return moment.astimezone(UTC).date()


def lost(job: Job, entries: Iterable[Entry]) -> dict[str, Any]:
    """The changes of a job whose attempt was closed by these lines and which goes on to another one."""
    lines = list(entries)
    changes: dict[str, Any] = {"cost_credits": None}
    for kind, name in (("waste", "cost_wasted"), ("uncertain", "cost_uncertain")):
        amounts = [one.amount for one in lines if one.kind == kind]
        if amounts:
            changes[name] = (getattr(job, name) or NOTHING) + sum(amounts, NOTHING)
    return changes


def ended(job: Job, entries: Iterable[Entry]) -> dict[str, Any]:
    """The changes of a job that ends with these lines: 0 where no picture was bought, None where nobody knows."""
    lines = list(entries)
    changes = lost(job, lines)
    settled = [one.amount for one in lines if one.kind == "settle"]
    unknown = changes.get("cost_uncertain", job.cost_uncertain)
    changes["cost_credits"] = sum(settled, NOTHING) if settled or not unknown else None
    return changes


def less(whole: Decimal | None, part: Decimal) -> Decimal | None:
    """What is left of an amount that turned out otherwise; None for nothing."""
    rest = (whole or NOTHING) - part
    return rest if rest > 0 else None


def worse(*told: Billed) -> Billed:
    """What is known of the charges of several attempts together."""
    order: Sequence[Billed] = ("no", "unknown", "yes")
    return max(told, key=order.index)


def charged(job: Job, entries: Iterable[Entry]) -> Billed:
    """Whether it was charged, its newest attempt closed by these lines. A price that is told already is that one's:
    then the earlier ones tell by what they lost."""
    before = billed(job.cost_wasted, job.cost_uncertain) if job.cost_credits else job.billed
    return worse(before, *(_CHARGED.get(one.kind, "no") for one in entries))


def billed(wasted: Decimal | None, uncertain: Decimal | None) -> Billed:
    """Whether a job without a picture was charged."""
    return "yes" if wasted else "unknown" if uncertain else "no"
