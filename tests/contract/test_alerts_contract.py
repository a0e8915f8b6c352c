"""The port `Alerts`, on the double and on PostgreSQL alike."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import delete

from imagegen.alerts import CHOSEN_WAITS
from imagegen.pace import PAUSED
from imagegen.placeholders import PROVIDER_DOWN
from imagegen.planning import SCHEDULED
from imagegen.records import Alert, Entry, Spent, Variance, Watched
from imagegen.reporting import Alerts
from imagegen.states import MoveName
from imagegen.testing.alerts import MemoryAlerts
from storage.alerts import PostgresAlerts
from storage.tables import ALERTS
from tests.jobs_kit import (
    CENTS,
    NOW,
    MemoryStore,
    PostgresStore,
    Store,
    admit,
    at,
    completed,
    moved,
    step,
    submitted,
)

pytest_plugins = ["tests.stores"]


@pytest.fixture
def alerts(store: Store) -> Alerts:
    if isinstance(store, PostgresStore):
        store.database.run(delete(ALERTS))
        return PostgresAlerts(store.database)
    assert isinstance(store, MemoryStore)
    return MemoryAlerts(store.jobs)


def failed(store: Store, **given: Any) -> None:
    moved(store, step(admit(store, **given), MoveName.FAIL, changes={"error_code": "TEMPORARY"}))


def alert(key: str, seconds: float = 0) -> Alert:
    return Alert(key=key, kind="queued", message="waits", detail={"n": 1}, raised_at=at(seconds))


def test_an_alert_is_raised_once(alerts: Alerts) -> None:
    """A second raising changes nothing; once cleared it may be raised again. Oldest first."""
    assert alerts.raise_alert(alert("b", 1))
    assert alerts.raise_alert(alert("a", 2))
    assert not alerts.raise_alert(alert("b", 3))
    assert list(alerts.list()) == [alert("b", 1), alert("a", 2)]
    alerts.clear(["b", "unknown"])
    assert alerts.raise_alert(alert("b", 4))
    assert [one.key for one in alerts.list()] == ["a", "b"]


def test_telling_is_remembered(alerts: Alerts) -> None:
    """What the webhook took is not told again; what is gone is no error."""
    alerts.raise_alert(alert("a"))
    alerts.raise_alert(alert("b"))
    alerts.told(["a", "gone"], at=at(5))
    assert [(one.key, one.told_at) for one in alerts.list()] == [("a", at(5)), ("b", None)]


def test_each_is_one_round_s_to_tell(alerts: Alerts) -> None:
    """Of several rounds at once one gets an alert; another one after a while, where it was not told by then."""
    patience = timedelta(seconds=20)

    def take(seconds: float) -> list[Alert]:
        return list(alerts.untold(at=at(seconds), patience=patience))

    for key in ("a", "b", "c"):
        alerts.raise_alert(alert(key))
    alerts.told(["c"], at=at(1))
    with ThreadPoolExecutor(4) as pool:
        taken = [one for found in pool.map(lambda _: take(1), range(4)) for one in found]
    assert taken == [alert("a"), alert("b")]
    assert [one.detail for one in alerts.list()] == [{"n": 1}] * 3
    alerts.told(["a"], at=at(2))
    assert (take(20), take(21), take(22)) == ([], [alert("b")], [])
    alerts.told(["b"], at=None)
    assert take(22) == [alert("b")]
    alerts.clear(["b"])
    alerts.raise_alert(alert("b", 23))
    assert take(23) == [alert("b", 23)]


def test_nothing_is_watched_of_nothing(store: Store, alerts: Alerts) -> None:
    """An empty system has no oldest job, no ends and no spending."""
    assert alerts.watched(at=NOW, emulated=False) == Watched()
    assert alerts.spent(at=NOW, emulated=False) == Spent()


def test_the_chosen_waits_are_those_of_the_code() -> None:
    """What is paused, scheduled or waits for a provider that is down may wait."""
    assert set(CHOSEN_WAITS) == {PAUSED, PROVIDER_DOWN, SCHEDULED}


def test_the_oldest_job_is_found(store: Store, alerts: Alerts) -> None:
    """By when it was made or scheduled; what somebody let wait, and other money's jobs, do not count."""
    for wait in CHOSEN_WAITS:
        admit(store, created_at=at(-900), waiting_for=wait)
    admit(store, created_at=at(-800), emulated=True)
    admit(store, created_at=at(-700), scheduled_at=at(-100))
    admit(store, created_at=at(-300), waiting_for="pace")
    assert alerts.watched(at=NOW, emulated=False).oldest == at(-300)
    assert alerts.watched(at=NOW, emulated=True).oldest == at(-800)


def test_the_newest_ends_are_counted(store: Store, alerts: Alerts) -> None:
    """Failed among the last fifty; cancelled ones are their owner's choice."""
    for _ in range(5):
        failed(store)
    for _ in range(46):
        completed(store, admit(store))
    moved(store, step(admit(store), MoveName.CANCEL))
    failed(store, emulated=True)
    seen = alerts.watched(at=NOW, emulated=False)
    assert (seen.ended, seen.failed) == (50, 4)
    assert (alerts.watched(at=NOW, emulated=True).ended, alerts.watched(at=NOW, emulated=True).failed) == (1, 1)


def test_a_doubt_that_was_resolved_is_spent_once(store: Store, alerts: Alerts) -> None:
    """Of each attempt its newest line counts: what it came to, or, for the time before, what it stood at."""
    job = submitted(store, admit(store))
    doubt, settle = (
        Entry(kind=kind, amount=CENTS, attempt_id=job.attempt_id, always=True) for kind in ("uncertain", "settle")
    )
    moved(store, step(job, MoveName.FAIL, 10, entries=(doubt,)))
    assert alerts.spent(at=at(11), emulated=False).last_hour == CENTS
    moved(store, step(job, MoveName.SETTLE, 20, entries=(settle,)))
    assert [alerts.spent(at=at(moment), emulated=False).last_hour for moment in (11, 21)] == [CENTS, CENTS]


def test_spending_is_told_by_the_hour(store: Store, alerts: Alerts) -> None:
    """The last hour, the week before it, and for how long there are any books; prices by model."""
    for hours in (0, 2, 47, 24 * 8):
        completed(store, admit(store, created_at=at(-3600 * hours)), seconds=-3600 * hours)
    spent = alerts.spent(at=at(1), emulated=False)
    assert (spent.last_hour, spent.before) == (CENTS, 2 * CENTS)
    assert float(spent.days) == pytest.approx(46 / 24, abs=0.001)
    assert list(spent.variances) == [
        Variance(provider="fal", model="nano-banana", pictures=4, estimated=4 * CENTS, actual=4 * CENTS)
    ]
    assert alerts.spent(at=at(1), emulated=True) == Spent()
    assert alerts.spent(at=at(0) + timedelta(days=30), emulated=False).last_hour == Decimal(0)
