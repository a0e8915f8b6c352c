"""Estimates, cost reports and budgets over HTTP: what the command line says, to those whose money it is."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from imagegen import budgets, estimating
from imagegen.balances import LIFE
from imagegen.contracts import parse_request
from imagegen.costs import report
from imagegen.errors import Temporary
from imagegen.records import CostFilter
from tests.door import Door, served
from tests.pipeline_parts import World

pytest_plugins = ["tests.worlds"]
FOX = {"prompt": "a fox", "provider": "gemini", "width": 320, "height": 180}
ALL, OWN = {"scope": "all", "period": "total", "limit": 100}, {"scope": "owner:ada", "period": "month", "limit": 0.5}
ROUTE = "/api/images/budgets"


@pytest.fixture
def door(world: World) -> Iterator[Door]:
    """The door before a world, for ada."""
    with served(world.services) as door:
        yield door


@pytest.fixture
def service(door: Door) -> Door:
    """The same door for a service."""
    return door.as_("shop", service=True)


def drawn(world: World, door: Door, **fields: Any) -> dict[str, Any]:
    """A finished job of this caller."""
    job = door.post("/api/images/generate", {**FOX, **fields}).json()
    world.chain(world.store.jobs.get(UUID(job["jobId"])))
    found: dict[str, Any] = door.get(f"/api/images/jobs/{job['jobId']}").json()
    return found


def wrong(reply: Any, status: int = 422) -> list[str]:
    """The fields that a refusal names; each with its reason and remedy."""
    assert (reply.status_code, reply.headers["Content-Type"]) == (status, "application/problem+json")
    problems = reply.json()["problems"]
    assert all(one["reason"] and one["remedy"] for one in problems)
    return [one["field"] for one in problems]


def test_an_estimate_buys_and_writes_nothing(world: World, door: Door) -> None:
    """The same document as everywhere; no row, no blob, no hint, no paid call; a wrong field is named."""
    files = len(list(world.files.list("")))
    told = door.post("/api/images/estimate", FOX)
    expected = estimating.estimate(parse_request({**FOX, "owner": "ada"}), world.services, "http").json_document()
    assert (told.status_code, told.json()) == (200, expected)
    assert told.json()["cost"]["high"] > 0
    assert (world.studio.charged, world.heard.hints, len(list(world.files.list("")))) == (0, [], files)
    assert door.get("/api/images/jobs").json()["items"] == []
    assert wrong(door.post("/api/images/estimate", {**FOX, "seed": -1, "widht": 1})) == ["seed", "widht"]


def test_an_estimate_knows_the_cache(world: World, door: Door) -> None:
    """A picture that is there costs nothing, for another owner too."""
    drawn(world, door)
    told = door.as_("bob").post("/api/images/estimate", FOX).json()
    assert (told["cacheHit"], told["cost"]["high"]) == (True, 0)


def test_an_estimate_tells_of_budgets(door: Door, service: Door) -> None:
    """No room anywhere is `admitted: false`; an owner is shown its own budget, a service every one."""
    for budget in ({**ALL, "limit": 0.000001}, OWN):
        assert service.put(ROUTE, budget).status_code == 200
    told = door.post("/api/images/estimate", FOX).json()["budget"]
    assert (told["admitted"], [room["scope"] for room in told["budgets"]]) == (False, ["owner:ada"])
    told = service.post("/api/images/estimate", {**FOX, "owner": "ada"}).json()["budget"]
    assert (told["admitted"], [room["scope"] for room in told["budgets"]]) == (False, ["all", "owner:ada"])


def test_costs_are_those_of_the_command_line(world: World, door: Door, service: Door) -> None:
    """The same report; an owner has its own money in it, a service everybody's or one owner's."""
    bob = door.as_("bob")
    drawn(world, door, projectId="harbour")
    drawn(world, bob, prompt="a cat")
    reports = {
        whose: one.get(
            "/api/images/costs", by="project", emulated="true", **({"owner": "bob"} if whose == "bobs" else {})
        )
        for whose, one in {"adas": door, "bobs": service, "all": service}.items()
    }
    for whose, reply in reports.items():
        where = CostFilter(owner={"adas": "ada", "bobs": "bob", "all": None}[whose], emulated=True)
        rows = world.services.costs.by("project", where)
        assert (reply.status_code, reply.json()) == (200, report("project", rows, emulated=True))
    assert [line["key"] for line in reports["adas"].json()["items"]] == ["harbour"]
    assert reports["all"].json()["total"]["jobs"] == 2
    assert [line["key"] for line in door.get("/api/images/costs", by="owner", emulated="true").json()["items"]] == [
        "ada"
    ]


def test_costs_are_narrowed(world: World, door: Door) -> None:
    """By project and time; emulated money only where it is asked for; by a key of metadata; days by default."""
    drawn(world, door, projectId="harbour", metadata={"team": "sea"})
    costs = "/api/images/costs"
    assert door.get(costs).json()["items"] == []
    (line,) = door.get(costs, emulated="true", by="metadata.team", project="harbour").json()["items"]
    assert (line["key"], line["jobs"], line["hitRate"]) == ("sea", 1, 0.0)
    assert door.get(costs, emulated="true", project="none").json()["items"] == []
    assert door.get(costs, emulated="true", until="2000-01-01T00:00:00Z").json()["total"]["jobs"] == 0
    assert door.get(costs, emulated="true").json()["items"][0]["key"] == f"{world.clock.now():%Y-%m-%d}"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"by": "colour"}, "by"), ({"by": "metadata."}, "by"), ({"since": "5"}, "since"),
        ({"emulated": "1"}, "emulated"), ({"projekt": "a"}, "projekt"), ({"project": "\0"}, "project"),
    ],
)  # fmt: skip
def test_a_wrong_report_is_refused(door: Door, query: dict[str, str], field: str) -> None:
    """Field, reason and remedy of what cannot be reported."""
    assert wrong(door.get("/api/images/costs", **query)) == [field]


def test_a_service_sets_changes_and_removes_budgets(world: World, door: Door, service: Door) -> None:
    """Each answer is the document of the command line, with what is committed already."""
    job = drawn(world, door)
    for limit, hard in ((5, True), (0.25, False)):
        reply = service.put(ROUTE, {"scope": " owner: ada ", "period": "day", "limit": limit, "hard": hard})
        assert (reply.status_code, reply.json()) == (
            200,
            budgets.document(world.services.budgets.list(at=now(world))[0]),
        )
        assert (reply.json()["limit"], reply.json()["hard"]) == (limit, hard)
        assert reply.json()["committed"] == job["cost"]["actual"]
    service.put(ROUTE, {**OWN, "limit": "1.50"})
    items = service.get(ROUTE).json()["items"]
    assert [(one["scope"], one["period"], one["limit"]) for one in items] == [
        ("owner:ada", "day", 0.25), ("owner:ada", "month", 1.5),
    ]  # fmt: skip
    assert service.delete(ROUTE, scope="owner:ada", period="day").json() == {"scope": "owner:ada", "removed": 1}
    assert service.delete(ROUTE, scope="owner:ada").json() == {"scope": "owner:ada", "removed": 1}
    reply = service.delete(ROUTE, scope="owner:ada")
    assert (reply.status_code, reply.json()["code"]) == (404, "NOT_FOUND")


def now(world: World) -> Any:
    return world.services.clock.now()


def test_an_owner_reads_its_own_budget_and_sets_none(door: Door, service: Door) -> None:
    """Neither a shared scope nor another's is shown; setting and removing, even its own, is 403."""
    for budget in (ALL, OWN, {**OWN, "scope": "owner:bob"}, {**OWN, "scope": "project:default"}):
        service.put(ROUTE, budget)
    assert [one["scope"] for one in door.get(ROUTE).json()["items"]] == ["owner:ada"]
    assert [one["scope"] for one in service.get(ROUTE, owner="bob").json()["items"]] == ["owner:bob"]
    assert len(service.get(ROUTE).json()["items"]) == 4
    for reply in (door.put(ROUTE, OWN), door.delete(ROUTE, scope="owner:ada"), door.get(ROUTE, owner="bob")):
        assert (reply.status_code, reply.json()["code"], reply.json()["billed"]) == (403, "FORBIDDEN", "no")
    assert len(service.get(ROUTE).json()["items"]) == 4


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"scope": "everything"}, "scope"), ({"scope": "provider:dalle"}, "scope"), ({"scope": "owner: "}, "scope"),
        ({"scope": "owner:a\0"}, "scope"), ({"period": "week"}, "period"), ({"limit": 0}, "limit"),
        ({"limit": True}, "limit"), ({"limit": 0.0000001}, "limit"), ({"limit": 1e8}, "limit"),
        ({"limit": "much"}, "limit"), ({"hard": "yes"}, "hard"), ({"soft": True}, "soft"),
    ],
)  # fmt: skip
def test_a_wrong_budget_is_refused(service: Door, change: dict[str, Any], field: str) -> None:
    """Field, reason and remedy; nothing is set."""
    assert {name.split(".")[0] for name in wrong(service.put(ROUTE, {**OWN, **change}))} == {field}
    assert service.get(ROUTE).json()["items"] == []


