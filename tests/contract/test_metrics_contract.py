"""The port `Metrics`, on the doubles and on PostgreSQL alike."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from imagegen.alerts import CHOSEN_WAITS
from imagegen.jobs import Job
from imagegen.outbox import Sending, State, Told
from imagegen.pace import PACE
from imagegen.ports_deliveries import DeliveryFilter
from imagegen.ports_erasures import Scope
from imagegen.ports_metrics import CREDITS_LIFE
from imagegen.records import Alert, Entry
from imagegen.states import MoveName, Stage, Status
from tests.jobs_kit import CENTS, NOW, Store, admit, at, claimed, completed, moved, step, submitted

pytest_plugins = ["tests.stores"]
Found = dict[tuple[str, ...], Decimal]
OLD = 3600.0
"""Seconds after which nothing that these tests do is under way."""


def figures(store: Store, name: str, seconds: float = 0) -> Found:
    """The samples of this name: their labels' values, by the labels' names in order."""
    found = store.metrics.figures(at=at(seconds))
    return {tuple(one.labels[key] for key in sorted(one.labels)): one.value for one in found if one.name == name}


def counted(store: Store, name: str) -> Found:
    """The samples, the same however often and late they are asked for."""
    first = figures(store, name)
    for rounds in range(1, 4):
        assert figures(store, name, OLD * rounds) == first
    return first


def failed(store: Store, code: str = "TEMPORARY", **given: Any) -> Job:
    job = admit(store, **given)
    return moved(store, step(job, MoveName.FAIL, cause=code, changes={"error_code": code}))


def entry(kind: Any, attempt_id: UUID | None, amount: Decimal = CENTS) -> Entry:
    return Entry(kind=kind, amount=amount, attempt_id=attempt_id)


def test_nothing_has_no_figures(store: Store) -> None:
    """An empty system."""
    assert list(store.metrics.figures(at=NOW)) == []


def test_ends_are_counted_by_how_they_ended(store: Store) -> None:
    """Completed, failed by code, cancelled, and other money's apart; a job that ends twice has two ends."""
    completed(store, admit(store))
    moved(store, step(admit(store), MoveName.CANCEL, cause="cancelled"))
    failed(store, emulated=True)
    again = failed(store, "DEADLINE")
    moved(store, step(again, MoveName.RETRY, target=Status.QUEUED, stage=Stage.GENERATE))
    moved(store, step(again, MoveName.FAIL, cause="QUOTA_EXHAUSTED"))
    assert counted(store, "ended") == {
        ("", "false", "cancelled"): 1,
        ("", "false", "completed"): 1,
        ("DEADLINE", "false", "failed"): 1,
        ("QUOTA_EXHAUSTED", "false", "failed"): 1,
        ("TEMPORARY", "true", "failed"): 1,
    }


def test_counts_grow_whenever_they_are_asked_for(store: Store) -> None:
    """What is counted between two ends, early or late, is counted once."""
    for round_ in range(1, 7):
        completed(store, admit(store))
        failed(store)
        for seconds in (0, 5, 12, 13, 40):
            found = figures(store, "ended", 100 * round_ + seconds)
            assert found == {("", "false", "completed"): round_, ("TEMPORARY", "false", "failed"): round_}
            assert figures(store, "ledger", 100 * round_ + seconds)[("false", "settle", "nano-banana", "fal")] == (
                round_ * CENTS
            )


def test_spending_is_told_by_the_newest_line_of_each_attempt(store: Store) -> None:
    """A doubt that turned out to be a charge is uncertain no more; the ledger's own sums keep both lines."""
    done, doubted = completed(store, admit(store)), submitted(store, admit(store))
    uncertain = entry("uncertain", doubted.attempt_id)
    moved(store, step(doubted, MoveName.FAIL, cause="SUBMISSION_UNKNOWN", entries=(uncertain,)))
    assert done.model == "nano-banana"
    model = ("nano-banana", "fal")
    assert figures(store, "spend") == {("false", "settle", *model): CENTS, ("false", "uncertain", *model): CENTS}
    figures(store, "spend", OLD)
    wasted = entry("waste", doubted.attempt_id, Decimal("0.05"))
    moved(store, step(doubted, MoveName.SETTLE, entries=(wasted,)))
    assert counted(store, "spend") == {
        ("false", "settle", *model): CENTS,
        ("false", "uncertain", *model): 0,
        ("false", "waste", *model): Decimal("0.05"),
    }
    assert counted(store, "ledger") == {
        ("false", "settle", *model): CENTS,
        ("false", "uncertain", *model): CENTS,
        ("false", "waste", *model): Decimal("0.05"),
    }


def test_what_was_free_again_is_no_spending(store: Store) -> None:
    """A reservation and its release are told nowhere."""
    job = submitted(store, admit(store))
    moved(store, step(job, MoveName.FAIL, cause="AUTH_ERROR", entries=(entry("release", job.attempt_id),)))
    assert (counted(store, "spend"), counted(store, "ledger")) == ({}, {})


def test_what_the_cache_saved_is_counted(store: Store) -> None:
    """Hits by model with the prices they did not cost; what was bought saved nothing."""
    completed(store, admit(store))
    for _ in range(2):
        hit = claimed(store, admit(store))
        cached = {"cache_hit": True, "blob_sha256": "b" * 64}
        moved(store, step(hit, MoveName.REUSE, stage=Stage.UPLOAD, changes=cached))
        moved(store, step(hit, MoveName.COMPLETE, changes={"cost_credits": Decimal(0)}))
    model = ("false", "nano-banana", "fal")
    assert counted(store, "hits") == {model: 2}
    assert counted(store, "saved") == {model: 2 * CENTS}


