"""Alerts: what is watched, from when on somebody is told, and from when on it holds no more.

Each gauge has a value, a threshold that raises and one, a little lower, that clears. An alert is a row while it holds:
it is told once, to the log and to the webhook; where the webhook did not take it, the next round tells it again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from imagegen import policies
from imagegen.errors import ImagegenError
from imagegen.ports import Services
from imagegen.records import Alert, Budget, Spent, Variance, Watch, Watched
from imagegen.transport import TransportError

log = logging.getLogger(__name__)

BUDGET, QUEUED, FAILURES, CREDIT, VARIANCE, SPEND = "budget", "queued", "failures", "credit", "variance", "spend"
OFTEN, SELDOM = frozenset({BUDGET, QUEUED, FAILURES}), frozenset({CREDIT, VARIANCE, SPEND})
"""Kinds that `watch` judges every half minute, and every five."""

CHOSEN_WAITS = ("paused", "provider_down", "scheduled")
"""`waitingFor.reason` of queued jobs that may wait: somebody chose so."""

EASE = Decimal("0.9")
"""A gauge must fall below this share of its threshold before its alert is cleared: one that trembles tells once."""

WEBHOOK_TOTAL = 5.0
"""Seconds that telling the webhook may take."""
TELLING = timedelta(seconds=4 * WEBHOOK_TOTAL)
"""How long nobody else tells what a round has begun to tell; less than the time between two rounds."""


@dataclass(frozen=True, kw_only=True)
class Gauge:
    """One thing that is watched. `below`: it is small values that alarm. `message` is for people."""

    key: str
    kind: str
    value: Decimal
    threshold: Decimal
    message: str
    below: bool = False
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def alarming(self) -> bool:
        return self.value < self.threshold if self.below else self.value >= self.threshold

    @property
    def eased(self) -> bool:
        """Whether an alert that was raised holds no more."""
        return self.value >= self.threshold / EASE if self.below else self.value < self.threshold * EASE


def watch(services: Services) -> str:
    """Budgets, waiting and failures, then the webhook; the answer is for people."""
    now, raised = services.clock.now(), _raised(OFTEN, services)
    seen = services.alerts.watched(at=now, emulated=services.emulated)
    gauges = [*budget_gauges(services.budgets.list(at=now)), *flow_gauges(seen, now)]
    return _round(gauges, raised, services, now)


def watch_money(services: Services) -> str:
    """Balances, prices and spending. A provider that does not answer keeps the alert that it has."""
    now, raised = services.clock.now(), _raised(SELDOM, services)
    credits, silent = _credits(services)
    spent = services.alerts.spent(at=now, emulated=services.emulated)
    gauges = [*credit_gauges(credits, services.watch), *spend_gauges(spent, services.watch)]
    return _round(gauges, raised - silent, services, now)


def _credits(services: Services) -> tuple[dict[str, Decimal], frozenset[str]]:
    """Balances of the providers that have such an answer, and the keys of those that gave none this time."""
    found: dict[str, Decimal] = {}
    silent: set[str] = set()
    for name, provider in services.providers.items():
        try:
            left = provider.credit()
        except ImagegenError as error:
            log.info("the balance of %s is not known: %s", name, error)
            silent.add(f"{CREDIT}:{name}")
            continue
        if left is not None:
            found[name] = left
            services.metrics.balance(name, left, emulated=services.emulated, at=services.clock.now())
    return found, frozenset(silent)


def budget_gauges(budgets: Sequence[Budget]) -> Iterator[Gauge]:
    """Hard and soft budgets alike, each of `policies.BUDGET_ALERTS`."""
    for one in budgets:
        used = one.committed * 100 / one.amount if one.amount else Decimal(100)
        for percent in policies.BUDGET_ALERTS:
            yield Gauge(
                key=f"{BUDGET}:{one.scope}:{one.period}:{one.starts}:{percent}", kind=BUDGET, value=used,
                threshold=Decimal(percent),
                message=f"{'hard' if one.hard else 'soft'} budget {one.scope} ({one.period}): {percent} % reached, "
                f"${_plain(one.committed)} of ${_plain(one.amount)} committed",
                detail={
                    "scope": one.scope, "period": one.period, "hard": one.hard, "limit": float(one.amount),
                    "committed": float(one.committed), "percent": percent,
                },
            )  # fmt: skip


def flow_gauges(seen: Watched, now: datetime) -> Iterator[Gauge]:
    """Jobs that wait too long, and jobs that fail too often."""
    waited = max(timedelta(0), now - seen.oldest) if seen.oldest else timedelta(0)
    yield Gauge(
        key=QUEUED, kind=QUEUED, value=Decimal(int(waited.total_seconds())),
        threshold=Decimal(int(policies.QUEUED_TOO_LONG.total_seconds())),
        message=f"the oldest queued job has waited for {waited.total_seconds() / 60:.0f} minutes",
        detail={"seconds": int(waited.total_seconds())},
    )  # fmt: skip
    if seen.ended >= policies.FAILURES_FROM:
        share = Decimal(seen.failed) * 100 / seen.ended
        yield Gauge(
            key=FAILURES, kind=FAILURES, value=share, threshold=_above(policies.FAILURE_ALERT),
            message=f"{seen.failed} of the last {seen.ended} jobs failed",
            detail={"failed": seen.failed, "ended": seen.ended},
        )  # fmt: skip


def credit_gauges(credits: Mapping[str, Decimal], limits: Watch) -> Iterator[Gauge]:
    """Providers' balances, in their own units."""
    for name, left in credits.items():
        yield Gauge(
            key=f"{CREDIT}:{name}", kind=CREDIT, value=left, threshold=limits.credit_low, below=True,
            message=f"{name} has {_plain(left)} credits left, fewer than {_plain(limits.credit_low)}: top it up",
            detail={"provider": name, "left": float(left), "low": float(limits.credit_low)},
        )  # fmt: skip


