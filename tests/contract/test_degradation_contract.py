"""The port `Jobs` in memory and on PostgreSQL: jobs that change their provider, placeholders, what replaces them."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from imagegen.jobs import Job
from imagegen.records import Entry
from imagegen.states import BatchStatus, MoveName, Stage, Status
from tests.jobs_kit import (
    CENTS,
    Store,
    admit,
    at,
    claimed,
    completed,
    delivered,
    facts,
    moved,
    new_batch,
    step,
    submitted,
)

pytest_plugins = ["tests.stores"]
SHOWN: dict[str, Any] = {
    "public_url": "https://p.test/stand.png", "thumbnail_url": "https://p.test/stand.webp", "object_key": "stand.png",
    "sha256": "a" * 64, "content_type": "image/png", "bytes": 5, "placeholder": True, "cost_credits": Decimal(0),
    "billed": "no",
}  # fmt: skip
REAL: dict[str, Any] = {**SHOWN, "public_url": "https://p.test/real.png", "sha256": "b" * 64, "placeholder": False}
del REAL["cost_credits"], REAL["billed"]


def stood_in(store: Store, job: Job, seconds: float = 3, **fields: Any) -> Job:
    return moved(store, step(job, MoveName.STAND_IN, seconds, changes=SHOWN, until=at(seconds + 10), **fields))


def replaced(store: Store, job: Job, seconds: float) -> Job | None:
    detail = {"by": str(uuid4())}
    return store.jobs.apply(
        step(job, MoveName.REPLACE, seconds, changes=REAL, until=at(seconds + 10), detail=detail)
    )  # fmt: skip


def test_a_job_takes_another_provider_s_plan(store: Store) -> None:
    """What a fallback changes survives the move, and the next attempt adds its provider to those tried."""
    job = claimed(store, admit(store, provider="nanobanana"))
    plan = {"ratio": "1:1", "tier": "2K", "price": {"amount": "0.05"}}
    changes = {
        "provider": "gemini", "model": "nano-banana-2.1", "plan": plan, "fingerprint": "other",
        "cost_estimated": Decimal("0.05"), "tried": ["nanobanana"], "failures": 0,
    }  # fmt: skip
    parked = step(
        job, MoveName.HOLD, 1, held=job.claim, parked=True, until=at(1), waiting_for="fallback", changes=changes
    )
    there = moved(store, parked)
    assert {name: getattr(there, name) for name in changes} | {"tried": ["nanobanana"]} == changes
    assert list(there.tried) == ["nanobanana"]
    assert list(submitted(store, there, seconds=2).tried)[:1] == ["nanobanana"]


@pytest.mark.parametrize("until", [admit, lambda store: claimed(store, admit(store))], ids=["queued", "processing"])
def test_a_placeholder_ends_a_job_that_bought_nothing(store: Store, until: Callable[[Store], Job]) -> None:
    """Completed and flagged, nothing due but its announcement."""
    done = stood_in(store, until(store))
    assert (done.status, done.placeholder, done.public_url) == (Status.COMPLETED, True, SHOWN["public_url"])
    assert (done.next_run_at, done.claim, done.waiting_for) == (None, None, None)
    assert (done.completed_at, done.announce_at) == (at(3), at(13))
    assert store.jobs.cached(done.fingerprint, emulated=False) is None
    assert [one.id for one in store.jobs.unannounced(at=at(13), limit=5)] == [done.id]


def test_its_attempt_is_closed_in_the_same_go(store: Store) -> None:
    """The refusal's facts and the release of the reservation come with the placeholder."""
    job = submitted(store, admit(store))
    entry = Entry(kind="release", amount=CENTS, attempt_id=job.attempt_id, always=True)
    done = stood_in(store, job, facts=facts(job, state="rejected"), entries=(entry,))
    assert done.status is Status.COMPLETED
    assert [kind for kind, _, _ in store.ledger(job.id)][-1] == "release"
    assert done.attempt_id is not None
    attempt = store.jobs.attempt(done.attempt_id)
    assert attempt is not None
    assert attempt.state == "rejected"


def test_a_job_that_its_owner_stopped_gets_none(store: Store) -> None:
    """A picture that nobody wants is not replaced either: the answer finds nothing to move."""
    job = submitted(store, admit(store))
    moved(store, step(job, MoveName.STOP, 1, until=None))
    standing = step(job, MoveName.STAND_IN, 2, changes=SHOWN, facts=facts(job, state="rejected"))
    assert store.jobs.apply(standing) is None
    assert store.jobs.get(job.id).status is Status.GENERATING


def test_what_has_its_picture_gets_none(store: Store) -> None:
    """From uploading on there is a picture."""
    job = delivered(store, admit(store))
    assert store.jobs.apply(step(job, MoveName.STAND_IN, 3, changes=SHOWN)) is None


def test_the_real_picture_is_shown_once(store: Store) -> None:
    """The end stays where it was, its announcement is due again, and a second replacement finds nothing to move."""
    done = stood_in(store, claimed(store, admit(store)))
    store.jobs.announced([done.id])
    shown = replaced(store, done, 20)
    assert shown is not None
    assert (shown.status, shown.placeholder, shown.sha256) == (Status.COMPLETED, False, "b" * 64)
    assert (shown.completed_at, shown.next_run_at, shown.announce_at) == (at(3), None, at(30))
    assert (shown.cost_credits, shown.billed, shown.run) == (Decimal(0), "no", 1)
    assert replaced(store, done, 21) is None
    assert [event.move for event in store.jobs.history(done.id)].count("replace") == 1


def test_only_a_placeholder_is_replaced(store: Store) -> None:
    """A bought picture stays what it is, and so does a job that goes on."""
    assert replaced(store, completed(store, admit(store), 1), 20) is None
    assert replaced(store, admit(store), 20) is None


def test_a_batch_stays_closed(store: Store) -> None:
    """Its last member ends with a placeholder: completed; the replacement reopens nothing."""
    batch, jobs = new_batch(1)
    (job,) = store.jobs.admit(jobs, batch, worker="w1").jobs
    done = stood_in(store, claimed(store, job))
    closed = store.jobs.close_batch(batch.id, at=at(4))
    assert closed is not None
    assert closed.status is BatchStatus.COMPLETED
    assert replaced(store, done, 20) is not None
    assert store.jobs.get_batch(batch.id)[0] == closed
    assert store.jobs.unclosed_batches(limit=5) == []


def test_a_replacement_rests_until_its_time(store: Store) -> None:
    """Whoever hints at it earlier finds nothing; the sweep takes it when its look is due."""
    original = uuid4()
    job = admit(store, replaces=original, waiting_for="provider_down", next_run_at=at(60))
    assert store.jobs.get(job.id).replaces == original
    assert store.jobs.claim(step(job, MoveName.CLAIM, 30, claim=uuid4()), None) is None
    assert [one.id for one in store.jobs.due(at=at(60), limit=5, grace=at(5) - at(0), worker="w1")] == [job.id]
    assert claimed(store, job, seconds=61).stage is Stage.GENERATE
