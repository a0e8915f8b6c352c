"""The port `Budgets`, and what admissions and moves make of it: the same promises in memory and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from imagegen.errors import BudgetExceeded
from imagegen.jobs import Job
from imagegen.records import Budget
from imagegen.states import MoveName, Stage, Status
from tests.jobs_kit import Store, admit, completed, moved, new_batch, new_job, step, submitted

pytest_plugins = ["tests.stores"]

DIME = Decimal("0.10")
DAY = datetime(2026, 11, 30, 23, 59, 30, tzinfo=UTC)


def limit(store: Store, scope: str, amount: str, period: str = "total", **given: Any) -> Budget:
    """A hard budget of real money."""
    usual: dict[str, Any] = {"hard": True, "at": DAY}
    return store.budgets().set(scope, period, Decimal(amount), **{**usual, **given})


def dime(store: Store, **given: Any) -> Job:
    """An admitted job that may cost ten cents."""
    return admit(store, cost_estimated=DIME, **given)


def refused(store: Store, jobs: Sequence[Job] | None = None, **given: Any) -> dict[str, Any]:
    """What is told of a dime's refusal, which must come."""
    with pytest.raises(BudgetExceeded) as raised:
        store.jobs.admit(list(jobs or [new_job(cost_estimated=DIME, **given)]), None, worker="w1")
    return dict(raised.value.details)


def committed(store: Store, at: datetime = DAY) -> dict[tuple[str, str], str]:
    """What each budget has committed, in dollars."""
    return {(one.scope, one.period): f"{one.committed:.2f}" for one in store.budgets().list(at=at)}


def test_what_has_no_room_is_refused_with_the_numbers(store: Store) -> None:
    """Ten cents reserve ten cents; the job that does not fit is not written, and the refusal says all that counts."""
    limit(store, "all", "0.25")
    first, _ = dime(store), dime(store)
    third = new_job(cost_estimated=DIME)
    told = refused(store, [third])
    assert told == {
        "scope": "all", "period": "total", "limit": 0.25, "committed": 0.2, "remaining": 0.05, "requested": 0.1,
    }  # fmt: skip
    assert committed(store) == {("all", "total"): "0.20"}
    assert list(store.jobs.history(third.id)) == []
    again = store.jobs.admit([first], None, worker="w1")
    assert (again.created, again.jobs[0].id) == (False, first.id)


def test_the_last_cent_may_be_committed(store: Store) -> None:
    """A limit that is met exactly is kept, not exceeded."""
    limit(store, "all", "0.20")
    dime(store), dime(store)
    assert store.budgets().list(at=DAY)[0].remaining == 0
    assert refused(store)["remaining"] == 0.0


@pytest.mark.parametrize("scope", ["owner:ada", "project:demo", "provider:fal"])
def test_a_budget_holds_its_own_jobs_alone(store: Store, scope: str) -> None:
    """An owner's, a project's, a provider's: others go on."""
    limit(store, scope, "0.10")
    dime(store)
    assert refused(store)["scope"] == scope
    field = {"owner:ada": "owner", "project:demo": "project_id", "provider:fal": "provider"}[scope]
    dime(store, **{field: "gemini"})
    assert committed(store) == {(scope, "total"): "0.10"}


def test_every_budget_of_a_job_must_have_room(store: Store) -> None:
    """The narrowest refuses, and nothing is left committed in the others."""
    limit(store, "all", "5")
    limit(store, "owner:ada", "0.15", "day")
    limit(store, "project:demo", "0.05", "month")
    assert refused(store, created_at=DAY)["scope"] == "project:demo"
    assert set(committed(store).values()) == {"0.00"}


def test_a_soft_budget_only_counts(store: Store) -> None:
    """It refuses nothing, and shows by how much it is exceeded."""
    limit(store, "all", "0.15", hard=False)
    dime(store), dime(store)
    (shown,) = store.budgets().list(at=DAY)
    assert (shown.hard, shown.committed, shown.remaining) == (False, Decimal("0.20"), Decimal(0))