def test_a_wrong_removal_is_refused(service: Door) -> None:
    """Without a scope, with an unknown one, or with a misspelt parameter nothing is removed."""
    service.put(ROUTE, OWN)
    for query, field in (({}, "scope"), ({"scope": "x"}, "scope"), ({"scope": "owner:ada", "perod": "day"}, "perod")):
        assert wrong(service.delete(ROUTE, **query)) == [field]
    assert len(service.get(ROUTE).json()["items"]) == 1


def test_a_budget_without_room_is_told(door: Door, service: Door) -> None:
    """402 with the figures of one's own budget; of a shared one, only that it has no room; a service is told all."""
    figures = {"limit", "committed", "remaining"}
    service.put(ROUTE, {**OWN, "limit": 0.000001})
    own = door.post("/api/images/generate", FOX)
    assert (own.status_code, own.json()["code"], own.json()["scope"]) == (402, "BUDGET_EXCEEDED", "owner:ada")
    assert figures <= own.json().keys()
    service.delete(ROUTE, scope="owner:ada")
    service.put(ROUTE, {**ALL, "limit": 0.000123})
    shared = door.post("/api/images/generate", FOX)
    assert (shared.status_code, shared.json()["scope"], shared.json()["period"]) == (402, "all", "total")
    assert not figures & shared.json().keys()
    assert "0.000123" not in shared.text
    assert figures <= service.post("/api/images/generate", FOX).json().keys()


