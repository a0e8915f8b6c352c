"""The books about callbacks, on the double and on PostgreSQL alike."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from imagegen.jobs import Job
from imagegen.ports_callbacks import Tally
from imagegen.records import NewAttempt
from imagegen.states import MoveName, Stage
from tests.jobs_kit import CENTS, Store, admit, at, attempt, claimed, facts, moved, step

pytest_plugins = ["tests.stores"]
PATIENCE = timedelta(seconds=30)
HOUR = datetime(2026, 11, 21, 12, tzinfo=UTC)


def bought(store: Store, callback: Any = "expected", provider: str = "fal") -> Job:
    """A job whose order's provider will call, or not."""
    held = claimed(store, admit(store, provider=provider))
    new = NewAttempt(
        id=uuid4(), job_id=held.id, number=1, provider=provider, model=held.model, token=uuid4().hex, estimate=CENTS,
        emulated=False, callback=callback,
    )  # fmt: skip
    return moved(store, step(held, MoveName.SUBMIT, stage=Stage.GENERATE, held=held.claim, new_attempt=new))


def ready(store: Store, job: Job, seconds: float = 0) -> UUID:
    """Its picture was found; the attempt."""
    told = facts(job, "succeeded", blob_sha256="b" * 64)
    moved(store, step(job, MoveName.DELIVER, seconds, stage=Stage.UPLOAD, facts=told))
    assert job.attempt_id is not None
    return job.attempt_id


def missed(store: Store, seconds: float, limit: int = 10) -> int:
    return store.callbacks.missed(at=at(seconds), patience=PATIENCE, limit=limit)


def totals(store: Store, moment: datetime) -> list[tuple[str, str, int, int]]:
    return [(one.provider, one.outcome, one.day, one.week) for one in store.callbacks.tallies(at=moment)]


def test_what_is_counted_is_told(store: Store) -> None:
    """By provider and outcome, for the last day and week; hours before a moment can be dropped."""
    books = store.callbacks
    for hours, outcome in ((0, "woken"), (0, "woken"), (23, "forged"), (25, "woken"), (24 * 7 + 1, "late")):
        assert books.count("fal", outcome, at=HOUR - timedelta(hours=hours) + timedelta(minutes=59)) == outcome
    books.count("kie", "stale", at=HOUR)
    expected = [
        Tally(provider="fal", outcome="forged", day=1, week=1),
        Tally(provider="fal", outcome="woken", day=2, week=3),
        Tally(provider="kie", outcome="stale", day=1, week=1),
    ]
    assert list(books.tallies(at=HOUR)) == expected
    books.forget(before=HOUR)
    assert totals(store, HOUR) == [("fal", "woken", 2, 2), ("kie", "stale", 1, 1)]


def test_a_delivery_is_told_once(store: Store) -> None:
    """The same delivery again is counted as repeated, another one is not; the attempt knows the last."""
    job = bought(store)
    told: dict[str, Any] = {"at": HOUR, "attempt_id": job.attempt_id}
    outcomes = [store.callbacks.count("fal", "woken", delivery=name, **told) for name in ("a", "a", "b", "b", "a")]
    assert outcomes == ["woken", "repeated", "woken", "repeated", "woken"]
    assert attempt(store, job).delivery == "a"
    assert store.callbacks.count("fal", "forged", at=HOUR, attempt_id=uuid4(), delivery="a") == "forged"
    assert totals(store, HOUR) == [("fal", "forged", 1, 1), ("fal", "repeated", 2, 2), ("fal", "woken", 3, 3)]


def test_the_same_delivery_at_once_is_told_once(store: Store) -> None:
    """Eight at the same moment: one is the first."""
    job = bought(store)

    def come(_: int) -> str:
        return store.callbacks.count("fal", "woken", at=HOUR, attempt_id=job.attempt_id, delivery="a")

    with ThreadPoolExecutor(8) as pool:
        outcomes = sorted(pool.map(come, range(8)))
    assert outcomes == ["repeated"] * 7 + ["woken"]
    assert totals(store, HOUR) == [("fal", "repeated", 7, 7), ("fal", "woken", 1, 1)]


def test_what_did_not_come_is_missed_once(store: Store) -> None:
    """Expected, its picture found a while ago, no word of its provider: missed, and never again."""
    jobs = [bought(store), bought(store), bought(store, provider="kie"), bought(store, callback=None)]
    attempts = [ready(store, job) for job in jobs]
    bought(store)
    store.callbacks.count("fal", "woken", at=at(1), attempt_id=attempts[0], delivery="a")
    assert missed(store, 29) == 0
    assert [missed(store, 31) for _ in range(2)] == [2, 0]
    store.callbacks.count("fal", "late", at=at(32), attempt_id=attempts[1], delivery="a")
    assert missed(store, 99) == 0
    counted = {(provider, outcome): week for provider, outcome, _, week in totals(store, at(99))}
    assert counted == {("fal", "woken"): 1, ("fal", "late"): 1, ("fal", "missed"): 1, ("kie", "missed"): 1}


def test_an_order_that_failed_without_a_word_is_missed_too(store: Store) -> None:
    """Its provider was to call for failures as well; no latency is learnt from them."""
    silent, told, refused = bought(store), bought(store), bought(store)
    for job in (silent, told):
        accepted = {"facts": replace(facts(job, "accepted"), provider_job_id=f"p{job.id}"), "parked": True}
        moved(store, step(job, MoveName.ACCEPT, stage=Stage.POLL, waiting_for="provider", **accepted))
        moved(store, step(job, MoveName.FAIL, 5, facts=facts(job, "failed")))
    moved(store, step(refused, MoveName.FAIL, 5, facts=facts(refused, "rejected")))
    store.callbacks.count("fal", "late", at=at(6), attempt_id=told.attempt_id, delivery="a")
    assert missed(store, 34) == 0
    assert [missed(store, 36) for _ in range(2)] == [1, 0]
    assert totals(store, at(36)) == [("fal", "late", 1, 1), ("fal", "missed", 1, 1)]
    assert list(store.jobs.latencies("fal", "nano-banana")) == []


def test_the_missed_are_counted_in_portions(store: Store) -> None:
    """At most so many at once, those that wait longest first; several counters at once count each one once."""
    for index in range(6):
        ready(store, bought(store), seconds=-index)
    assert missed(store, 31, limit=2) == 2
    with ThreadPoolExecutor(4) as pool:
        found = sum(pool.map(lambda _: missed(store, 60), range(4)))
    assert found == 4
    assert totals(store, at(60)) == [("fal", "missed", 6, 6)]


@pytest.mark.parametrize("seconds", [0, 100])
def test_an_order_that_is_not_finished_is_not_missed(store: Store, seconds: float) -> None:
    """However long it takes: its callback may still come."""
    job = bought(store)
    told = {"facts": replace(facts(job, "accepted"), provider_job_id="p1"), "parked": True, "waiting_for": "provider"}
    moved(store, step(job, MoveName.ACCEPT, stage=Stage.POLL, **told))
    assert missed(store, seconds) == 0
