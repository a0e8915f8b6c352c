"""`GET /metrics`: for services alone, as Prometheus reads it, and no more often collected than worth it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from imagegen import alerts
from imagegen.api.exposition import FAMILIES, LIFE, Scrapes
from imagegen.errors import PartUnavailable
from imagegen.ports_metrics import Sample
from imagegen.testing.breaker import MemoryBreaker
from tests.admission_parts import World
from tests.door import Door, served

FOX = {"prompt": "a fox", "provider": "nanobanana", "width": 320, "height": 180}
DOCS = Path(__file__).parents[2] / "docs" / "operations.md"
AWAY = PartUnavailable("PostgreSQL cannot be used: no route to db.internal", {"part": "PostgreSQL"})


class Counted:
    """The port, and how often it is asked. `away`: until it is put back."""

    def __init__(self, part: Any) -> None:
        self.part, self.asked, self.away = part, 0, False

    def figures(self, *, at: datetime) -> Sequence[Sample]:
        self.asked += 1
        if self.away:
            raise AWAY
        found: Sequence[Sample] = self.part.figures(at=at)
        return found

    def balance(self, *told: Any, **more: Any) -> None:
        self.part.balance(*told, **more)


@pytest.fixture
def world() -> World:
    """Services in memory whose metrics are counted."""
    world = World()
    world.settings["breaker"] = MemoryBreaker(world.clock)
    world.settings["metrics"] = Counted(world.services.metrics)
    return world


@pytest.fixture
def door(world: World) -> Iterator[Door]:
    """The door before that world, for a service."""
    services = world.services
    with served(services) as door:
        yield door.as_("watch", service=True)


def page(door: Door) -> dict[str, dict[str, float]]:
    """The page as Prometheus reads it: values by a sample's labels, by its name."""
    reply = door.get("/metrics")
    assert reply.status_code == 200, reply.text
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(reply.text):
        for one in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(one.labels.items()))
            assert labels not in found.setdefault(one.name, {})
            found[one.name][labels] = one.value
    return found


def test_an_empty_system_is_told_in_the_text_format(door: Door) -> None:
    """Prometheus' own parser takes it: every metric has its type and help; what is watched for a rise begins at 0."""
    reply = door.get("/metrics")
    assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert reply.headers["Cache-Control"] == "no-store"
    families = {one.name: one for one in text_string_to_metric_families(reply.text)}
    told = {f"{one.name}_total" if one.type == "counter" else one.name: one for one in families.values()}
    assert set(told) == {one.name for one in FAMILIES.values()}
    assert all(told[one.name].type == ("counter" if one.counts else "gauge") for one in FAMILIES.values())
    assert all(told[one.name].documentation == one.help for one in FAMILIES.values())
    found = page(door)
    for name in ("imagegen_alerts_total", "imagegen_alert_active"):
        assert found[name] == {f"kind={kind}": 0 for kind in alerts.OFTEN | alerts.SELDOM}
    assert found["imagegen_jobs"]["emulated=true,status=queued"] == 0
    assert found["imagegen_oldest_queued_seconds"] == {"emulated=true": 0}


def test_only_services_read_them(door: Door) -> None:
    """401 without a token, 403 for an owner, as problem documents."""
    nobody, owner = Door(door.services, door.client).get("/metrics"), door.as_("ada").get("/metrics")
    assert (nobody.status_code, nobody.json()["code"]) == (401, "UNAUTHENTICATED")
    assert (owner.status_code, owner.json()["code"]) == (403, "FORBIDDEN")
    assert {one.headers["Content-Type"] for one in (nobody, owner)} == {"application/problem+json"}


def test_what_there_is_is_told(door: Door) -> None:
    """Jobs, alerts, circuits, balances, each under its name and labels."""
    door.post("/api/images/generate", {**FOX, "owner": "ada"})
    shop: Any = door.services.providers["nanobanana"]
    shop.left = Decimal(870)
    alerts.watch_money(door.services)
    door.services.breaker.open("gemini", "submit")
    found = page(door)
    assert found["imagegen_jobs"]["emulated=true,status=queued"] == 1
    circuit = found["imagegen_breaker_state"]
    assert {state: circuit[f"operation=submit,provider=gemini,state={state}"] for state in ("open", "closed")} == {
        "open": 1, "closed": 0,
    }  # fmt: skip
    assert circuit["operation=poll,provider=nanobanana,state=closed"] == 1
    assert found["imagegen_provider_credits"] == {"emulated=true,provider=nanobanana": 870}


