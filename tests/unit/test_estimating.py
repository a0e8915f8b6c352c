"""Dry runs: everything admission would decide, with nothing written and nothing bought."""

from __future__ import annotations

import base64
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from imagegen.admission import admit_batch, admit_image
from imagegen.contracts import parse_batch, parse_request
from imagegen.errors import BudgetExceeded, InvalidRequest, Temporary
from imagegen.estimates import EstimateDocument
from imagegen.estimating import estimate, estimate_batch
from imagegen.records import Attempt, Cached
from imagegen.testing.breaker import MemoryBreaker
from tests.admission_parts import NOW, Shop, World
from tests.drawings import a_file

FOX = {"prompt": "a fox", "width": 512, "height": 512}
FOUR = {"characters": [{"name": name} for name in ("Ada", "Bo", "Cy", "Di")]}


@pytest.fixture
def world() -> World:
    world = World()
    providers = {"nanobanana": Shop("nanobanana", False), "gemini": Shop("gemini", True)}
    world.settings |= {"breaker": MemoryBreaker(world.clock), "providers": providers}
    return world


def dry(world: World, **fields: Any) -> EstimateDocument:
    return estimate(parse_request({**FOX, **fields}), world.services, "cli")


def shop(world: World) -> Shop:
    """The provider that is chosen where none is named."""
    found: Shop = world.settings["providers"]["nanobanana"]
    return found


def budget(world: World, dollars: str, hard: bool = True, scope: str = "owner:default") -> None:
    world.services.budgets.set(scope, "day", Decimal(dollars), hard, at=NOW)


def test_everything_is_told(world: World) -> None:
    """Model, size, price and prompt as admission decides them; what nobody knows is null."""
    told = dry(world)
    job = admit_image(parse_request(FOX), world.services, door="cli").jobs[0]
    assert (told.provider, told.model, told.width, told.sent_prompt) == (
        job.provider, job.model, job.width, job.sent_prompt
    )  # fmt: skip
    assert told.cost.high == float(job.cost_estimated or 0)
    assert 0 < told.cost.low <= told.cost.high
    document = told.json_document()
    assert document["expectedSeconds"] == {"p50": None, "p95": None, "samples": 0}
    assert document["quota"] == {
        "verdict": "unknown",
        "credit": None,
        "breaker": "closed",
        "pauses": [],
        "detail": None,
    }
    assert document["budget"] == {"admitted": True, "budgets": []}
    assert (document["dryRun"], document["cacheHit"], document["emulated"]) == (True, False, True)


def test_nothing_is_written(world: World) -> None:
    """No row, no hint, no object: a data: picture is read and verified, and not stored."""
    picture = "data:image/png;base64," + base64.b64encode(a_file("PNG", 320, 180)).decode()
    dry(world, referenceImages=[picture], provider="gemini")
    estimate_batch(parse_batch({**FOUR, "referenceImages": [picture], "provider": "gemini"}), world.services, "cli")
    assert (world.written, world.blobs.keys, world.hints.heard) == (0, [], [])
    with pytest.raises(InvalidRequest, match=r"referenceImages\.0"):
        dry(world, referenceImages=["data:image/png;base64,AAAA"])


def test_a_price_range_is_told_for_tokens(world: World) -> None:
    """Where tokens are billed the list price is the least, the reservation the most."""
    told = dry(world, provider="gemini")
    assert told.cost.low < told.cost.high


def test_a_cached_picture_is_free_and_at_once(world: World) -> None:
    """Unless a fresh one is asked for."""
    job = admit_image(parse_request(FOX), world.services, door="cli").jobs[0]
    known = Cached(
        fingerprint=job.fingerprint, blob_sha256="a" * 64, content_type="image/png", width=1, height=1, bytes=1
    )
    world.rows.pictures[job.fingerprint, True] = known
    told = dry(world)
    assert (told.cache_hit, told.cost.low, told.cost.high, told.expected_seconds.p95) == (True, 0, 0, 0)
    fresh = dry(world, fresh=True)
    assert (fresh.cache_hit, fresh.cost.high > 0) == (False, True)