def test_a_batch_is_reserved_whole_or_not_at_all(store: Store) -> None:
    """Three of four would fit: none is admitted; four fit: all are."""
    limit(store, "all", "0.35")
    batch, jobs = new_batch(4)
    four = [replace(job, cost_estimated=DIME) for job in jobs]
    with pytest.raises(BudgetExceeded) as raised:
        store.jobs.admit(four, batch, worker="w1")
    assert (raised.value.details["requested"], raised.value.details["remaining"]) == (0.4, 0.35)
    assert committed(store) == {("all", "total"): "0.00"}
    limit(store, "all", "0.40")
    assert store.jobs.admit(four, batch, worker="w1").created
    assert committed(store) == {("all", "total"): "0.40"}
    again = store.jobs.admit(four, batch, worker="w1")
    assert (again.created, len(again.jobs)) == (False, 4)


@pytest.mark.parametrize("end", [MoveName.CANCEL, MoveName.FAIL])
def test_an_end_without_a_picture_releases(store: Store, end: MoveName) -> None:
    """What was reserved for nothing is free again in the statement of the end."""
    limit(store, "all", "0.10")
    job = dime(store)
    ended = moved(store, step(job, end))
    assert (ended.committed, committed(store)) == (Decimal(0), {("all", "total"): "0.00"})
    dime(store)


def test_what_was_lost_stays_committed(store: Store) -> None:
    """Waste and doubt count as long as they stand; a doubt that is resolved frees its amount."""
    limit(store, "all", "0.10")
    job = dime(store)
    lost = {"cost_wasted": Decimal("0.03"), "cost_uncertain": Decimal("0.04"), "cost_credits": None}
    failed = moved(store, step(job, MoveName.FAIL, changes=lost))
    assert (failed.committed, committed(store)) == (Decimal("0.07"), {("all", "total"): "0.07"})
    moved(store, step(job, MoveName.SETTLE, 5, changes={"cost_uncertain": None}))
    assert committed(store) == {("all", "total"): "0.03"}


def test_a_picture_costs_what_it_cost(store: Store) -> None:
    """From the estimate to the settled price; the difference is free again."""
    limit(store, "all", "1")
    job = dime(store)
    assert submitted(store, dime(store)).committed == DIME
    done = completed(store, job, cost_credits=Decimal("0.04"))
    assert (done.committed, committed(store)) == (Decimal("0.04"), {("all", "total"): "0.14"})


def test_a_budget_set_meanwhile_knows_what_is_committed(store: Store) -> None:
    """Live jobs, ended ones and those of other periods: the sum it begins with is the true one."""
    yesterday, last_month = DAY - timedelta(days=1), DAY - timedelta(days=40)
    for at in (DAY, DAY, yesterday, last_month):
        dime(store, created_at=at)
    moved(store, step(dime(store, created_at=DAY), MoveName.CANCEL))
    sums = {period: limit(store, "owner:ada", "9", period) for period in ("day", "month", "total")}
    assert [f"{one.committed:.1f}" for one in sums.values()] == ["0.2", "0.3", "0.4"]
    assert [one.starts for one in sums.values()] == [date(2026, 11, 30), date(2026, 11, 1), date(1970, 1, 1)]
    assert list(store.budgets().list(at=DAY)) == list(sums.values())
    dime(store, created_at=DAY)
    assert committed(store)["owner:ada", "month"] == "0.40"


def test_a_period_begins_at_midnight_utc(store: Store) -> None:
    """What is admitted a second after midnight counts in the new day and month; the old ones keep theirs."""
    limit(store, "all", "0.10", "day")
    limit(store, "all", "0.10", "month")
    before = dime(store, created_at=DAY)
    assert before.reserved_on == date(2026, 11, 30)
    refused(store, created_at=DAY + timedelta(seconds=29))
    midnight = DAY + timedelta(seconds=30)
    # The same moment, told in another zone.
    here = midnight.astimezone(datetime.strptime("-0800", "%z").tzinfo)
    assert dime(store, created_at=here).reserved_on == date(2026, 12, 1)
    refused(store, created_at=midnight)
    assert committed(store, midnight) == {("all", "day"): "0.10", ("all", "month"): "0.10"}
    moved(store, step(before, MoveName.CANCEL))
    assert committed(store, midnight) == {("all", "day"): "0.10", ("all", "month"): "0.10"}
    assert committed(store, DAY) == {("all", "day"): "0.00", ("all", "month"): "0.00"}


