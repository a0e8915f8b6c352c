"""Erasing on a real PostgreSQL: races with those who are served, crash points, users' reports, and the doctor."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import text

from imagegen import erasing, layout, policies
from imagegen.contracts import Style
from imagegen.doctor.examination import clean, examine
from imagegen.jobs import Job
from imagegen.ports_erasures import Scope
from imagegen.records import CostFilter
from imagegen.settings import Settings
from imagegen.states import MoveName, Stage, Status
from storage.books import PostgresBooks
from storage.costs import PostgresCosts
from storage.engine import Database
from storage.erasing import PostgresErasures
from storage.styles import PostgresStyles
from tests.jobs_kit import PostgresStore, accepted, admit, at, moved, step
from tests.pipeline_parts import World

pytest_plugins = ["tests.stores"]
REPORT = """
SELECT job_type, status, count(*), avg(cost_credits), sum(cost_credits), avg(completed_at - created_at)
FROM pictures.image_generation_jobs GROUP BY job_type, status ORDER BY 1, 2"""
RACES = 20
HALF_AN_HOUR = timedelta(minutes=30)


@pytest.fixture
def world(postgres: PostgresStore) -> World:
    world = World(postgres)
    database = postgres.database
    world.services = replace(world.services, books=PostgresBooks(database), styles=PostgresStyles(database))
    return world


def drawn(world: World, **given: Any) -> Job:
    job = world.job("gemini", **{"deadline_at": world.clock.now() + HALF_AN_HOUR, **given})
    world.chain(job)
    (ended,) = world.live(job)
    assert ended.status is Status.COMPLETED
    return ended


def rows(world: World, statement: str) -> list[tuple[Any, ...]]:
    database: Database = world.store.database  # type: ignore[attr-defined]
    with database.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def test_reports_stay_as_they_were(world: World) -> None:
    """Users' own reports, costs by every column that stays, and budgets are the same before and after."""
    budgets = world.store.budgets(emulated=True)
    budgets.set("owner:ada", "total", Decimal(9), True, at=world.clock.now())
    for _ in range(3):
        drawn(world, project_id="p1", scene_id="s1")
    costs = PostgresCosts(world.store.database)  # type: ignore[attr-defined]
    asked = ("job_type", "project", "scene", "owner", "provider", "model", "day")
    before = [rows(world, REPORT), *(_costs(costs, by) for by in asked), budgets.list(at=world.clock.now())]
    assert erasing.erase_owner("ada", world.services).jobs == 3
    after = [rows(world, REPORT), *(_costs(costs, by) for by in asked), budgets.list(at=world.clock.now())]
    assert after == before


def _costs(costs: PostgresCosts, by: str) -> Any:
    return costs.by(by, CostFilter(emulated=True))


def test_the_doctor_understands_tombstones(world: World, tmp_path: Path) -> None:
    """Clean before, while originals wait for their grace, and after; what an erasure left behind is found."""
    settings = Settings.load({}, tmp_path)
    jobs = [drawn(world) for _ in range(3)]
    key = layout.picture_keys(jobs[0]).picture
    picture = world.files.get(key)
    world.store.erasures.request(Scope(job_id=jobs[1].id), at=world.clock.now(), until=world.clock.now())
    world.files.delete(layout.picture_keys(jobs[1]).picture)
    assert clean(examine(world.services, settings, grace=timedelta(0)))
    erasing.erase_owner("ada", world.services)
    assert clean(examine(world.services, settings, grace=timedelta(0)))
    world.clock.advance(2 * 3600)
    erasing.sweep(world.services)
    assert world.files.keys == []
    assert clean(examine(world.services, settings, grace=timedelta(0)))
    world.files.put(key, picture, "image/png")
    world.files.put(layout.attempt_key(jobs[0].attempt_id), b"x", "image/png")  # type: ignore[arg-type]
    found = {(one.kind, one.id) for one in examine(world.services, settings, grace=timedelta(0)) if one.repair}
    assert found == {
        ("published-without-picture", key), ("orphan-object", layout.attempt_key(jobs[0].attempt_id)),  # type: ignore[arg-type]
    }  # fmt: skip


def test_an_owners_styles_go_everybodys_stay(world: World) -> None:
    """The owner's own styles are deleted and their references looked at; shared ones and other owners' are not."""
    styles, now = world.services.styles, world.clock.now()
    style = Style(name="Noir", references=[f"input:{'a' * 64}"])
    for owner in ("ada", "bob", None):
        styles.put("noir", style, at=now, owner=owner)
    drawn(world)
    assert erasing.stake_of(Scope(owner="ada"), world.services).styles == 1
    assert erasing.erase_owner("ada", world.services).stake.styles == 1
    assert erasing.stake_of(Scope(owner="ada"), world.services).styles == 0
    assert [name for name, _ in styles.list(owner="bob")] == ["noir"]
    (found,) = [
        one for one in world.store.erasures.discards(at=now + timedelta(hours=3), limit=9) if "a" * 64 in one.key
    ]
    assert found.referred


def test_two_sweeps_share_the_work(world: World) -> None:
    """Erased at once by several processes: each job is cleared by exactly one of them."""
    jobs = [drawn(world) for _ in range(12)]
    world.store.erasures.request(Scope(owner="ada"), at=world.clock.now(), until=world.clock.now())
    with ThreadPoolExecutor(4) as pool:
        done = sum(pool.map(lambda _: erasing.sweep(world.services), range(4)))
    assert done == len(jobs)
    assert all(world.now(job).erased_at for job in jobs)


