"""The life of cached pictures, on the double and on PostgreSQL alike: how long, how many, what they saved."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from imagegen.jobs import Job
from imagegen.records import Claimed, Stock
from imagegen.states import MoveName, Stage
from storage.jobs import PostgresJobs
from tests.jobs_kit import (
    CENTS,
    MemoryStore,
    PostgresStore,
    Store,
    admit,
    at,
    claimed,
    completed,
    moved,
    new_job,
    step,
    submitted,
)

pytest_plugins = ["tests.stores"]
HOUR = timedelta(hours=1)


def short_lived(store: Store) -> Store:
    """The store as a system with `IMAGEGEN_CACHE_TTL=1h` has it."""
    if isinstance(store, PostgresStore):
        return PostgresStore(PostgresJobs(store.database, cache_ttl=HOUR), store.database)
    assert isinstance(store, MemoryStore)
    store.jobs.cache_ttl = HOUR
    return store


def ask(store: Store, job: Job, seconds: float) -> Claimed:
    found = store.jobs.claim(step(job, MoveName.CLAIM, seconds, claim=uuid4()), None)
    assert isinstance(found, Claimed)
    return found


def hit(store: Store, seconds: float = 1, **given: Any) -> Job:
    """A job completed from the cache."""
    job = ask(store, admit(store, **given), seconds).job
    reuse = {"blob_sha256": "b" * 64, "blob_content_type": "image/png", "cache_hit": True}
    moved(store, step(job, MoveName.REUSE, seconds, stage=Stage.UPLOAD, held=job.claim, changes=reuse))
    held = claimed(store, job, MoveName.PUBLISH, seconds)
    return moved(store, step(job, MoveName.COMPLETE, seconds, held=held.claim))


@pytest.mark.parametrize(("after", "found"), [(3599, True), (3601, False)])
def test_a_picture_answers_for_its_time(store: Store, after: float, found: bool) -> None:
    """With a time to live an older picture is no hit: it is bought again, and the new one takes its place."""
    store = short_lived(store)
    completed(store, admit(store, fingerprint="fox"))
    claim = ask(store, admit(store, fingerprint="fox", deadline_at=at(9999)), after)
    assert (claim.cached is not None) == found
    assert (store.jobs.cached("fox", emulated=False, at=at(after)) is not None) == found
    assert store.jobs.cached("fox", emulated=False) is not None
    if not found:
        job = claim.job
        intent = step(job, MoveName.SUBMIT, after, stage=Stage.GENERATE, held=job.claim, claim=job.claim)
        assert store.jobs.apply(intent) is not None


def test_a_new_purchase_is_young_again(store: Store) -> None:
    """A fresh purchase replaces the picture, and its time begins anew."""
    store = short_lived(store)
    completed(store, admit(store, fingerprint="fox"))
    completed(store, admit(store, fingerprint="fox", fresh=True), 3000)
    assert store.jobs.cached("fox", emulated=False, at=at(3601)) is not None
    assert store.jobs.cached("fox", emulated=False, at=at(6601)) is None


def test_a_fresh_purchase_replaces_the_picture(store: Store) -> None:
    """`fresh` buys beside the cache, and whoever comes later gets the newer picture."""
    completed(store, admit(store, fingerprint="fox"))
    again = admit(store, fingerprint="fox", fresh=True)
    assert ask(store, again, 1).cached is None
    job = moved(store, step(again, MoveName.HOLD, 1, stage=Stage.GENERATE))
    bought = submitted(store, job, 31)
    known = {"blob_sha256": "c" * 64, "blob_content_type": "image/png"}
    moved(store, step(bought, MoveName.DELIVER, 32, stage=Stage.UPLOAD, changes=known))
    held = claimed(store, bought, MoveName.PUBLISH, 63)
    picture = {"picture": {"width": 1344, "height": 768, "bytes": 4711}}
    moved(store, step(bought, MoveName.COMPLETE, 63, held=held.claim, detail=picture))
    later = ask(store, admit(store, fingerprint="fox"), 64)
    assert later.cached is not None
    assert later.cached.blob_sha256 == "c" * 64


def test_what_the_cache_holds_and_saved(store: Store) -> None:
    """Pictures and bytes of one world; hits are completed jobs, and save the price that each would have cost."""
    assert store.jobs.stock(emulated=False) == Stock(entries=0, bytes=0, oldest=None, hits=0, saved=CENTS * 0)
    completed(store, admit(store, fingerprint="fox"))
    completed(store, admit(store, fingerprint="cat"), 5)
    completed(store, admit(store, fingerprint="fox", emulated=True))
    hit(store, fingerprint="fox")
    hit(store, fingerprint="fox", cost_estimated=CENTS * 2)
    ask(store, admit(store, fingerprint="cat"), 6)
    expected = Stock(entries=2, bytes=2 * 4711, oldest=at(0), hits=2, saved=CENTS * 3)
    assert store.jobs.stock(emulated=False) == expected
    assert store.jobs.stock(emulated=True).entries == 1


@pytest.mark.parametrize(
    ("which", "gone"),
    [
        ({}, {"fox", "cat", "owl"}),
        ({"before": at(5)}, {"fox"}),
        ({"model": "nano-banana-pro"}, {"owl"}),
        ({"before": at(5), "model": "nano-banana-pro"}, set()),
    ],
    ids=["all", "old", "model", "old of a model"],
)
def test_purged_pictures_are_bought_anew(store: Store, which: dict[str, Any], gone: set[str]) -> None:
    """Taken out by age, by model or all; the next job for one buys, the others and the other world are hits as ever."""
    drawn = (("fox", 0, "nano-banana"), ("cat", 5, "nano-banana"), ("owl", 9, "nano-banana-pro"))
    for fingerprint, seconds, model in drawn:
        completed(store, admit(store, fingerprint=fingerprint, model=model), seconds)
    completed(store, admit(store, fingerprint="fox", emulated=True))
    told = store.jobs.purge(emulated=False, **which)
    assert (told.entries, told.bytes) == (len(gone), len(gone) * 4711)
    left = {name for name in ("fox", "cat", "owl") if store.jobs.cached(name, emulated=False) is not None}
    assert left == {"fox", "cat", "owl"} - gone
    assert store.jobs.cached("fox", emulated=True) is not None
    assert {name for name in gone if ask(store, admit(store, fingerprint=name), 20).cached is None} == gone


def test_a_purge_during_a_hit_harms_nobody(store: Store) -> None:
    """A job that holds the picture when it is purged completes with it."""
    completed(store, admit(store, fingerprint="fox"))
    job = ask(store, admit(store, fingerprint="fox"), 1).job
    store.jobs.purge(emulated=False)
    reuse = {"blob_sha256": "b" * 64, "blob_content_type": "image/png", "cache_hit": True}
    moved(store, step(job, MoveName.REUSE, 2, stage=Stage.UPLOAD, held=job.claim, changes=reuse))
    held = claimed(store, job, MoveName.PUBLISH, 2)
    moved(store, step(job, MoveName.COMPLETE, 2, held=held.claim))
    assert store.jobs.cached("fox", emulated=False) is None


def test_only_the_picture_that_is_no_good_is_forgotten(store: Store) -> None:
    """A newer picture that has taken its place stays."""
    completed(store, admit(store, fingerprint="fox"))
    bad = store.jobs.cached("fox", emulated=False)
    assert bad is not None
    store.jobs.forget(bad, emulated=True)
    assert store.jobs.cached("fox", emulated=False) == bad
    store.jobs.forget(bad, emulated=False)
    assert store.jobs.cached("fox", emulated=False) is None
    completed(store, admit(store, fingerprint="fox"), 1)
    newer = store.jobs.cached("fox", emulated=False)
    assert newer is not None
    store.jobs.forget(type(bad)(**{**vars(bad), "blob_sha256": "a" * 64}), emulated=False)
    assert store.jobs.cached("fox", emulated=False) == newer


def test_jobs_without_a_fingerprint_are_no_hits(store: Store) -> None:
    """What has no fingerprint is never cached, and never found."""
    completed(store, new_and_admitted(store))
    assert ask(store, new_and_admitted(store), 1).cached is None


def new_and_admitted(store: Store) -> Job:
    return store.jobs.admit([new_job(fingerprint="")], None, worker="w1").jobs[0]