def test_emulated_money_has_budgets_of_its_own(store: Store) -> None:
    """Neither counts for the other, and each is listed and removed by itself."""
    limit(store, "all", "0.10")
    store.budgets(emulated=True).set("all", "total", Decimal("0.10"), True, at=DAY)
    dime(store), dime(store, emulated=True)
    refused(store), refused(store, emulated=True)
    assert store.budgets(emulated=True).remove("all") == 1
    dime(store, emulated=True)
    assert committed(store) == {("all", "total"): "0.10"}
    assert list(store.budgets(emulated=True).list(at=DAY)) == []


def test_a_budget_is_changed_and_removed(store: Store) -> None:
    """A lower limit refuses what comes and takes nothing back; without a budget everything is admitted."""
    limit(store, "all", "1", "day")
    limit(store, "all", "1")
    dime(store, created_at=DAY)
    assert limit(store, "all", "0.05").committed == DIME
    told = refused(store, created_at=DAY)
    assert (told["limit"], told["committed"], told["remaining"]) == (0.05, 0.1, 0.0)
    assert store.budgets().remove("all", "total") == 1
    assert store.budgets().remove("all", "total") == 0
    dime(store, created_at=DAY)
    assert store.budgets().remove("all") == 1
    assert list(store.budgets().list(at=DAY)) == []


def test_what_is_free_is_admitted_though_nothing_is_left(store: Store) -> None:
    """A job without a price asks for nothing, so no budget is in its way."""
    limit(store, "all", "0.10")
    dime(store)
    admit(store, cost_estimated=Decimal(0))


def failed_before(store: Store) -> Job:
    """A failed job of the day before."""
    return moved(store, step(dime(store, created_at=DAY - timedelta(days=1)), MoveName.FAIL))


def test_a_new_reservation_needs_room(store: Store) -> None:
    """A retry that has none is refused as if it had never been asked for; with room it counts from its own day."""
    limit(store, "all", "0.10", "day")
    job, blocker = failed_before(store), dime(store, created_at=DAY)
    again = step(
        job, MoveName.RETRY, target=Status.QUEUED, stage=Stage.GENERATE, changes={"reserved_on": date(2026, 11, 30)}
    )
    with pytest.raises(BudgetExceeded) as raised:
        store.jobs.reserve(again)
    assert (raised.value.details["requested"], raised.value.details["remaining"]) == (0.1, 0.0)
    assert store.jobs.get(job.id) == job
    assert [event.move for event in store.jobs.history(job.id)] == ["admit", "fail"]
    moved(store, step(blocker, MoveName.CANCEL))
    going_on = store.jobs.reserve(again)
    assert going_on is not None
    assert (going_on.status, going_on.committed, going_on.reserved_on) == (Status.QUEUED, DIME, date(2026, 11, 30))
    assert committed(store) == {("all", "day"): "0.10"}
    assert store.jobs.reserve(again) is None


def test_a_job_takes_its_money_to_another_provider(store: Store) -> None:
    """The account of the one is free again, that of the other must have room for the new price."""
    limit(store, "provider:fal", "0.10")
    limit(store, "provider:gemini", "0.15")
    limit(store, "all", "0.20")
    job = moved(store, step(dime(store), MoveName.FAIL))
    there = {"target": Status.QUEUED, "stage": Stage.GENERATE}
    dear = {"provider": "gemini", "cost_estimated": Decimal("0.16")}
    with pytest.raises(BudgetExceeded) as raised:
        store.jobs.reserve(step(job, MoveName.RETRY, **there, changes=dear))
    assert raised.value.details["scope"] == "provider:gemini"
    assert store.jobs.reserve(step(job, MoveName.RETRY, **there, changes={**dear, "cost_estimated": DIME}))
    assert committed(store) == {
        ("provider:fal", "total"): "0.00", ("provider:gemini", "total"): "0.10", ("all", "total"): "0.10",
    }  # fmt: skip


def test_what_commits_no_more_is_never_refused(store: Store) -> None:
    """A move that reserves no more than before passes an exceeded budget: its money was committed long ago."""
    job = dime(store)
    limit(store, "all", "0.05")
    assert store.jobs.reserve(step(job, MoveName.FAIL)) is not None
    assert committed(store) == {("all", "total"): "0.00"}


def test_an_admission_may_say_why(store: Store) -> None:
    """The detail of its event, for all jobs of a batch."""
    batch, jobs = new_batch(2)
    store.jobs.admit(jobs, batch, worker="w1", detail={"onBudget": {"wanted": []}})
    assert [store.jobs.history(job.id)[0].detail for job in jobs] == [{"onBudget": {"wanted": []}}] * 2
