"""One suite for the port `Erasures`: what goes, what stays, what waits, in memory and on PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from imagegen.jobs import Job
from imagegen.layout import blob_key
from imagegen.ports_deliveries import DeliveryFilter
from imagegen.ports_erasures import Discard, Erasing, Scope
from imagegen.records import Facts, Settled
from imagegen.states import MoveName, Stage, Status
from tests.jobs_kit import (
    CENTS,
    Store,
    accepted,
    admit,
    at,
    attempt,
    claimed,
    completed,
    delivered,
    known,
    moved,
    new_batch,
    step,
    submitted,
)  # fmt: skip

pytest_plugins = ["tests.stores"]
GRACE = timedelta(hours=1)
MONTH = timedelta(days=30)
HOOK = "https://hook.test/1"
CONTENT: dict[str, Any] = {
    "prompt": "a secret fox", "sent_prompt": "a secret fox, at dusk", "character": "Mara", "asset_id": "mara",
    "style_name": "Noir", "style_sha256": "e" * 64, "visual_style_capsule_id": "noir",
    "request": {"prompt": "a secret fox", "callbackUrl": HOOK}, "metadata": {"episode": "secret"},
    "plan": {"ratio": "16:9", "references": [{"key": "inputs/aa", "sha256": "aa"}], "mask": {"key": "inputs/bb"}},
    "idempotency_key": "order-7", "body_sha256": "d" * 64, "scene_id": "s1", "shot_id": "t1",
}  # fmt: skip
SHOWN = {
    "public_url": "https://files.test/project_demo/x.png", "thumbnail_url": "https://files.test/project_demo/x_thumb.webp",
    "object_key": "project_demo/x.png", "sha256": "c" * 64, "content_type": "image/png", "bytes": 4711,
}  # fmt: skip


def drawn(store: Store, seconds: float = 0, **given: Any) -> Job:
    """A completed job full of content."""
    return completed(store, admit(store, **{**CONTENT, "idempotency_key": None, **given}), seconds, **SHOWN)


def erased(store: Store, *jobs: Job) -> list[Job]:
    """The jobs after their erasure."""
    for job in jobs:
        store.erasures.request(Scope(job_id=job.id), at=at(50), until=at(60))
    done = store.erasures.erase([job.id for job in jobs], at=at(70), grace=GRACE)
    assert {*done} == {job.id for job in jobs}
    return [store.jobs.get(job.id) for job in jobs]


def due(store: Store, seconds: float = 1000, scope: Scope | None = None) -> list[UUID]:
    found = store.erasures.due(at=at(seconds), until=at(seconds + 100), limit=10, scope=scope)
    return [one.job.id for one in found]


def discards(store: Store) -> set[Discard]:
    return {*store.erasures.discards(at=at(3 * 3600), limit=100)}


def test_content_goes_and_the_books_stay(store: Store) -> None:
    """No word of what was asked for or drawn is left; ids, times, costs, ledger and the idempotency key are."""
    before = completed(store, admit(store, **CONTENT), **SHOWN)
    lines = store.ledger(before.id)
    (after,) = erased(store, before)
    kept = (
        "id", "owner", "status", "stage", "job_type", "project_id", "branch_id", "scene_id", "shot_id", "provider",
        "model", "width", "height", "created_at", "started_at", "completed_at", "cost_estimated", "cost_credits",
        "committed", "billed", "attempts", "attempt_id", "provider_job_id", "idempotency_key", "body_sha256", "run",
        "emulated", "cache_hit",
    )  # fmt: skip
    assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]
    assert after.erased_at == at(70)
    assert store.ledger(before.id) == lines
    everything = f"{after}{store.jobs.history(after.id)}{attempt(store, after)}{after.document()}"
    for secret in ("secret", "Mara", "mara", "Noir", "inputs/", "b" * 64, "c" * 64, "project_demo", "hook"):
        assert secret not in everything, secret
    document = after.document().json_document()
    nulls = (
        "prompt", "sentPrompt", "character", "assetId", "style", "visualStyleCapsuleId", "publicUrl", "thumbnailUrl",
        "sha256", "bytes", "contentType",
    )  # fmt: skip
    assert [document[name] for name in nulls] == [None] * len(nulls)
    assert document["erasedAt"] is not None
    assert document["cost"]["actual"] == float(CENTS)


def test_resending_finds_the_tombstone(store: Store) -> None:
    """The same key with the same body is answered with what is left: nothing is bought again."""
    first = completed(store, admit(store, **CONTENT))
    erased(store, first)
    again = store.jobs.admit([replace(first, id=uuid4(), status=Status.QUEUED, next_run_at=at(0))], None, worker="w1")
    assert (again.created, again.jobs[0].id) == (False, first.id)


def test_the_cache_forgets_with_its_last_job(store: Store) -> None:
    """A picture that another job has goes on answering; without one the next request buys its own."""
    first = drawn(store, fingerprint="f1")
    second = drawn(store, fingerprint="f1", fresh=True)
    erased(store, first)
    assert store.jobs.cached("f1", emulated=False) is not None
    assert Discard(blob_key("b" * 64), True) in discards(store)
    erased(store, second)
    assert store.jobs.cached("f1", emulated=False) is None
    assert discards(store) == {Discard(one, False) for one in (blob_key("b" * 64), "inputs/aa", "inputs/bb")}
    store.erasures.discarded([blob_key("b" * 64)])
    store.erasures.put_off("inputs/aa", until=at(9 * 3600))
    assert discards(store) == {Discard("inputs/bb", False)}


def test_discards_wait_for_their_grace(store: Store) -> None:
    """Nothing is looked at before the grace is over; an input that another job has is needed."""
    erased(store, drawn(store))
    assert not store.erasures.discards(at=at(70) + GRACE, limit=100)
    admit(store, plan={"source": {"key": "inputs/aa"}})
    assert Discard("inputs/aa", True) in discards(store)
    assert Discard("inputs/bb", False) in discards(store)


def test_live_jobs_are_marked_and_wait_for_their_end(store: Store) -> None:
    """The intent returns the live jobs; they are handed out once they have ended, not before."""
    live, done = submitted(store, admit(store)), drawn(store)
    scope = Scope(owner="ada")
    assert store.erasures.request(scope, at=at(1), until=at(2)) == [live.id]
    assert due(store) == [done.id]
    assert store.erasures.erase([live.id], at=at(3), grace=GRACE) == []
    moved(store, step(live, MoveName.FAIL, 4, facts=known(store, live)))
    assert due(store) == [live.id]


def test_an_erasure_waits_for_a_picture_that_is_looked_for(store: Store) -> None:
    """While a paid picture of an ended job may still be had, its charge is not lost sight of."""
    job = submitted(store, admit(store))
    moved(store, step(job, MoveName.FAIL, 1, facts=replace(known(store, job), state="unknown", collect=True)))
    store.erasures.request(Scope(job_id=job.id), at=at(2), until=at(2))
    assert due(store) == []
    assert store.erasures.erase([job.id], at=at(3), grace=GRACE) == []
    assert job.attempt_id is not None
    store.jobs.collected(Settled(facts=Facts(attempt_id=job.attempt_id, state="failed")), at=at(4))
    assert due(store) == [job.id]


def test_who_takes_an_erasure_has_it_for_a_while(store: Store) -> None:
    """Two sweeps never take the same; what was not finished is handed out again; a scope is handed out at once."""
    job = drawn(store)
    store.erasures.request(Scope(job_id=job.id), at=at(0), until=at(100))
    assert due(store, 99) == []
    assert due(store, 99, Scope(job_id=job.id)) == [job.id]
    assert due(store, 150) == []
    assert due(store, 200) == [job.id]
    erased(store, job)
    assert due(store, 9999) == []
    assert store.erasures.stake(Scope(job_id=job.id)).jobs == 0


def test_what_is_to_be_erased_goes_no_further(store: Store) -> None:
    """From the intent on a failed job is neither continued nor proven, and no placeholder is replaced."""
    failed = moved(store, step(accepted(store, admit(store)), MoveName.FAIL, 1))
    stood = moved(store, step(admit(store), MoveName.STAND_IN, 1, changes={"placeholder": True}))
    store.erasures.request(Scope(owner="ada"), at=at(2), until=at(60))
    again = step(failed, MoveName.RETRY, 3, stage=Stage.POLL, target=Status.GENERATING)
    assert store.jobs.apply(again) is None
    assert store.jobs.apply(step(failed, MoveName.PROVE, 3, stage=Stage.UPLOAD)) is None
    assert store.jobs.apply(step(stood, MoveName.REPLACE, 3, until=at(9), changes={"placeholder": False})) is None


def test_a_replacement_goes_with_what_it_replaces(store: Store) -> None:
    """A placeholder's job and the jobs that buy its picture show one picture: erasing either erases both."""
    first = drawn(store)
    second, other = drawn(store, replaces=first.id), drawn(store)
    for one in (first, second):
        assert store.erasures.stake(Scope(job_id=one.id)).jobs == 2
    store.erasures.request(Scope(job_id=second.id), at=at(2), until=at(2))
    assert {*due(store)} == {first.id, second.id}
    assert store.jobs.get(other.id).erase_at is None


