"""Both HTTP clients against the served door on PostgreSQL: what is answered, what is lost, what is refused."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from imagegen.api.app import create_app
from imagegen.api.setup import Setup
from imagegen.api.tokens import mint
from imagegen.client import (
    AsyncClient,
    Batch,
    BudgetExceeded,
    Client,
    Conflict,
    Forbidden,
    IdempotencyConflict,
    InvalidRequest,
    Job,
    NotFound,
    PartUnavailable,
    PurchaseNeeded,
    StillRunning,
    Unauthenticated,
)
from imagegen.errors import Temporary
from imagegen.ids import batch_id_for, job_id_for, member_id_for
from imagegen.providers.base import Rejected
from imagegen.records import JobFilter
from tests.door import RULES, SECRET
from tests.drawings import a_file
from tests.jobs_kit import PostgresStore
from tests.listening import Faulty, Listening
from tests.pipeline_parts import World
from tests.twin import KINDS, Twin

pytest_plugins = ["tests.stores"]
SMALL: dict[str, Any] = {"provider": "gemini", "width": 320, "height": 180}
CREW = ["Mara", {"name": "Tom"}]


@dataclass
class Place:
    """A served door, what befalls its answers, and clients for it."""

    world: World
    faulty: Faulty
    url: str
    port: int
    kind: str

    def token(self, owner: str = "ada", **told: Any) -> str:
        return mint(SECRET, owner, now=self.world.clock.now(), ttl=timedelta(hours=1), **told)

    def client(self, owner: str = "ada", url: str | None = None, **told: Any) -> Twin:
        return Twin(self.kind, url or self.url, self.token(owner), **told)

    def run(self, *jobs: Job) -> None:
        """Workers do these jobs."""
        for job in jobs:
            self.world.chain(self.world.store.jobs.get(job.id))

    def jobs(self) -> int:
        """How many there are."""
        found, _ = self.world.store.jobs.list(JobFilter(), limit=100, cursor=None)
        return len(found)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, postgres: PostgresStore) -> Iterator[Place]:
    """The door, for each kind of client."""
    world = World(postgres)
    faulty = Faulty(create_app(lambda: world.services, Setup(tokens=RULES)))
    listening = Listening(faulty)
    with listening as url:
        yield Place(world, faulty, url, listening.port, request.param)


@pytest.fixture
def client(place: Place) -> Iterator[Any]:
    """A client of ada's."""
    with place.client() as client:
        yield client


def meanwhile(work: Callable[[], Any], after: float = 0.2) -> threading.Thread:
    thread = threading.Timer(after, work)
    thread.start()
    return thread


def test_a_picture_from_order_to_end(place: Place, client: Any) -> None:
    """Ordered, found, waited for and listed: typed documents of the one committed job."""
    job = client.generate("a fox", **SMALL)
    assert (type(job), job.status, job.owner, client.get(job)) == (Job, "queued", "ada", job)
    worker = meanwhile(lambda: place.run(job))
    done = client.wait(str(job.id), timeout=30)
    worker.join()
    assert (done.ok, done.width, done.cost.actual) == (True, 320, 0.04)
    assert list(client.list()) == [done] == [client.get(job.id)]
    assert place.world.studio.charged == 1


def test_a_batch_from_order_to_end(place: Place, client: Any) -> None:
    """Accepted as a whole, waited for until it is closed, found by its bare id, cancelled when it is over: conflict."""
    batch = client.batch(CREW, project_id="p", **SMALL)
    assert (type(batch), [job.character for job in batch.jobs]) == (Batch, ["Mara", "Tom"])
    worker = meanwhile(lambda: place.run(*batch.jobs))
    done = client.wait(batch, timeout=30)
    worker.join()
    assert (done.ok, done.status, [job.ok for job in done.jobs]) == (True, "completed", [True, True])
    assert client.get(str(batch.id)) == done
    assert list(client.batches(project="p", status="completed")) == [done]
    with pytest.raises(Conflict):
        client.cancel(batch)


def test_a_key_names_the_job_that_both_sides_derive(client: Any) -> None:
    """The id follows from owner and key, as in the Celery client; sent again it is the same; another body conflicts."""
    first = client.generate("a fox", idempotency_key="Füchse 1", **SMALL)
    assert first.id == client.generate("a fox", idempotency_key="Füchse 1", **SMALL).id == job_id_for("ada", "Füchse 1")
    batch = client.batch(CREW, idempotency_key="k")
    assert batch.id == batch_id_for("ada", "k")
    assert [job.id for job in batch.jobs] == [member_id_for(batch.id, at) for at in range(2)]
    with pytest.raises(IdempotencyConflict):
        client.generate("a cat", idempotency_key="Füchse 1", **SMALL)