def test_the_new_routes_are_described_with_examples(door: Door) -> None:
    """Their examples in the OpenAPI are taken as they stand."""
    paths = door.get("/openapi.json").json()["paths"]
    for path, method, caller in (
        ("/api/images/estimate", "post", door), (ROUTE, "put", door.as_("shop", service=True)),
    ):  # fmt: skip
        examples = paths[path][method]["requestBody"]["content"]["application/json"]["examples"]
        for example in examples.values():
            reply = caller.client.request(method, path, headers=caller.headers, json=example["value"])
            assert reply.status_code == 200, reply.text


def test_a_flood_of_estimates_asks_for_the_balance_once(
    world: World, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider is asked once in LIFE seconds, whether it answers or not, and then again."""
    asked: list[float] = []

    def credit() -> Decimal:
        asked.append(world.clock.monotonic())
        if len(asked) == 1:
            raise Temporary("busy")
        return Decimal(7)

    monkeypatch.setattr(world.studio, "credit", credit)
    quotas = [door.post("/api/images/estimate", FOX).json()["quota"] for _ in range(5)]
    assert (len(asked), {quota["verdict"] for quota in quotas}) == (1, {"unknown"})
    assert "busy" in quotas[0]["detail"]
    world.clock.advance(LIFE)
    callers = [door, door.as_("shop", service=True)] * 3
    quotas = [caller.post("/api/images/estimate", FOX).json()["quota"] for caller in callers]
    assert (len(asked), {quota["verdict"] for quota in quotas}) == (2, {"low"})
    # An account that all owners share: its figure would tell each what the others spend.
    assert [quota["credit"] for quota in quotas] == [None, 7.0] * 3