def spend_gauges(spent: Spent, limits: Watch) -> Iterator[Gauge]:
    """The last hour against what was set, else against the usual; models that cost other than expected."""
    threshold = limits.spend_per_hour
    if threshold is None and spent.days >= 1:
        threshold = max(policies.SPEND_FROM, policies.SPEND_ALERT * spent.before / (spent.days * 24))
    if threshold is not None:
        yield Gauge(
            key=SPEND, kind=SPEND, value=spent.last_hour, threshold=threshold,
            message=f"${_plain(spent.last_hour)} were spent in an hour, more than ${_plain(threshold)}",
            detail={"lastHour": float(spent.last_hour), "threshold": float(threshold)},
        )  # fmt: skip
    yield from (_variance(one) for one in spent.variances if one.estimated and one.pictures >= policies.VARIANCE_FROM)


def _variance(one: Variance) -> Gauge:
    apart = (one.actual - one.estimated) * 100 / one.estimated
    return Gauge(
        key=f"{VARIANCE}:{one.provider}:{one.model}", kind=VARIANCE, value=abs(apart),
        threshold=_above(policies.VARIANCE_ALERT),
        message=f"{one.model} at {one.provider} costs {abs(apart):.0f} % {'more' if apart > 0 else 'less'} than "
        f"estimated (last {one.pictures} pictures): check its price row",
        detail={"provider": one.provider, "model": one.model, "percent": round(float(apart), 1)},
    )  # fmt: skip


def _above(percent: int) -> Decimal:
    """A threshold that must be exceeded, not reached."""
    return Decimal(percent) + Decimal("0.000001")


def _raised(kinds: frozenset[str], services: Services) -> frozenset[str]:
    """Keys of what is raised, read before the figures: what another round raises meanwhile is not ours to clear."""
    return frozenset(one.key for one in services.alerts.list() if one.kind in kinds)


def _round(gauges: Sequence[Gauge], raised: frozenset[str], services: Services, now: datetime) -> str:
    """Raises, clears and tells. What is watched no more (a budget removed, its period over) is cleared."""
    by_key = {one.key: one for one in gauges}
    over = [key for key in raised if key not in by_key or by_key[key].eased]
    if over:
        services.alerts.clear(over)
    new = [one for one in gauges if one.alarming and one.key not in raised and _raise(one, services, now)]
    tell(services, now)
    return f"{len(new)} raised, {len(over)} cleared"


def _raise(gauge: Gauge, services: Services, now: datetime) -> bool:
    told_at = now if services.watch.webhook_url is None else None
    alert = Alert(
        key=gauge.key, kind=gauge.kind, message=gauge.message, detail=gauge.detail, raised_at=now, told_at=told_at
    )
    is_new = services.alerts.raise_alert(alert)
    if is_new:
        log.warning("alert %s: %s", gauge.key, gauge.message)
    return is_new


def tell(services: Services, now: datetime) -> None:
    """Sends what the webhook was not told yet, in one message; what it does not take is told in the next round.

    Rounds may overlap: each alert is one round's to tell.
    """
    untold = services.alerts.untold(at=now, patience=TELLING)
    if not untold:
        return
    took = services.watch.webhook_url is None or _taken(untold, services.watch.webhook_url, services)
    services.alerts.told([one.key for one in untold], at=now if took else None)


def _taken(untold: Sequence[Alert], url: str, services: Services) -> bool:
    body = {"text": "\n".join(f"imagegen: {one.message}" for one in untold)}
    try:
        reply = services.transport.call("POST", url, json=body, total=WEBHOOK_TOTAL)
    except TransportError as error:
        log.warning("the alert webhook was not reached, %d alerts wait: %s", len(untold), error)
        return False
    if not 200 <= reply.status < 300:
        log.warning("the alert webhook answered %d, %d alerts wait", reply.status, len(untold))
        return False
    return True


def _plain(amount: Decimal) -> str:
    exact = f"{amount:.6f}".rstrip("0")
    whole, _, rest = exact.partition(".")
    return f"{whole}.{rest:0<2}" if rest else whole