def test_an_alert_that_crosses_is_counted(door: Door, world: World) -> None:
    """Raised: one more, and it stands; cleared: it stands no more, and the count stays."""
    budgets = door.services.budgets
    now = world.clock.now()
    budgets.set("all", "total", Decimal("0.000001"), False, at=now)
    door.post("/api/images/generate", {**FOX, "owner": "ada"})
    alerts.watch(door.services)
    found = page(door)
    crossed = found["imagegen_alerts_total"]["kind=budget"]
    assert (crossed, found["imagegen_alert_active"]["kind=budget"]) == (3, 3)
    budgets.remove("all")
    alerts.watch(door.services)
    world.clock.advance(LIFE)
    found = page(door)
    assert (found["imagegen_alerts_total"]["kind=budget"], found["imagegen_alert_active"]["kind=budget"]) == (3, 0)


def test_budgets_are_told_by_the_kind_of_their_scope(door: Door, world: World) -> None:
    """Together, and the fullest of them; no owner and no project is named anywhere on the page."""
    now = world.clock.now()
    for scope, amount in (("owner:ada", "1"), ("owner:bob", "3"), ("project:secretfilm", "2"), ("all", "8")):
        door.services.budgets.set(scope, "total", Decimal(amount), True, at=now)
    (job,) = [door.post("/api/images/generate", {**FOX, "owner": "ada", "projectId": "secretfilm"}).json()]
    price = job["cost"]["estimated"]
    found = page(door)
    owners = "emulated=true,hard=true,period=total,scope=owner"
    assert found["imagegen_budgets"][owners] == 2
    assert found["imagegen_budget_limit_dollars"][owners] == 4
    assert found["imagegen_budget_committed_dollars"][owners] == pytest.approx(price)
    assert found["imagegen_budget_fullest_ratio"][owners] == pytest.approx(price)
    assert found["imagegen_budget_limit_dollars"][owners.replace("owner", "all")] == 8
    text = door.get("/metrics").text
    assert not [name for name in ("ada", "bob", "secretfilm") if f'"{name}' in text or f":{name}" in text]


def test_it_is_collected_once_for_all_who_ask_at_a_time(door: Door, world: World) -> None:
    """Within three seconds everybody is told the same page; then it is made anew."""
    counted: Any = door.services.metrics
    with ThreadPoolExecutor(8) as pool:
        pages = set(pool.map(lambda _: door.get("/metrics").text, range(24)))
    assert (len(pages), counted.asked) == (1, 1)
    world.clock.advance(LIFE)
    door.get("/metrics")
    assert counted.asked == 2


def test_a_database_that_is_away_is_503_and_nothing_else(door: Door, world: World) -> None:
    """A problem with Retry-After and no address of ours in it, asked for once in three seconds; never half a page, nor
    an old one."""
    counted: Any = door.services.metrics
    assert door.get("/metrics").status_code == 200
    counted.away = True
    world.clock.advance(LIFE)
    for _ in range(3):
        reply = door.get("/metrics")
        assert (reply.status_code, reply.json()["code"]) == (503, "PART_UNAVAILABLE")
        assert reply.headers["Retry-After"]
        assert "imagegen_" not in reply.text
    assert counted.asked == 2
    counted.away = False
    assert door.get("/metrics").status_code == 503
    world.clock.advance(LIFE)
    assert door.get("/metrics").status_code == 200


def test_budgets_that_cannot_be_read_are_no_half_page(door: Door, world: World) -> None:
    """Whichever part of the figures is missing, there are none."""

    class Gone:
        def list(self, **_: Any) -> Any:
            raise AWAY

    scrapes = Scrapes(lambda: replace(door.services, budgets=Gone()))  # type: ignore[arg-type]
    with pytest.raises(PartUnavailable):
        scrapes.page()


def test_a_fault_does_not_lock_the_door(world: World) -> None:
    """An error that nobody foresaw passes, and the next scrape collects again."""
    answers: list[Any] = [RuntimeError("a fault"), world.services]

    def services() -> Any:
        found = answers[0]
        if isinstance(found, RuntimeError):
            answers.pop(0)
            raise found
        return found

    scrapes = Scrapes(services)
    with pytest.raises(RuntimeError):
        scrapes.page()
    done = threading.Event()
    thread = threading.Thread(target=lambda: (scrapes.page(), done.set()))
    thread.start()
    thread.join(30)
    assert done.is_set()


def test_every_metric_is_documented() -> None:
    """docs/operations.md names each of them with each of its labels, and none that does not exist."""
    section = DOCS.read_text().partition("\n## Metrics\n")[2].partition("\n## ")[0]
    rows = {cells[1].strip(): cells[2] for line in section.splitlines() if len(cells := line.split("|")) > 3}
    for family in FAMILIES.values():
        assert f"`{family.name}`" in rows, family.name
        for label in family.labels:
            assert f"`{label}`" in rows[f"`{family.name}`"], (family.name, label)
    told = {name.strip("`") for name in rows if name.startswith("`imagegen_")}
    assert told == {family.name for family in FAMILIES.values()}
