"""The checks of the database: what each oddity means, and what is to be done about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from imagegen import endings
from imagegen.doctor.books import Account, Check, Oddity
from imagegen.doctor.findings import Finding, Severity
from imagegen.ports import Services

MOST = 1000
"""Oddities told of one kind."""

_REPORT = "Keep the database as it is and report it with `imagegen show ID --history`: this must not happen."


@dataclass(frozen=True)
class _Meaning:
    """`what` is filled with what the oddity tells."""

    severity: Severity
    what: str
    remedy: str
    repair: Callable[[Oddity, Services], str] | None = None


def _close(found: Oddity, services: Services) -> str:
    closed = endings.finish_batch(UUID(found.id), services)
    return "closed, and told to whoever waits" if closed else "was closed meanwhile"


def _recount(found: Oddity, services: Services) -> str:
    told = found.told
    starts = date.fromisoformat(told["starts"])
    account = Account(scope=told["scope"], period=told["period"], starts=starts, emulated=told["emulated"])
    services.books.recount(account)
    return "set to the sum over its jobs"


MEANINGS: dict[Check, _Meaning] = {
    Check.OPEN_ATTEMPT: _Meaning(
        "error", "attempt of job {job}, which is {status}, has no final ledger line (state {state})", _REPORT
    ),
    Check.UNRESERVED: _Meaning(
        "error", "attempt of job {job} was begun without a reservation in the ledger (state {state})", _REPORT
    ),
    Check.COSTS: _Meaning(
        "error",
        "the job says actual {actual}, waste {wasted}, uncertain {uncertain}; its lines {settled}, {waste}, {doubtful}",
        _REPORT,
    ),
    Check.COMMITTED: _Meaning(
        "error", "{status}: committed is {committed}, its costs and reservation come to {known}", _REPORT
    ),
    Check.SPENDING: _Meaning(
        "error",
        "the budget's account says {committed}, its jobs come to {jobs}",
        "`imagegen doctor --repair` sets it to the sum over its jobs.",
        _recount,
    ),
    Check.UNTIMED: _Meaning(
        "error", "live ({status}, {stage}) without a next step in time: no sweep will find it",
        "Cancel it: `imagegen cancel ID`. The column's constraint is missing: compare `imagegen migrate --sql`.",
    ),
    Check.OVERDUE: _Meaning(
        "warning", "live ({status}, {stage}), due since {due}, and nobody took it",
        "See that beat and a housekeeping worker run; the next sweep takes it.",
    ),
    Check.OPEN_BATCH: _Meaning(
        "warning", "{status}, though none of its {size} jobs is live",
        "The sweep closes it; `imagegen doctor --repair` does so now.", _close,
    ),
    Check.CLOSED_BATCH: _Meaning("error", "{status}, though {live} of its jobs are live", _REPORT),
    Check.HISTORY: _Meaning(
        "error", "the row says {row}, its history {history}; step no move allows: {step}", _REPORT
    ),
    Check.FATE: _Meaning(
        "info", "job {job} ended in doubt: {provider} may have charged {estimate} (order {order})",
        "Look for it in the provider's own list of charges; it counts as committed until then.",
    ),
}  # fmt: skip


def database_findings(services: Services) -> Iterator[Finding]:
    """Ledger against states, spending against jobs, time, batches and histories."""
    at = services.clock.now()
    for check, meaning in MEANINGS.items():
        for found in services.books.odd(check, at=at, limit=MOST):
            yield Finding(
                severity=meaning.severity, kind=check.value, id=found.id, what=meaning.what.format(**_shown(found)),
                remedy=meaning.remedy.replace("ID", found.id), repair=_bound(meaning, found),
            )  # fmt: skip


def _shown(found: Oddity) -> dict[str, Any]:
    return {name: "-" if value is None else value for name, value in found.told.items()}


def _bound(meaning: _Meaning, found: Oddity) -> Callable[[Services], str] | None:
    repair = meaning.repair
    return None if repair is None else lambda services: repair(found, services)
