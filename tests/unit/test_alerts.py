"""Alerts: when each is raised, told and cleared."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from imagegen import alerts
from imagegen.errors import Temporary
from imagegen.records import Budget, Spent, Variance, Watch, Watched
from imagegen.testing.alerts import MemoryAlerts
from imagegen.testing.memory import MemoryJobs
from imagegen.transport import LostAnswer, Reply, TransportError
from tests.admission_parts import NOW, Shop, World

HOOK = "https://hooks.test/T000/secret"


class Hook:
    """The webhook: answers in turn, then 200."""

    def __init__(self) -> None:
        self.answers: list[int | TransportError] = []
        self.texts: list[str] = []

    def call(self, method: str, url: str, *, json: Any, total: float) -> Reply:
        assert (method, url, total) == ("POST", HOOK, 5.0)
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, TransportError):
            raise answer
        self.texts.append(json["text"])
        return Reply(answer, {}, b"")


class Gauged(MemoryAlerts):
    """The double with figures of the test's choice."""

    def __init__(self) -> None:
        super().__init__(MemoryJobs())
        self.seen, self.books = Watched(), Spent()

    def watched(self, **_: Any) -> Watched:
        return self.seen

    def spent(self, **_: Any) -> Spent:
        return self.books

    @property
    def keys(self) -> list[str]:
        return sorted(self.raised)


class Budgets:
    """What `list` answers."""

    def __init__(self) -> None:
        self.found: list[Budget] = []

    def list(self, *, at: Any) -> list[Budget]:
        return self.found


class Tower(World):
    """A world that is watched."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.gauges, self.hook, self.budgets = Gauged(), Hook(), Budgets()
        self.shops = {"nanobanana": Shop("nanobanana", False), "gemini": Shop("gemini", True)}
        self.settings |= {
            "alerts": self.gauges, "transport": self.hook, "budgets": self.budgets, "providers": self.shops,
            "watch": Watch(webhook_url=HOOK),
        }  # fmt: skip

    def budget(self, committed: str, **given: Any) -> None:
        usual = {"scope": "all", "period": "day", "amount": Decimal(10), "hard": True, "starts": NOW.date()}
        self.budgets.found = [Budget(**{**usual, **given}, committed=Decimal(committed))]

    def watch(self) -> str:
        return alerts.watch(self.services)

    def watch_money(self) -> str:
        return alerts.watch_money(self.services)


@pytest.fixture
def tower() -> Tower:
    return Tower()


@pytest.mark.parametrize("hard", [True, False])
def test_budgets_alert_at_each_threshold_once(tower: Tower, hard: bool) -> None:
    """50, 80 and 100 %, hard and soft alike; each is told one time however often it is looked at."""
    raised = []
    for committed in ("4.99", "5", "5.5", "8", "8.1", "10", "11"):
        tower.budget(committed, hard=hard)
        raised.append(tower.watch().split()[0])
    assert raised == ["0", "1", "0", "1", "0", "1", "0"]
    assert [text.split(" %")[0][-3:].strip() for text in tower.hook.texts] == ["50", "80", "100"]
    assert tower.hook.texts[0].startswith(f"imagegen: {'hard' if hard else 'soft'} budget all (day): 50 % reached")


def test_a_trembling_figure_tells_once(tower: Tower) -> None:
    """An alert is cleared only well below its threshold, and may then be raised again."""
    for committed, count in (("5.1", 1), ("4.9", 1), ("5.1", 1), ("4.4", 0), ("5.1", 1)):
        tower.budget(committed)
        tower.watch()
        assert len(tower.gauges.keys) == count
    assert len(tower.hook.texts) == 2


def test_a_new_period_begins_anew(tower: Tower) -> None:
    """Yesterday's alerts are cleared with yesterday, a removed budget's with the budget."""
    tower.budget("10")
    tower.watch()
    assert len(tower.gauges.keys) == 3
    tower.budget("6", starts=NOW.date() + timedelta(days=1))
    tower.watch()
    assert tower.gauges.keys == ["budget:all:day:2026-11-22:50"]
    tower.budgets.found = []
    tower.watch()
    assert tower.gauges.keys == []


def test_waiting_too_long(tower: Tower) -> None:
    """From five minutes on; one that was bought meanwhile clears it."""
    for minutes, keys in ((4.9, []), (5, ["queued"]), (4.8, ["queued"]), (0, [])):
        oldest = NOW - timedelta(minutes=minutes) if minutes else None
        tower.gauges.seen = Watched(oldest=oldest)
        tower.watch()
        assert tower.gauges.keys == keys


def test_failing_too_often(tower: Tower) -> None:
    """More than a fifth of the newest ends, once there are enough of them."""
    for ended, failed, keys in ((9, 9, []), (10, 2, []), (10, 3, ["failures"]), (50, 10, ["failures"]), (50, 8, [])):
        tower.gauges.seen = Watched(ended=ended, failed=failed)
        tower.watch()
        assert tower.gauges.keys == keys


def test_credit_runs_low(tower: Tower) -> None:
    """Below what is set; a provider that has no such answer, or none at the moment, changes nothing."""
    shop = tower.shops["nanobanana"]
    left: list[tuple[Any, list[str]]] = [
        (Decimal(200), []), (Decimal(199), ["credit:nanobanana"]), (Temporary("away"), ["credit:nanobanana"]),
        (Decimal(205), ["credit:nanobanana"]), (Decimal(500), []), (None, []),
    ]  # fmt: skip
    for balance, keys in left:
        shop.left = balance
        tower.watch_money()
        assert tower.gauges.keys == keys


def test_prices_that_are_not_as_expected(tower: Tower) -> None:
    """More than a quarter apart in either direction, over enough pictures."""

    def told(pictures: int, actual: str) -> list[str]:
        one = Variance(provider="gemini", model="m", pictures=pictures, estimated=Decimal(1), actual=Decimal(actual))
        tower.gauges.books = Spent(variances=[one])
        tower.watch_money()
        return tower.gauges.keys

    assert told(9, "2") == []
    assert told(10, "1.25") == []
    assert told(10, "1.26") == ["variance:gemini:m"]
    assert "26 % more" in tower.hook.texts[-1]
    assert told(50, "1.1") == []
    assert told(50, "0.7") == ["variance:gemini:m"]


def test_spending_is_unusual(tower: Tower) -> None:
    """Three times the usual hour, once a day of books and a dollar are there; or what the operator set."""

    def told(hour: str, before: str, days: str, **given: Any) -> list[str]:
        tower.settings["watch"] = Watch(webhook_url=HOOK, **given)
        tower.gauges.books = Spent(last_hour=Decimal(hour), before=Decimal(before), days=Decimal(days))
        tower.watch_money()
        return tower.gauges.keys

    assert told("50", "24", "0.9") == []
    assert told("2.9", "24", "1") == []
    assert told("3", "24", "1") == ["spend"]
    assert told("0.8", "0.1", "7") == []
    assert told("5", "2400", "1", spend_per_hour=Decimal(5)) == ["spend"]


def test_what_another_round_raises_meanwhile_stays(tower: Tower, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rounds overlap and a budget was set in between: the one that does not know it yet clears no alert of it."""
    tower.budget("6")

    def late(*, at: Any) -> list[Budget]:
        monkeypatch.undo()
        tower.watch()
        return []

    monkeypatch.setattr(tower.budgets, "list", late)
    tower.watch()
    tower.watch()
    assert (tower.gauges.keys, len(tower.hook.texts)) == (["budget:all:day:2026-11-21:50"], 1)


