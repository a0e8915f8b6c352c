"""The port `Costs` in memory, over the jobs of a double."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC
from decimal import Decimal
from typing import Any

from imagegen.costs import GROUPS, metadata_key
from imagegen.jobs import Job
from imagegen.records import CostFilter, CostRow
from imagegen.states import Status
from imagegen.testing.jobs import MemoryJobs


class MemoryCosts:
    """See `imagegen.reporting.Costs`."""

    def __init__(self, jobs: MemoryJobs) -> None:
        self._jobs = jobs

    def by(self, group: str, where: CostFilter) -> Sequence[CostRow]:
        key = metadata_key(group)
        groups: dict[str | None, list[Job]] = defaultdict(list)
        with self._jobs.lock:
            for job in self._jobs.jobs.values():
                if _wanted(job, where):
                    groups[_key(job, group, key)].append(job)
        rows = [_row(name, jobs) for name, jobs in groups.items()]
        return sorted(rows, key=lambda row: _place(row, by_day=group == "day"))


def _wanted(job: Job, where: CostFilter) -> bool:
    return (
        job.emulated == where.emulated
        and (where.since is None or job.created_at >= where.since)
        and (where.until is None or job.created_at < where.until)
        and where.project_id in {None, job.project_id}
        and where.owner in {None, job.owner}
    )


def _key(job: Job, group: str, key: str | None) -> str | None:
    found: Any = getattr(job, GROUPS[group]) if key is None else job.metadata.get(key)
    if found is None:
        return None
    if group == "day":
        return f"{found.astimezone(UTC):%Y-%m-%d}"
    if key is None or isinstance(found, str):
        return str(found)
    return json.dumps(found, ensure_ascii=False)


def _row(key: str | None, jobs: Sequence[Job]) -> CostRow:
    hits = [job for job in jobs if job.cache_hit and job.status is Status.COMPLETED]

    def whole(name: str, among: Sequence[Job] = jobs) -> Decimal:
        return sum((getattr(job, name) or Decimal(0) for job in among), Decimal(0))

    return CostRow(
        key=key, jobs=len(jobs), hits=len(hits), actual=whole("cost_credits"), waste=whole("cost_wasted"),
        uncertain=whole("cost_uncertain"), saved=whole("cost_estimated", hits),
    )  # fmt: skip


def _place(row: CostRow, *, by_day: bool) -> tuple[Any, ...]:
    key = (row.key is None, (row.key or "").encode())
    return key if by_day else (-(row.actual + row.waste + row.uncertain), -row.jobs, *key)