def test_a_lost_answer_costs_no_second_job(place: Place, client: Any) -> None:
    """However often the connection ends after the commit: one job, and its own document is what comes back."""
    place.faulty.faults = ["cut", 503, "lost"]
    job = client.generate("a fox", **SMALL)
    assert (place.jobs(), len(place.faulty.seen)) == (1, 4)
    assert client.get(job) == job
    place.faulty.faults = ["cut"]
    batch = client.batch(CREW, **SMALL)
    assert (place.jobs(), client.get(batch)) == (3, batch)


def test_a_lost_answer_buys_nothing_twice(place: Place, client: Any) -> None:
    """`retry(buy=True)` cut before or after its commit is sent again, and its run began once, though it has failed."""
    spoilt = Rejected(error=Temporary("lost", {"retryable": False, "billed": "yes"}))
    place.world.studio.submissions = [spoilt] * 3
    job, other = (client.generate(prompt, **SMALL) for prompt in ("a fox", "a cat"))
    place.run(job, other)
    with pytest.raises(PurchaseNeeded) as caught:
        client.retry(job)
    assert (float(caught.value.details["dollars"]) > 0, caught.value.details["jobId"]) == (True, str(job.id))
    place.faulty.seen.clear()
    place.faulty.faults = ["cut", 503]
    assert client.retry(job, buy=True, idempotency_key="Füchse 2").run == 2
    place.run(job)
    again = client.retry(job, buy=True, idempotency_key="Füchse 2")
    assert (again.run, again.status) == (2, "failed")
    with pytest.raises(IdempotencyConflict):
        client.retry(job, idempotency_key="Füchse 2")
    place.faulty.faults = ["lost", "cut"]
    assert client.retry(str(other.id), buy=True).run == 2
    assert [method for method, _ in place.faulty.seen] == ["POST"] * 8
    with place.client(patience=0.5) as hasty:
        place.faulty.faults = [503] * 100
        with pytest.raises(PartUnavailable, match="look at it before you buy again") as unsure:
            hasty.retry(job, buy=True)
    place.faulty.faults = []
    assert (unsure.value.billed, client.get(job).run) == ("unknown", 2)


def test_refusals_have_their_own_classes(place: Place, client: Any) -> None:
    """No token that holds, another owner's job, a wrong model, another's owner name, no room in a budget."""
    job = client.generate("a fox", **SMALL)
    with place.client("bob") as bob:
        for ask in (bob.get, bob.cancel, bob.retry, lambda one: bob.wait(one, timeout=5)):
            with pytest.raises(NotFound):
                ask(job.id)
        assert list(bob.list()) == []
    with Twin(place.kind, place.url, "no.jwt.this") as nobody, pytest.raises(Unauthenticated):
        nobody.generate("a fox")
    with pytest.raises(InvalidRequest) as caught:
        client.generate("a fox", model="dall-e")
    assert caught.value.problems[0]["field"] == "model"
    with pytest.raises(Forbidden):
        client.generate("a fox", owner="bob")
    place.world.services.budgets.set("owner:ada", "total", Decimal("0.01"), True, at=place.world.clock.now())
    with pytest.raises(BudgetExceeded) as dear:
        client.generate("another fox", **SMALL)
    assert (dear.value.billed, dear.value.details["scope"]) == ("no", "owner:ada")
    assert place.jobs() == 1


def test_bad_input_does_not_leave(place: Place, client: Any) -> None:
    """It is refused before a connection is opened."""
    for wrong in ({"width": 64}, {"reference_images": ["./fox.png"]}, {"colour": "red"}):
        with pytest.raises(InvalidRequest):
            client.generate("a fox", **wrong)
    assert place.faulty.seen == []


def test_cancel_and_going_on(place: Place, client: Any) -> None:
    """Cancelled at no cost, again is fine; a failure that cost nothing goes on; a batch's members together."""
    job = client.generate("a fox", **SMALL)
    assert [client.cancel(one).status for one in (job, str(job.id))] == ["cancelled"] * 2
    place.world.studio.submissions = [Rejected(error=Temporary("busy", {"retryable": False}))]
    other = client.generate("a cat", **SMALL)
    place.run(other)
    assert client.wait(other).status == "failed"
    again = client.retry(other)
    assert (again.status, again.run) == ("queued", 2)
    batch = client.batch(CREW, **SMALL)
    assert [job.status for job in client.cancel(batch.id).jobs] == ["cancelled"] * 2