def test_the_two_watches_leave_each_other_alone(tower: Tower) -> None:
    """Neither clears what the other judges."""
    tower.budget("6")
    tower.shops["nanobanana"].left = Decimal(1)
    tower.watch()
    tower.watch_money()
    tower.watch()
    assert tower.gauges.keys == ["budget:all:day:2026-11-21:50", "credit:nanobanana"]


@pytest.mark.parametrize("answer", [500, 302, LostAnswer("reset")])
def test_the_webhook_is_told_until_it_takes_it(tower: Tower, answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What it did not take is told with the next round, once; its address is in no log."""
    tower.budget("9")
    tower.hook.answers = [answer]
    with caplog.at_level(logging.INFO):
        tower.watch()
        assert [one.told_at for one in tower.gauges.list()] == [None, None]
        tower.clock.advance(30)
        tower.watch()
        tower.watch()
    assert [one.told_at for one in tower.gauges.list()] == [NOW + timedelta(seconds=30)] * 2
    assert tower.hook.texts[-1].count("\n") == 1
    assert len(tower.hook.texts) == (1 if isinstance(answer, TransportError) else 2)
    assert [record.levelno for record in caplog.records].count(logging.WARNING) == 3
    assert "secret" not in caplog.text


def test_without_a_webhook_the_log_is_told(tower: Tower, caplog: pytest.LogCaptureFixture) -> None:
    """A warning per alert, and nothing waits for an address."""
    tower.settings["watch"] = Watch()
    tower.budget("5")
    tower.watch()
    assert [one.told_at for one in tower.gauges.list()] == [NOW]
    assert (tower.hook.texts, "50 % reached" in caplog.text) == ([], True)


def test_two_watches_at_once_raise_once(tower: Tower, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever comes second finds the row: neither log nor webhook hear of it twice."""
    tower.budget("5")
    tower.watch()
    (row,) = tower.gauges.list()
    assert not tower.gauges.raise_alert(replace(row, told_at=None))
    tower.watch()
    assert len(tower.hook.texts) == 1
    assert caplog.text.count("50 % reached") == 1


def test_an_empty_budget_is_used_up(tower: Tower) -> None:
    """A limit of nothing is reached, and divides nothing by zero."""
    tower.budget("0", amount=Decimal(0))
    tower.watch()
    assert len(tower.gauges.keys) == 3
