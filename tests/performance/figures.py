"""The arithmetic of the benchmark: from what was counted during one run to figures per job. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie, between two neighbours in proportion; NaN for none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


SERVERS = ("postgres", "redis")
"""Their memory is shared between processes, so that a sum over them says nothing."""


@dataclass(frozen=True)
class Counted:
    """One run as it was counted. Times in seconds; `cpu` by part; `lags` provider ready to published.

    `picture_cpu`: what fitting one such picture and its thumbnail takes by itself; `pictures`: how many were fitted.
    """

    side: str
    latency: str
    jobs: int
    seconds: float
    cpu: Mapping[str, float]
    grown: Mapping[str, int]
    lags: Sequence[float]
    times: Sequence[float]
    messages: int
    events: int
    commands: int
    polls: int
    requests: int
    pictures: int = 0
    picture_cpu: float = 0.0
    hits: float | None = None
    statements: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Figures:
    """What a reader compares. Statements are None where there is no database."""

    side: str
    latency: str
    jobs_per_second: float
    cpu_per_1000: float
    cpu_of_pictures: float
    cpu_without_pictures: float
    cpu_by_part: Mapping[str, float]
    lag_p50: float
    lag_p95: float
    lag_p99: float
    time_p50: float
    time_p95: float
    time_p99: float
    messages_per_job: float
    events_per_job: float
    redis_commands_per_job: float
    polls_per_job: float
    http_calls_per_job: float
    job_statements: float | None
    poll_statements: float | None
    sweep_statements: float | None
    grown_mb: float
    cache_hits: float | None

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def figures(run: Counted) -> Figures:
    """Everything per job or per 1,000 jobs."""
    thousand = 1000 / run.jobs
    said = {kind: run.statements.get(kind, 0) / run.jobs for kind in ("job", "poll", "sweep")} if run.statements else {}
    cpu, pictures = sum(run.cpu.values()) * thousand, run.pictures * run.picture_cpu * thousand
    return Figures(
        side=run.side,
        latency=run.latency,
        jobs_per_second=run.jobs / run.seconds,
        cpu_per_1000=cpu,
        cpu_of_pictures=pictures,
        cpu_without_pictures=cpu - pictures,
        cpu_by_part={part: seconds * thousand for part, seconds in run.cpu.items()},
        lag_p50=quantile(run.lags, 0.5),
        lag_p95=quantile(run.lags, 0.95),
        lag_p99=quantile(run.lags, 0.99),
        time_p50=quantile(run.times, 0.5),
        time_p95=quantile(run.times, 0.95),
        time_p99=quantile(run.times, 0.99),
        messages_per_job=run.messages / run.jobs,
        events_per_job=run.events / run.jobs,
        redis_commands_per_job=run.commands / run.jobs,
        polls_per_job=run.polls / run.jobs,
        http_calls_per_job=run.requests / run.jobs,
        job_statements=said.get("job"),
        poll_statements=said.get("poll"),
        sweep_statements=said.get("sweep"),
        cache_hits=run.hits,
        grown_mb=sum(size for part, size in run.grown.items() if part not in SERVERS) / 1e6,
    )


def median_of(runs: Iterable[Figures]) -> Figures:
    """The median of each figure over repeated runs of one side at one latency."""
    documents = [run.document() for run in runs]
    parts = documents[0]["cpu_by_part"]
    middle: dict[str, Any] = {
        name: statistics.median(document[name] for document in documents)
        for name, value in documents[0].items()
        if isinstance(value, int | float)
    }
    by_part = {part: statistics.median(document["cpu_by_part"][part] for document in documents) for part in parts}
    return Figures(**{**documents[0], **middle, "cpu_by_part": by_part})