def test_lists_are_read_page_by_page(place: Place, client: Any) -> None:
    """Each job once, the newest first, in pages that are asked for when they are reached; filters narrow them."""
    with ThreadPoolExecutor(4) as pool, Client(place.url, place.token) as shared:
        made = list(pool.map(lambda at: shared.generate(f"fox {at}", project_id=f"p{at % 2}"), range(60)))
    place.faulty.seen.clear()
    found = list(client.list())
    assert sorted(job.id for job in found) == sorted(job.id for job in made)
    assert len(place.faulty.seen) == 2
    assert len(list(client.list(project="p1", job_type="master_asset", status="queued"))) == 30
    assert list(client.list(since=place.world.clock.now() + timedelta(days=1))) == []
    with pytest.raises(InvalidRequest):
        list(client.list(status="lost"))


def test_what_it_would_cost_and_what_it_cost(place: Place, client: Any) -> None:
    """The dry run and the report, typed; a group that does not exist is refused."""
    told = client.estimate("a fox", **SMALL)
    assert (told.dry_run, told.provider, told.width, told.budget.admitted) == (True, "gemini", 320, True)
    assert (0 < told.cost.high < 1, place.jobs()) == (True, 0)
    place.run(client.generate("a fox", project_id="p", **SMALL))
    report = client.costs("project", emulated=True)
    assert [(line.key, line.jobs, line.actual) for line in report.items] == [("p", 1, 0.04)]
    assert (report.total.actual, report.currency, report.emulated) == (0.04, "USD", True)
    with pytest.raises(InvalidRequest):
        client.costs("colour")


def test_a_picture_is_stored_once_and_named(client: Any, tmp_path: Path) -> None:
    """Bytes or a file's path become one `input:SHA256`, which a request takes; what is no picture is refused."""
    data = a_file("PNG")
    (tmp_path / "fox.png").write_bytes(data)
    stored = client.upload_input(data)
    assert stored.startswith("input:")
    assert {stored, client.upload_input(tmp_path / "fox.png"), client.upload_input(str(tmp_path / "fox.png"))} == {
        stored
    }
    assert client.generate("the same hat", reference_images=[stored], **SMALL).status == "queued"
    with pytest.raises(InvalidRequest):
        client.upload_input(b"no picture")


def test_waiting_survives_a_restart_of_the_door(place: Place, client: Any) -> None:
    """The door ends while a caller waits, comes back on its port, and the caller gets the picture."""
    job = client.generate("a fox", **SMALL)
    listening = Listening(create_app(lambda: place.world.services, Setup(tokens=RULES)))
    with place.client(url=f"http://127.0.0.1:{listening.port}") as waiting, ThreadPoolExecutor(1) as pool:
        with listening:
            waits = pool.submit(waiting.wait, job, 60)
            time.sleep(0.5)
            assert not waits.done()
        time.sleep(0.3)
        place.run(job)
        with Listening(create_app(lambda: place.world.services, Setup(tokens=RULES)), listening.port):
            assert waits.result(30).ok


def test_waiting_ends_at_its_timeout(client: Any) -> None:
    """`StillRunning` names the job, when the time is over and not much later."""
    job = client.generate("a fox", **SMALL)
    began = time.monotonic()
    with pytest.raises(StillRunning) as caught:
        client.wait(job, timeout=1.3)
    assert caught.value.id == job.id
    assert 1.2 < time.monotonic() - began < 10


@pytest.mark.parametrize("kind", KINDS)
def test_a_door_that_is_away_is_told_quickly(kind: str) -> None:
    """Nobody listens, or one who takes the connection says nothing: `PartUnavailable` when the patience is over."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        for port in (1, mute.getsockname()[1]):
            began = time.monotonic()
            with Twin(kind, f"http://127.0.0.1:{port}", "t", patience=1.0) as client, pytest.raises(PartUnavailable):
                client.generate("a fox")
            assert time.monotonic() - began < 8


async def at_once(place: Place) -> list[Job]:
    async with AsyncClient(place.url, place.token) as client:
        return await asyncio.gather(*(client.generate(f"fox {at}") for at in range(30)))


def test_threads_and_tasks_share_a_client(place: Place) -> None:
    """Thirty orders at once through one client are thirty jobs."""
    if place.kind == "async":
        made = asyncio.run(at_once(place))
    else:
        with Client(place.url, place.token) as client, ThreadPoolExecutor(15) as pool:
            made = list(pool.map(lambda at: client.generate(f"fox {at}"), range(30)))
    assert len({job.id for job in made}) == place.jobs() == 30
    assert {job.owner for job in made} == {"ada"}
