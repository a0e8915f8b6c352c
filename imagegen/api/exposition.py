"""The page of metrics: which series there are, and one collection for all who scrape within a few seconds."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from imagegen import alerts
from imagegen.circuits import circuits
from imagegen.errors import ImagegenError
from imagegen.outbox import State
from imagegen.ports import Services
from imagegen.ports_metrics import Sample
from imagegen.records import Budget
from imagegen.states import LIVE

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
LIFE = 3.0
"""Seconds that a page, or the failure to make one, serves."""
STATES = ("closed", "half-open", "open")
"""Of a circuit breaker."""
_MODEL = ("provider", "model", "emulated")
_KINDS = sorted(alerts.OFTEN | alerts.SELDOM)


@dataclass(frozen=True)
class Family:
    """One metric. `counts`: it only grows, and its name ends in `_total`."""

    name: str
    help: str
    labels: tuple[str, ...]
    counts: bool = False


FAMILIES = {
    "alerts": Family("imagegen_alerts_total", "Alerts that were raised, one per crossing.", ("kind",), True),
    "active_alerts": Family("imagegen_alert_active", "Alerts that stand.", ("kind",)),
    "untold_alerts": Family("imagegen_alert_untold", "Alerts that stand and that no webhook has taken yet.", ("kind",)),
    "spend": Family(
        "imagegen_spend_dollars",
        "US dollars by what became of each paid call: settle (pictures), waste (charged for nothing), uncertain.",
        ("kind", *_MODEL),
    ),
    "ledger": Family(
        "imagegen_ledger_dollars_total",
        "US dollars of the ledger's lines. A line that corrects another one is added; the other one stays.",
        ("kind", *_MODEL), True,
    ),
    "saved": Family("imagegen_saved_dollars_total", "US dollars that the result cache saved.", _MODEL, True),
    "hits": Family("imagegen_cache_hits_total", "Jobs that the result cache answered.", _MODEL, True),
    "budgets": Family("imagegen_budgets", "Budgets that are set.", ("scope", "period", "hard", "emulated")),
    "budget_limit": Family(
        "imagegen_budget_limit_dollars", "US dollars that these budgets allow together.",
        ("scope", "period", "hard", "emulated"),
    ),
    "budget_committed": Family(
        "imagegen_budget_committed_dollars", "US dollars committed in the present period of these budgets together.",
        ("scope", "period", "hard", "emulated"),
    ),
    "budget_fullest": Family(
        "imagegen_budget_fullest_ratio", "Share of its limit that the fullest of these budgets has committed.",
        ("scope", "period", "hard", "emulated"),
    ),
    "jobs": Family("imagegen_jobs", "Live jobs.", ("status", "emulated")),
    "ended": Family(
        "imagegen_jobs_ended_total", "Ends of jobs; the code is that of a failure.",
        ("status", "code", "emulated"), True,
    ),
    "oldest_queued": Family(
        "imagegen_oldest_queued_seconds", "Waiting of the oldest queued job that may be bought.", ("emulated",)
    ),
    "oldest_due": Family(
        "imagegen_oldest_due_seconds", "How long the longest overdue job waits for a sweep or a worker.", ("emulated",)
    ),
    "breakers": Family(
        "imagegen_breaker_state", "1 for the state that the circuit breaker is in.",
        ("provider", "operation", "state"),
    ),
    "callbacks": Family(
        "imagegen_callbacks_total", "Providers' callbacks by what they came to; missed: those that did not come.",
        ("provider", "outcome"), True,
    ),
    "deliveries": Family(
        "imagegen_deliveries", "Webhooks and tasks of callers: those that are due, and those that nobody took.",
        ("state",),
    ),
    "credits": Family(
        "imagegen_provider_credits", "The balance that the provider told within the last 15 minutes, in its own unit.",
        ("provider", "emulated"),
    ),
}  # fmt: skip
"""By the name of their samples, in the order of the page."""


class Page(Collector):
    """Samples as `prometheus_client` takes them: every family, in order, whether it has any or not."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._by_name: dict[str, dict[tuple[str, ...], Decimal]] = defaultdict(dict)
        for one in samples:
            labels = tuple(one.labels[name] for name in FAMILIES[one.name].labels)
            self._by_name[one.name][labels] = one.value

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client.registry.Collector`."""
        for name, family in FAMILIES.items():
            kind = CounterMetricFamily if family.counts else GaugeMetricFamily
            metric = kind(family.name, family.help, labels=family.labels)
            for labels, value in sorted(self._by_name[name].items()):
                metric.add_metric(labels, float(value))
            yield metric


class Scrapes:
    """Collects at most once in `LIFE` seconds, whoever asks and however often. Thread-safe."""

    def __init__(self, services: Callable[[], Services]) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._at: float | None = None
        self._found: bytes | ImagegenError = b""

    def page(self) -> bytes:
        """The whole page. Raises `PartUnavailable` where the database is away: never a part of it."""
        with self._lock:
            now = self._services().clock.monotonic()
            if self._at is None or now - self._at >= LIFE:
                self._found = _collected(self._services())
                self._at = self._services().clock.monotonic()
            found = self._found
        if isinstance(found, ImagegenError):
            raise found.with_traceback(None)
        return found


def _collected(services: Services) -> bytes | ImagegenError:
    try:
        return generate_latest(Page(samples(services)))
    except ImagegenError as error:
        return error


def samples(services: Services) -> list[Sample]:
    """Every figure. What may be 0 and is watched for it is told as 0."""
    now, own = services.clock.now(), str(services.emulated).lower()
    counted = services.metrics.figures(at=now)
    budgets = services.budgets.list(at=now)
    return [*_nothing(own), *counted, *_budgets(budgets, own), *_breakers(services)]


def _nothing(own: str) -> Iterator[Sample]:
    """Series that are there from the beginning, so that their first rise is seen."""
    for name in ("alerts", "active_alerts", "untold_alerts"):
        yield from (_sample(name, 0, kind=kind) for kind in _KINDS)
    yield from (_sample("jobs", 0, status=status, emulated=own) for status in sorted(LIVE))
    yield from (_sample(name, 0, emulated=own) for name in ("oldest_queued", "oldest_due"))
    yield from (_sample("deliveries", 0, state=state) for state in State if state is not State.DELIVERED)


def _budgets(budgets: Sequence[Budget], own: str) -> Iterator[Sample]:
    """By the kind of their scope: names of owners and projects are not for whoever reads the metrics."""
    together: dict[tuple[str, str, bool], list[Budget]] = defaultdict(list)
    for one in budgets:
        together[one.scope.partition(":")[0], one.period, one.hard].append(one)
    for (scope, period, hard), several in together.items():
        labels = {"scope": scope, "period": period, "hard": str(hard).lower(), "emulated": own}
        fullest = max(one.committed / one.amount if one.amount else Decimal(1) for one in several)
        yield _sample("budgets", len(several), **labels)
        yield _sample("budget_limit", sum((one.amount for one in several), Decimal(0)), **labels)
        yield _sample("budget_committed", sum((one.committed for one in several), Decimal(0)), **labels)
        yield _sample("budget_fullest", fullest, **labels)


def _breakers(services: Services) -> Iterator[Sample]:
    for one in circuits(services):
        labels: Mapping[str, str] = {"provider": one["provider"], "operation": one["operation"]}
        yield from (_sample("breakers", int(one["state"] == state), state=state, **labels) for state in STATES)


def _sample(name: str, value: Decimal | int, **labels: str) -> Sample:
    return Sample(name=name, labels=labels, value=Decimal(value))