def test_an_error_between_two_statements_leaves_all_of_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clearing is one transaction: struck in the middle, nothing of it is written, and the next round does it all."""
    job = drawn(world)
    plain = PostgresErasures._asked

    def struck(self: PostgresErasures, sql: str) -> Any:
        if "imagegen" not in sql and "UPDATE {batches}" in sql:
            raise KeyboardInterrupt
        return plain(self, sql)

    with monkeypatch.context() as patch:
        patch.setattr(PostgresErasures, "_asked", struck)
        with pytest.raises(KeyboardInterrupt):
            erasing.erase_job(job.id, world.services)
    found = world.now(job)
    assert (found.erased_at, found.blob_sha256, found.request) == (None, job.blob_sha256, job.request)
    world.clock.advance(policies.ERASE_AGAIN.total_seconds())
    assert erasing.sweep(world.services) == 1


class Meeting:
    """Erasures that meet somebody before the rows are cleared."""

    def __init__(self, part: Any, barrier: threading.Barrier | None) -> None:
        self._part, self._barrier = part, barrier

    def __getattr__(self, name: str) -> Any:
        if name == "erase" and self._barrier is not None:
            self._barrier.wait()
        return getattr(self._part, name)


class Served(World):
    """A worker of its own over the same rows and files."""

    def __init__(self, other: World) -> None:
        super().__init__(other.store)
        self.services = replace(self.services, blobs=other.services.blobs, clock=other.clock)


def keeps_its_picture(world: World, served: Job) -> None:
    """Published picture and original are there, and still are when the grace is over."""
    assert served.status is Status.COMPLETED
    for _ in range(2):
        assert world.files.head(layout.picture_keys(served).picture) is not None
        assert world.files.head(layout.blob_key(str(served.blob_sha256))) is not None
        world.clock.advance(2 * 3600)
        erasing.discard(world.services)


@pytest.mark.parametrize("moment", ["before the claim", "before the hit", "after the hit"])
def test_a_hit_keeps_its_picture_whenever_its_buyer_is_erased(world: World, moment: str) -> None:
    """Erased before the claim, the picture is bought anew; once the claim saw it, the hit completes with it."""
    bought = drawn(world, fingerprint="shared")
    wants = world.job("gemini", owner="bob", fingerprint="shared")

    def erase() -> None:
        erasing.erase_job(bought.id, world.services)
        erasing.discard(world.services)

    if moment == "before the claim":
        erase()
    else:
        (world.jobs.before if moment == "before the hit" else world.jobs.after)[MoveName.REUSE] = erase
    world.chain(wants)
    (served,) = world.live(wants)
    assert world.now(bought).erased_at is not None
    assert served.cache_hit == (moment != "before the claim")
    keeps_its_picture(world, served)
    world.closes()


def test_serving_and_erasing_at_once(world: World) -> None:
    """Raced against the erasure of the job that bought it, a hit completes with the picture, or buys its own."""
    for turn in range(RACES):
        bought = drawn(world, fingerprint=f"race-{turn}")
        later = world.clock.now() + HALF_AN_HOUR
        wants = world.job("gemini", owner="bob", fingerprint=f"race-{turn}", deadline_at=later)
        worker, start = Served(world), threading.Barrier(2)

        def serve(worker: World = worker, wants: Job = wants, start: threading.Barrier = start) -> None:
            start.wait()
            worker.chain(wants)

        # In every other turn the worker begins when the rows are about to be cleared.
        under_way = Meeting(world.services.erasures, start if turn % 2 else None)
        services = replace(world.services, erasures=cast(Any, under_way))
        with ThreadPoolExecutor(1) as pool:
            serving = pool.submit(serve)
            if not turn % 2:
                start.wait()
            erasing.erase_job(bought.id, services)
            erasing.discard(world.services)
            serving.result()
        (served,) = world.live(wants)
        assert world.now(bought).erased_at is not None
        keeps_its_picture(world, served)


def test_continuing_and_erasing_at_once(postgres: PostgresStore) -> None:
    """The row's lock decides: what was continued first is erased at its end, what was marked first is not continued."""
    store = postgres
    for _ in range(RACES):
        failed = moved(store, step(accepted(store, admit(store)), MoveName.FAIL, 1))
        again = step(failed, MoveName.RETRY, 2, stage=Stage.POLL, target=Status.GENERATING)
        with ThreadPoolExecutor(2) as pool:
            marked = pool.submit(store.erasures.request, Scope(job_id=failed.id), at=at(1), until=at(1))
            continued = pool.submit(store.jobs.apply, again)
            marked.result()
        goes_on = continued.result() is not None
        assert store.jobs.get(failed.id).terminal != goes_on
        assert store.jobs.get(failed.id).erase_at is not None
        assert store.erasures.erase([failed.id], at=at(3), grace=timedelta(0)) == ([] if goes_on else [failed.id])


@pytest.fixture(autouse=True)
def _own_tables(postgres: PostgresStore) -> Iterator[None]:
    """Styles are nobody else's business."""
    yield
    postgres.database.run(text("DELETE FROM pictures.imagegen_styles"))
