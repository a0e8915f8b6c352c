"""A dry run over PostgreSQL and a folder: it reads what admission reads, and leaves everything as it was."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import func, select

from imagegen.contracts import parse_batch, parse_request
from imagegen.errors import BudgetExceeded
from imagegen.estimating import estimate, estimate_batch
from imagegen.inputs import input_ref, store_input
from storage.blobs import LocalBlobs
from storage.tables import METADATA
from tests.drawings import a_file
from tests.jobs_kit import PostgresStore
from tests.pipeline_parts import World

pytest_plugins = ["tests.stores"]
FOX = {"prompt": "a fox", "provider": "gemini", "width": 512, "height": 512}


def counts(store: PostgresStore) -> dict[str, int]:
    """Rows of every table."""
    found = {name: store.database.run(select(func.count()).select_from(t)) for name, t in METADATA.tables.items()}
    return {name: rows[0]["count_1"] for name, rows in found.items()}


@pytest.fixture
def world(postgres: PostgresStore, tmp_path: Path) -> World:
    world = World(postgres)
    world.services = replace(world.services, blobs=LocalBlobs(tmp_path))
    return world


def test_nothing_is_changed(world: World, postgres: PostgresStore, tmp_path: Path) -> None:
    """No row in any table, no file; a stored input and a local file are read alike."""
    stored = input_ref(store_input(a_file("PNG", 320, 180), "mask", world.services.blobs))
    (tmp_path / "hat.png").write_bytes(a_file("PNG", 64, 64))
    rows, files = counts(postgres), sorted(tmp_path.rglob("*"))
    body = {**FOX, "referenceImages": [stored, str(tmp_path / "hat.png")]}
    told = estimate(parse_request(body), world.services, "cli")
    assert told.cost.high > 0
    assert estimate_batch(parse_batch({"requests": [body, body]}), world.services, "cli").budget.admitted
    assert (counts(postgres), sorted(tmp_path.rglob("*"))) == (rows, files)
    assert world.studio.calls == 0


def test_the_verdict_holds(world: World) -> None:
    """What the dry run says of a budget is what admission does, before and after the last of it is taken."""
    price = estimate(parse_request(FOX), world.services, "cli").cost.high
    budgets, now = world.services.budgets, world.clock.now()
    budgets.set("all", "month", Decimal(str(price)), True, at=now)
    assert estimate(parse_request(FOX), world.services, "cli").budget.admitted
    world.job("gemini", cost_estimated=Decimal(str(price)))
    told = estimate(parse_request(FOX), world.services, "cli").budget
    (room,) = told.budgets
    assert (told.admitted, room.committed, room.remaining) == (False, price, 0)
    with pytest.raises(BudgetExceeded):
        world.job("gemini", cost_estimated=Decimal(str(price)))


def test_history_tells_the_time(world: World) -> None:
    """After pictures were drawn the expected seconds are known, and the same picture is a hit."""
    job = world.job("gemini", model="nano-banana-2.1")
    world.chain(job)
    told = estimate(parse_request({**FOX, "model": "nano-banana-2.1"}), world.services, "cli")
    assert told.expected_seconds.samples == 1
    assert told.expected_seconds.p50 is not None