def test_live_jobs_are_told_as_they_stand(store: Store) -> None:
    """By status; ended ones are no more among them, and real and emulated ones stand apart."""
    for _ in range(2):
        admit(store)
    submitted(store, admit(store))
    admit(store, emulated=True)
    failed(store)
    assert figures(store, "jobs") == {("false", "generating"): 1, ("false", "queued"): 2, ("true", "queued"): 1}


def test_the_oldest_job_is_told(store: Store) -> None:
    """Since it was made or scheduled, in seconds; jobs that somebody lets wait do not count."""
    for wait in CHOSEN_WAITS:
        admit(store, created_at=at(-900), waiting_for=wait)
    admit(store, created_at=at(-700), scheduled_at=at(-100))
    admit(store, created_at=at(-300))
    admit(store, created_at=at(-50), emulated=True)
    assert figures(store, "oldest_queued") == {("false",): 300, ("true",): 50}


def test_what_is_overdue_is_told(store: Store) -> None:
    """Since its time came; what waits for its slot is not late, and what is due later neither."""
    admit(store, next_run_at=at(60))
    assert figures(store, "oldest_due") == {}
    admit(store, next_run_at=at(-500), waiting_for=PACE)
    admit(store, next_run_at=at(-20))
    assert figures(store, "oldest_due") == {("false",): 20}


def test_alerts_are_counted_and_stand(store: Store) -> None:
    """A crossing counts once, and for ever; what is cleared stands no more, what was told waits no more."""

    def raised(key: str) -> bool:
        return store.alerts.raise_alert(Alert(key=key, kind="budget", message="", detail={}, raised_at=NOW))

    assert raised("a")
    assert not raised("a")
    assert raised("b")
    store.alerts.told(["a"], at=NOW)
    names = ("alerts", "active_alerts", "untold_alerts")
    assert [figures(store, name) for name in names] == [{("budget",): 2}, {("budget",): 2}, {("budget",): 1}]
    store.alerts.clear(["a", "b"])
    assert [counted(store, name) for name in names] == [{("budget",): 2}, {}, {}]
    assert raised("a")
    assert [figures(store, name) for name in names] == [{("budget",): 3}, {("budget",): 1}, {("budget",): 1}]


def test_callbacks_are_counted_for_ever(store: Store) -> None:
    """Though the counts of past hours are dropped, again and again."""
    for days in (20, 10, 0):
        store.callbacks.count("fal", "woken", at=NOW - timedelta(days=days))
    store.callbacks.count("kie", "forged", at=NOW)
    expected = {("woken", "fal"): 3, ("forged", "kie"): 1}
    assert counted(store, "callbacks") == expected
    for days in (15, 8, 8):
        store.callbacks.forget(before=NOW - timedelta(days=days))
        assert counted(store, "callbacks") == expected
    store.callbacks.forget(before=NOW + timedelta(hours=1))
    assert counted(store, "callbacks") == expected


def test_deliveries_are_told_by_state(store: Store) -> None:
    """Those that are due and those that nobody took; delivered ones are nobody's business any more."""
    for _ in range(4):
        failed(store, request={"prompt": "a fox", "callbackUrl": "https://shop.test/told"})
    due = store.deliveries.due(at=NOW, limit=3)
    for one, state in zip(due, (State.DELIVERED, State.FAILED, State.REFUSED), strict=True):
        taken = store.deliveries.take(one.id, one.number, at=NOW)
        assert taken is not None
        store.deliveries.settle(taken, Sending(at=NOW, ms=1, status=500), Told(state))
    assert len(store.deliveries.list(DeliveryFilter())[0]) == 4
    assert figures(store, "deliveries") == {("due",): 1, ("failed",): 1, ("refused",): 1}


def test_balances_are_told_while_they_are_known(store: Store) -> None:
    """The newest one by provider and kind of money, and none that was asked for long ago."""
    store.metrics.balance("kie", Decimal("12.5"), emulated=False, at=at(-5))
    store.metrics.balance("kie", Decimal(3), emulated=True, at=NOW)
    store.metrics.balance("kie", Decimal("11.25"), emulated=False, at=NOW)
    assert figures(store, "credits") == {("false", "kie"): Decimal("11.25"), ("true", "kie"): 3}
    assert figures(store, "credits", CREDITS_LIFE.total_seconds()) == {}


@pytest.mark.parametrize("before_it", [True, False])
def test_erasing_takes_nothing_back(store: Store, before_it: bool) -> None:
    """A job's content goes; its end and its money stay counted, whether they were counted before or not."""
    job = completed(store, admit(store))
    failed(store, "CONTENT_REFUSED")
    before = {name: figures(store, name) for name in ("ended", "ledger", "spend")}
    if before_it:
        figures(store, "ended", OLD)
        figures(store, "ended", 2 * OLD)
    store.erasures.request(Scope(job_id=job.id), at=at(1), until=at(2))
    assert store.erasures.erase([job.id], at=at(3), grace=timedelta(hours=1)) == [job.id]
    assert {name: counted(store, name) for name in before} == before