def test_stakes(store: Store) -> None:
    """Jobs, live ones, pictures and their bytes, of one owner alone."""
    drawn(store)
    submitted(store, admit(store))
    drawn(store, owner="bob")
    stake = store.erasures.stake(Scope(owner="ada"))
    assert (stake.jobs, stake.live, stake.pictures, stake.bytes, stake.styles) == (2, 1, 1, 4711, 0)
    assert store.erasures.stake(Scope(owner="eve")).jobs == 0


def test_retention_by_job_type(store: Store) -> None:
    """What ended longer ago than its type may live is marked, in chunks; other types, live and marked jobs are not."""
    old = [drawn(store, second) for second in (1, 2, 3)]
    frame, fresh = drawn(store, job_type="start_frame"), drawn(store, 500)
    admit(store)
    now, lives = at(400) + MONTH, {"master_asset": MONTH}
    assert store.erasures.retire(lives, at=now, limit=2) == 2
    assert store.erasures.retire(lives, at=now, limit=2) == 1
    assert store.erasures.retire(lives, at=now, limit=2) == 0
    assert {*due(store, 400 + MONTH.total_seconds())} == {job.id for job in old}
    assert store.jobs.get(frame.id).erase_at is store.jobs.get(fresh.id).erase_at is None


def test_retention_takes_batches_whole(store: Store) -> None:
    """A batch goes when its last member may; members without a life keep the others; so do replacements."""
    batch, members = new_batch(2)
    first, second = store.jobs.admit(members, batch, worker="w1").jobs
    completed(store, first, 1)
    lives = {"master_asset": MONTH}
    later = at(200) + MONTH
    assert store.erasures.retire(lives, at=later, limit=9) == 0
    completed(store, second, 100)
    assert store.erasures.retire(lives, at=at(50) + MONTH, limit=9) == 0
    assert store.erasures.retire(lives, at=later, limit=9) == 2
    kept, frames = new_batch(2)
    frames[1] = replace(frames[1], job_type="start_frame")
    for job in store.jobs.admit(frames, kept, worker="w1").jobs:
        completed(store, job, 1)
    assert store.erasures.retire(lives, at=later, limit=9) == 0
    stood = drawn(store, 1)
    claimed(store, admit(store, replaces=stood.id), seconds=1)
    assert store.erasures.retire(lives, at=later, limit=9) == 0