def test_time_is_told_by_history(world: World) -> None:
    """Half and 95 % of the newest pictures at this provider and model, by nearest rank."""
    job = admit_image(parse_request(FOX), world.services, door="cli").jobs[0]
    for seconds in range(1, 21):
        attempt = Attempt(
            id=UUID(int=seconds), job_id=job.id, number=1, provider=job.provider, model=job.model,
            state="succeeded", token="t", estimate=Decimal(0), emulated=True, submitted_at=NOW,
        )  # fmt: skip
        world.rows.attempts[attempt.id] = attempt
        world.rows.ready[attempt.id] = NOW + timedelta(seconds=seconds)
    told = dry(world).expected_seconds
    assert (told.p50, told.p95, told.samples) == (10, 19, 20)


@pytest.mark.parametrize(
    ("left", "verdict"),
    [(Decimal(5000), "ok"), (Decimal(1), "low"), (Decimal(0), "exhausted"), (None, "unknown"),
     (Temporary("away"), "unknown")],
)  # fmt: skip
def test_credit_decides_the_quota(world: World, left: Any, verdict: str) -> None:
    """A balance is judged; without one, or without an answer, nothing is claimed."""
    shop(world).left = left
    told = dry(world).quota
    assert told.verdict == verdict
    assert told.credit == (float(left) if isinstance(left, Decimal) else None)
    assert ("away" in (told.detail or "")) == isinstance(left, Temporary)


def test_pauses_and_breakers_come_first(world: World) -> None:
    """A job that would wait is told so, whatever the balance."""
    shop(world).left = Decimal(5000)
    world.services.breaker.open("nanobanana", "submit")
    assert dry(world).quota.verdict == "breaker"
    world.services.pauses.pause("owner:default", reason="", at=NOW)
    world.services.pauses.pause("provider:gemini", reason="", at=NOW)
    told = dry(world).quota
    assert (told.verdict, told.pauses) == ("paused", ["owner:default"])


@pytest.mark.parametrize("hard", [True, False])
def test_the_budget_s_verdict_is_admission_s(world: World, hard: bool) -> None:
    """What would be refused is told with its figures, and admission says the same; a soft budget refuses nobody."""
    budget(world, "0.01", hard)
    told = dry(world).budget
    (room,) = told.budgets
    assert (told.admitted, room.admitted, room.limit, room.committed, room.remaining) == (
        not hard, not hard, 0.01, 0, 0.01
    )  # fmt: skip
    assert room.requested == dry(world).cost.high
    if hard:
        with pytest.raises(BudgetExceeded):
            admit_image(parse_request(FOX), world.services, door="cli")
    else:
        assert admit_image(parse_request(FOX), world.services, door="cli").created


def test_a_batch_is_judged_as_a_whole(world: World) -> None:
    """Four pictures that each fit and together do not are refused, as admission refuses them."""
    one = estimate_batch(parse_batch(FOUR), world.services, "cli").jobs[0].cost.high
    budget(world, str(one * 3))
    told = estimate_batch(parse_batch(FOUR), world.services, "cli")
    assert [job.budget.admitted for job in told.jobs] == [True] * 4
    assert not told.budget.admitted
    assert told.budget.budgets[0].requested == pytest.approx(one * 4)
    assert told.cost.high == pytest.approx(one * 4)
    with pytest.raises(BudgetExceeded):
        admit_batch(parse_batch(FOUR), world.services, door="cli")


def test_a_cheaper_model_is_told_where_it_would_be_taken(world: World) -> None:
    """`onBudget: cheaper`: the answer is what admission would really buy."""
    asked = {"provider": "gemini", "model": "nano-banana-pro", "onBudget": "cheaper"}
    high = dry(world, **asked).cost.high
    budget(world, str(high - 0.01))
    told = dry(world, **asked)
    job = admit_image(parse_request({**FOX, **asked}), world.services, door="cli").jobs[0]
    assert told.budget.admitted
    assert (told.model, told.cost.high) == (job.model, float(job.cost_estimated or 0))
    assert told.cost.high < high


def test_bad_input_is_refused_as_at_admission(world: World) -> None:
    """Every problem, by field; in a batch by member."""
    with pytest.raises(InvalidRequest, match="model"):
        dry(world, model="no-such-model")
    with pytest.raises(InvalidRequest, match=r"characters\.0"):
        estimate_batch(parse_batch({**FOUR, "model": "no-such-model"}), world.services, "cli")
