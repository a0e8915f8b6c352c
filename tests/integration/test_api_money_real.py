"""Money and other owners' ids over HTTP, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest

from imagegen.costs import report
from imagegen.records import CostFilter
from tests.door import Door, served
from tests.jobs_kit import PostgresStore
from tests.jobs_races import counted
from tests.pipeline_parts import World

pytest_plugins = ["tests.stores"]
FOX = {"prompt": "a fox", "provider": "gemini", "width": 320, "height": 180}
ROUTE = "/api/images/budgets"
SETTERS, BUYERS = 4, 12


@pytest.fixture
def world(postgres: PostgresStore) -> World:
    """The jobs in PostgreSQL, the rest in memory."""
    return World(postgres)


@pytest.fixture
def door(world: World) -> Iterator[Door]:
    """The door before that world, for ada."""
    with served(world.services) as door:
        yield door


def test_budgets_set_at_once_count_every_job(door: Door) -> None:
    """While jobs are admitted, services set one budget at the same time: all are answered, one value stays, and what
    is committed is what the jobs have reserved."""
    service = door.as_("shop", service=True)
    budget = {"scope": "owner:ada", "period": "total"}

    def put(number: int) -> int:
        return int(service.put(ROUTE, {**budget, "limit": 50 + number}).status_code)

    def buy(number: int) -> int:
        return int(door.post("/api/images/generate", {**FOX, "seed": number}).status_code)

    with ThreadPoolExecutor(4) as pool:
        sets = [pool.submit(put, number) for number in range(SETTERS)]
        bought = [pool.submit(buy, number) for number in range(BUYERS)]
        assert [one.result() for one in sets] == [200] * SETTERS
        assert [one.result() for one in bought] == [202] * BUYERS
    (found,) = service.get(ROUTE).json()["items"]
    assert found["limit"] in {50 + number for number in range(SETTERS)}
    reserved = [job["cost"]["estimated"] for job in door.get("/api/images/jobs").json()["items"]]
    assert found["committed"] == pytest.approx(sum(reserved), abs=1e-9)
    assert found["remaining"] == pytest.approx(found["limit"] - sum(reserved), abs=1e-9)


def test_a_budget_is_never_exceeded_over_http(door: Door) -> None:
    """Of requests that compete for the last of a budget as many are accepted as it pays for; the others are 402."""
    price = door.post("/api/images/estimate", FOX).json()["cost"]["high"]
    service = door.as_("shop", service=True)
    limit = round(price * 3 + price / 2, 6)
    assert service.put(ROUTE, {"scope": "owner:ada", "period": "day", "limit": limit}).status_code == 200
    with ThreadPoolExecutor(4) as pool:
        bodies = [{**FOX, "seed": number} for number in range(BUYERS)]
        statuses = sorted(pool.map(lambda body: door.post("/api/images/generate", body).status_code, bodies))
    assert statuses == [202] * 3 + [402] * (BUYERS - 3)
    assert service.get(ROUTE).json()["items"][0]["committed"] <= limit


def test_an_owners_costs_are_its_own(world: World, door: Door) -> None:
    """Every group of the report is summed over the caller's jobs alone; a service's over all."""
    for owner, seeds in (("ada", (1, 2)), ("bob", (3,))):
        for seed in seeds:
            job = (
                door.as_(owner).post("/api/images/generate", {**FOX, "seed": seed, "metadata": {"team": owner}}).json()
            )
            world.chain(world.store.jobs.get(UUID(job["jobId"])))
    for group in ("job_type", "project", "owner", "provider", "model", "day", "batch", "metadata.team"):
        for caller, owner in ((door, "ada"), (door.as_("bob"), "bob"), (door.as_("shop", service=True), None)):
            told = caller.get("/api/images/costs", by=group, emulated="true").json()
            rows = world.services.costs.by(group, CostFilter(owner=owner, emulated=True))
            assert told == report(group, rows, emulated=True)
            assert told["total"]["jobs"] == {"ada": 2, "bob": 1, None: 3}[owner]


@pytest.mark.parametrize("kind", ["jobs", "batches"])
@pytest.mark.parametrize(
    ("method", "tail"), [("GET", ""), ("POST", "/cancel"), ("POST", "/retry")], ids=["show", "cancel", "retry"]
)
def test_anothers_id_is_asked_for_like_an_unknown_one(
    world: World, postgres: PostgresStore, door: Door, kind: str, method: str, tail: str
) -> None:
    """The same one statement, which reads no row, and the same answer but for the id: nothing tells the two apart."""
    made = {
        "jobs": door.post("/api/images/generate", FOX).json()["jobId"],
        "batches": door.post("/api/images/batches", {"characters": [{"name": "Mara"}]}).json()["batchId"],
    }
    bob, answers = door.as_("bob"), []
    for identity in (made[kind], str(uuid4())):
        with counted(postgres.database) as sent:
            reply = bob.client.request(method, f"/api/images/{kind}/{identity}{tail}", headers=bob.headers)
        headers = {name: value for name, value in reply.headers.items() if name != "date"}
        answers.append((reply.status_code, reply.text.replace(identity, "ID"), headers, sent))
    assert answers[0] == answers[1]
    assert (answers[0][0], len(answers[0][3])) == (404, 1)
