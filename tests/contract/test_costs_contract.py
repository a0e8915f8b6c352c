"""Cost reports, on the double and on PostgreSQL alike."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from imagegen.costs import GROUPS, hit_rate, report, total
from imagegen.errors import InvalidRequest
from imagegen.records import CostFilter, CostRow
from imagegen.reporting import Costs
from imagegen.states import Status
from imagegen.testing.costs import MemoryCosts
from storage.costs import PostgresCosts
from tests.jobs_kit import CENTS, NOW, MemoryStore, PostgresStore, Store, admit, new_batch

pytest_plugins = ["tests.stores"]
ALL = CostFilter()
DOUBT = Decimal("0.134")


@pytest.fixture
def costs(store: Store) -> Costs:
    if isinstance(store, PostgresStore):
        return PostgresCosts(store.database)
    assert isinstance(store, MemoryStore)
    return MemoryCosts(store.jobs)


def paid(store: Store, **given: Any) -> None:
    """A job with its picture."""
    ended(store, **{"cost_credits": CENTS, **given})


def hit(store: Store, **given: Any) -> None:
    """A job whose picture came from the cache."""
    ended(store, cost_credits=Decimal(0), cache_hit=True, **given)


def failed(store: Store, **given: Any) -> None:
    """A job that was charged for nothing, and perhaps once more."""
    lost = {"cost_credits": Decimal(0), "cost_wasted": CENTS, "cost_uncertain": DOUBT, "error_code": "TEMPORARY"}
    ended(store, Status.FAILED, **lost, **given)


def ended(store: Store, status: Status = Status.COMPLETED, **given: Any) -> None:
    """A row at its end: a report asks for nothing else."""
    admit(store, status=status, next_run_at=None, **given)


def test_groups_come_with_their_sums(store: Store, costs: Costs) -> None:
    """Jobs, hits, and each kind of money to the cent; the dearest group first, what has no such value last."""
    paid(store, scene_id="s1")
    hit(store, scene_id="s1")
    failed(store, scene_id="s2")
    admit(store, scene_id=None)
    rows = costs.by("scene", ALL)
    nothing = Decimal(0)
    assert list(rows) == [
        CostRow(key="s2", jobs=1, hits=0, actual=nothing, waste=CENTS, uncertain=DOUBT, saved=nothing),
        CostRow(key="s1", jobs=2, hits=1, actual=CENTS, waste=nothing, uncertain=nothing, saved=CENTS),
        CostRow(key=None, jobs=1, hits=0, actual=nothing, waste=nothing, uncertain=nothing, saved=nothing),
    ]
    assert all(isinstance(row.actual, Decimal) for row in rows)
    assert [hit_rate(row) for row in rows] == [0.0, 0.5, 0.0]
    whole = total(rows)
    assert (whole.jobs, whole.hits, whole.actual, whole.waste, whole.uncertain) == (4, 1, CENTS, CENTS, DOUBT)


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_is_told(store: Store, costs: Costs, group: str) -> None:
    """Each group names what the jobs have in its field; a day is one of UTC."""
    batch, jobs = new_batch(2)
    store.jobs.admit([replace(job, scene_id="s") for job in jobs], batch, worker="w")
    told = {
        "job_type": "master_asset", "project": "demo", "scene": "s", "batch": str(batch.id), "owner": "ada",
        "provider": "fal", "model": "nano-banana", "day": f"{NOW:%Y-%m-%d}",
    }  # fmt: skip
    assert [(row.key, row.jobs) for row in costs.by(group, ALL)] == [(told[group], 2)]


def test_days_stand_in_their_order(store: Store, costs: Costs) -> None:
    """A report by day is a calendar, not a ranking."""
    days = [NOW - timedelta(days=back) for back in (0, 2, 1)]
    for day in days:
        paid(store, created_at=day)
    paid(store, created_at=days[0])
    assert [row.key for row in costs.by("day", ALL)] == [f"{day:%Y-%m-%d}" for day in sorted(days)]


@pytest.mark.parametrize(
    ("key", "told"),
    [("film", "Noir"), ("take", "7"), ("final", "true"), ('it\'s "%s" :x', "odd"), ("'; DROP TABLE x; --", None)],
)
def test_metadata_groups_by_any_key(store: Store, costs: Costs, key: str, told: str | None) -> None:
    """Whatever callers call their keys; a value that is no text is told as JSON."""
    metadata = {"film": "Noir", "take": 7, "final": True, 'it\'s "%s" :x': "odd"}
    paid(store, metadata=metadata)
    assert [(row.key, row.jobs) for row in costs.by(f"metadata.{key}", ALL)] == [(told, 1)]


@pytest.mark.parametrize("group", ["", "status", "metadata", "metadata.", "id; DROP TABLE x", "metadata." + "k" * 201])
def test_other_groups_are_refused(store: Store, costs: Costs, group: str) -> None:
    """The error names the groups that there are."""
    with pytest.raises(InvalidRequest, match=r"nothing to group by.*job_type"):
        costs.by(group, ALL)


def test_filters_narrow_the_report(store: Store, costs: Costs) -> None:
    """By time (from, and up to but not including), project and owner; emulated money never mixes with real."""
    paid(store)
    paid(store, owner="bo", project_id="other")
    paid(store, emulated=True)
    early = NOW - timedelta(days=1)
    paid(store, created_at=early)

    def jobs(**given: Any) -> int:
        return sum(row.jobs for row in costs.by("owner", CostFilter(**given)))

    assert (jobs(), jobs(emulated=True), jobs(owner="bo"), jobs(project_id="demo")) == (3, 1, 1, 2)
    assert (jobs(since=NOW), jobs(until=NOW), jobs(since=early, until=NOW)) == (2, 1, 1)


def test_the_report_is_json(store: Store, costs: Costs) -> None:
    """Numbers in US dollars, with a hit rate and a total; no group at all is a report of nothing."""
    hit(store)
    told = report("owner", costs.by("owner", ALL), emulated=False)
    row = {"jobs": 1, "hits": 1, "actual": 0.0, "waste": 0.0, "uncertain": 0.0, "saved": 0.039, "hitRate": 1.0}
    assert told["items"] == [{"key": "ada", **row}]
    assert told["total"] == {"key": "total", **row}
    assert (told["by"], told["currency"], told["emulated"], told["nextCursor"]) == ("owner", "USD", False, None)
    nothing = report("owner", costs.by("owner", CostFilter(owner="nobody")), emulated=False)
    assert (nothing["items"], nothing["total"]["actual"]) == ([], 0.0)