def test_deliveries_tell_no_content(store: Store) -> None:
    """What was told is deleted; what is still to be told tells the tombstone, and a batch those members alone."""
    batch, members = new_batch(2, callback_url=HOOK)
    members = [replace(one, **{**CONTENT, "idempotency_key": None}) for one in members]
    jobs = [completed(store, one, **SHOWN) for one in store.jobs.admit(members, batch, worker="w1").jobs]
    assert store.jobs.close_batch(batch.id, at=at(40)) is not None
    erased(store, jobs[0])
    (told,), _ = store.deliveries.list(DeliveryFilter(job_id=jobs[0].id))
    assert (told.document["prompt"], told.document["publicUrl"]) == (None, None)
    (whole,), _ = store.deliveries.list(DeliveryFilter(batch_id=batch.id))
    assert [one["prompt"] for one in whole.document["jobs"]] == [None, "a secret fox"]
    assert store.jobs.get_batch(batch.id)[0].callback_url == HOOK
    erased(store, jobs[1])
    assert store.jobs.get_batch(batch.id)[0].callback_url is None


def test_erasing_hands_out_the_paid_calls(store: Store) -> None:
    """With the job come its attempts, whose objects and orders are to be deleted."""
    job = delivered(store, admit(store))
    moved(store, step(job, MoveName.FAIL, 1))
    store.erasures.request(Scope(job_id=job.id), at=at(2), until=at(2))
    (found,) = store.erasures.due(at=at(3), until=at(4), limit=1)
    assert isinstance(found, Erasing)
    assert [one.id for one in found.attempts] == [job.attempt_id]
