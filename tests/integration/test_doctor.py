"""The doctor on PostgreSQL and a folder of pictures: clean after real work, and each planted inconsistency is found."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from imagegen import cancelling, layout
from imagegen.doctor.examination import clean, examine, repair
from imagegen.doctor.findings import Finding
from imagegen.errors import ContentRefused, Temporary
from imagegen.jobs import Job
from imagegen.providers.base import Delivered, Rejected, Unknown
from imagegen.settings import Settings
from imagegen.states import BatchStatus, Status
from storage.blobs import LocalBlobs
from storage.books import PostgresBooks
from storage.engine import Database
from storage.jobs import PostgresJobs
from tests.jobs_kit import PostgresStore, new_batch
from tests.pipeline_parts import World

pytest_plugins = ["tests.stores"]
SCHEMA = "pictures"
DAYS_AGO = timedelta(days=2)


class Ward:
    """A world whose jobs were really drawn, and what a test plants in it."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.blobs = database, LocalBlobs(folder)
        self.world = World(PostgresStore(PostgresJobs(database), database))
        self.world.services = replace(self.world.services, books=PostgresBooks(database), blobs=self.blobs)
        self.settings = Settings.load({}, folder)
        self.budgets = self.world.store.budgets(emulated=True)
        self.budgets.set("all", "total", Decimal(100), True, at=self.world.clock.now())

    def drawn(self, provider: str = "nanobanana", **fields: object) -> Job:
        """A completed job."""
        job = self.world.job(provider, **fields)
        self.world.chain(job)
        (ended,) = self.world.live(job)
        assert ended.status is Status.COMPLETED
        return ended

    def refused(self) -> Job:
        """A failed job that cost nothing."""
        self.world.shop.submissions.append(Rejected(error=ContentRefused("no")))
        return self.ended(Status.FAILED)

    def doubtful(self) -> Job:
        """A failed job that may have been charged."""
        self.world.shop.submissions.append(Unknown(error=Temporary("reset")))
        return self.ended(Status.FAILED)

    def ended(self, status: Status) -> Job:
        job = self.world.job()
        self.world.chain(job)
        (ended,) = self.world.live(job)
        assert ended.status is status
        return ended

    def cancelled(self) -> Job:
        job = self.world.job()
        cancelling.cancel(job.id, self.world.services)
        return self.world.now(job)

    def sql(self, statement: str, **values: object) -> None:
        """What no code of ours does. `jobs` and the like are the tables."""
        with self.database.engine.connect() as connection:
            connection.execute(text(f"SET search_path TO {SCHEMA}"))
            connection.execute(text(statement), values)
            connection.execute(text("RESET search_path"))

    def put(self, key: str, age: timedelta = DAYS_AGO) -> str:
        """An object of that age."""
        self.blobs.put(key, b"x", "image/png")
        moment = (self.world.clock.now() - age).timestamp()
        os.utime(self.blobs.path(key), (moment, moment))
        return key

    def found(self) -> set[tuple[str, str]]:
        """Kinds and ids of all findings."""
        return {(one.kind, one.id) for one in self.findings()}

    def findings(self) -> list[Finding]:
        return examine(self.world.services, self.settings)


@pytest.fixture(scope="module")
def ward(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Ward:
    return Ward(database, tmp_path_factory.mktemp("pictures"))


def open_attempt(ward: Ward) -> tuple[str, str]:
    job = ward.refused()
    ward.sql("DELETE FROM imagegen_ledger WHERE job_id = :job AND kind = 'release'", job=job.id)
    return "attempt-not-closed", str(job.attempt_id)


def unreserved(ward: Ward) -> tuple[str, str]:
    job = ward.drawn()
    ward.sql("DELETE FROM imagegen_ledger WHERE job_id = :job AND kind = 'reserve'", job=job.id)
    return "attempt-not-reserved", str(job.attempt_id)


def costs(ward: Ward) -> tuple[str, str]:
    job = ward.drawn("gemini")
    change = "cost_credits = cost_credits + 1, committed = committed + 1"
    ward.sql(f"UPDATE image_generation_jobs SET {change} WHERE id = :job", job=job.id)
    return "costs-differ", str(job.id)


def committed(ward: Ward) -> tuple[str, str]:
    job = ward.cancelled()
    ward.sql("UPDATE image_generation_jobs SET committed = committed + 1 WHERE id = :job", job=job.id)
    return "committed-differs", str(job.id)


def committed_live(ward: Ward) -> tuple[str, str]:
    job = ward.world.job()
    ward.sql("UPDATE image_generation_jobs SET committed = 0 WHERE id = :job", job=job.id)
    return "committed-differs", str(job.id)


def spending(ward: Ward) -> tuple[str, str]:
    ward.budgets.set("owner:ada", "total", Decimal(9), True, at=ward.world.clock.now())
    ward.sql("UPDATE imagegen_spending SET committed = committed + 1 WHERE scope = 'owner:ada'")
    return "spending-differs", "owner:ada total 1970-01-01"


def untimed(ward: Ward) -> tuple[str, str]:
    job = ward.world.job()
    name = "image_generation_jobs_live_rows_are_timed_check"
    ward.sql(f"ALTER TABLE image_generation_jobs DROP CONSTRAINT IF EXISTS {name}")
    ward.sql("UPDATE image_generation_jobs SET next_run_at = NULL WHERE id = :job", job=job.id)
    return "live-without-time", str(job.id)


def overdue(ward: Ward) -> tuple[str, str]:
    now = ward.world.clock.now()
    job = ward.world.job(next_run_at=now - timedelta(hours=1), deadline_at=now + timedelta(hours=1))
    return "overdue", str(job.id)


def a_batch(ward: Ward) -> tuple[UUID, list[Job]]:
    batch, _ = new_batch(2)
    jobs = [ward.world.new("gemini", batch_id=batch.id, batch_index=at) for at in range(2)]
    return batch.id, ward.world.batch(batch, jobs)


def open_batch(ward: Ward) -> tuple[str, str]:
    batch_id, jobs = a_batch(ward)
    cancelling.cancel_batch(batch_id, ward.world.services)
    assert ward.world.now(jobs[0]).terminal
    change = "status = 'running', completed_at = NULL"
    ward.sql(f"UPDATE imagegen_batches SET {change} WHERE id = :batch", batch=batch_id)
    ward.world.clock.advance(120)
    return "batch-not-closed", str(batch_id)


def closed_batch(ward: Ward) -> tuple[str, str]:
    batch_id, _ = a_batch(ward)
    ward.sql("UPDATE imagegen_batches SET status = 'partial' WHERE id = :batch", batch=batch_id)
    return "batch-closed-early", str(batch_id)


def history_cut(ward: Ward) -> tuple[str, str]:
    job = ward.drawn()
    ward.sql("DELETE FROM imagegen_events WHERE job_id = :job AND move = 'complete'", job=job.id)
    return "history-differs", str(job.id)


def history_bent(ward: Ward) -> tuple[str, str]:
    job = ward.drawn()
    ward.sql("DELETE FROM imagegen_events WHERE job_id = :job AND move = 'deliver'", job=job.id)
    return "history-differs", str(job.id)


def fate(ward: Ward) -> tuple[str, str]:
    return "fate-unknown", str(ward.doubtful().attempt_id)


def orphan_blob(ward: Ward) -> tuple[str, str]:
    return "orphan-object", ward.put(layout.blob_key("a" * 64))


def orphan_attempt(ward: Ward) -> tuple[str, str]:
    return "orphan-object", ward.put(layout.attempt_key(uuid4()))


def orphan_input(ward: Ward) -> tuple[str, str]:
    return "orphan-object", ward.put(layout.input_key("c" * 64))


def stray_picture(ward: Ward) -> tuple[str, str]:
    return "published-without-job", ward.put(f"project_demo/branch_main/master-assets/fox_{uuid4()}.png")


def cancelled_picture(ward: Ward) -> tuple[str, str]:
    return "published-without-picture", ward.put(layout.picture_keys(ward.cancelled()).thumbnail)


def picture_gone(ward: Ward) -> tuple[str, str]:
    key = layout.picture_keys(ward.drawn()).thumbnail
    ward.blobs.delete(key)
    return "object-missing", key


def input_gone(ward: Ward) -> tuple[str, str]:
    key = layout.input_key("d" * 64)
    later = ward.world.clock.now() + timedelta(days=9)
    plan = {"references": [{"key": key}], "source": None, "mask": None}
    ward.world.job(plan=plan, waiting_for="scheduled", next_run_at=later, deadline_at=later)
    return "object-missing", key


def cache_dead(ward: Ward) -> tuple[str, str]:
    job = ward.drawn()
    blob = f"{uuid4().hex}{uuid4().hex}"
    change = "UPDATE imagegen_cache SET blob_sha256 = :blob WHERE fingerprint = :fingerprint"
    ward.sql(change, blob=blob, fingerprint=job.fingerprint)
    return "cache-without-blob", job.fingerprint


Plant = Callable[[Ward], tuple[str, str]]
PLANTS: list[Plant] = [
    open_attempt, unreserved, costs, committed, committed_live, spending, untimed, overdue, open_batch, closed_batch,
    history_cut, history_bent, fate, orphan_blob, orphan_attempt, orphan_input, stray_picture, cancelled_picture,
    picture_gone, input_gone, cache_dead,
]  # fmt: skip


def test_clean_after_work(ward: Ward) -> None:
    """Completed, cached, refused, doubtful, cancelled and live jobs and a batch: nothing but what is to be known."""
    first = ward.drawn("gemini")
    assert ward.drawn("gemini", fingerprint=first.fingerprint).cache_hit
    ward.drawn()
    ward.refused()
    ward.cancelled()
    doubtful = ward.doubtful()
    batch_id, jobs = a_batch(ward)
    for job in jobs:
        ward.world.chain(job)
    assert ward.world.store.jobs.get_batch(batch_id)[0].status is BatchStatus.COMPLETED
    ward.world.job()
    found = ward.findings()
    assert clean(found)
    assert {(one.severity, one.kind) for one in found} == {("info", "no-listing"), ("info", "fate-unknown")}
    assert ("fate-unknown", str(doubtful.attempt_id)) in ward.found()


def test_days_before_a_budget_was_set_are_not_its_own(ward: Ward) -> None:
    """A job of yesterday that commits more today: the new budget's account of yesterday has that alone, and may."""
    world, before = ward.world, ward.found()
    world.studio.submissions = [Delivered(data=b"<html>")]
    today = world.clock.now().date()
    job = world.job("gemini", owner="eve", max_paid_attempts=2, reserved_on=today - timedelta(days=1))
    ward.budgets.set("owner:eve", "day", Decimal(9), True, at=world.clock.now())
    world.chain(job)
    assert world.now(job).cost_wasted
    ward.drawn("gemini", owner="eve")
    assert ward.found() == before
    ward.sql("UPDATE imagegen_spending SET committed = 7 WHERE scope = 'owner:eve'")
    assert ward.found() - before == {("spending-differs", f"owner:eve day {today}")}
    ward.budgets.remove("owner:eve")


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_each_inconsistency_is_found(ward: Ward, plant: Plant) -> None:
    """Whatever is planted is found, it alone, with what to do about it."""
    before = ward.found()
    expected = plant(ward)
    assert ward.found() - before == {expected}
    one = next(one for one in ward.findings() if (one.kind, one.id) == expected)
    assert one.what
    assert one.remedy.endswith(".")
    assert (one.severity == "info") == (one.kind == "fate-unknown")


def test_other_hosts_are_named(ward: Ward) -> None:
    """An address that is not the provider's documented one is told, without its secrets."""
    settings = Settings.load({"GEMINI_API_URL": "http://me:secret@127.0.0.1:9"}, ward.blobs.root)
    told = [one.what for one in examine(ward.world.services, settings) if one.kind == "other-host"]
    assert told == ["is reached at 127.0.0.1:9, which is not its documented host"]


def test_young_objects_are_left_alone(ward: Ward) -> None:
    """What was stored a moment ago may wait for its row."""
    before = ward.found()
    keys = [layout.blob_key("e" * 64), layout.input_key("e" * 64), f"project_demo/fox_{uuid4()}.png"]
    for key in keys:
        ward.put(key, timedelta(hours=1))
    assert ward.found() == before


def test_what_goes_while_it_is_looked_at_is_no_finding(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job is erased, and a picture leaves the cache, between the look at the row and the look at its object."""
    before, erased, purged = ward.found(), ward.drawn(), ward.drawn()
    keys = layout.picture_keys(erased)
    blob = layout.blob_key("8" * 64)
    change = "UPDATE imagegen_cache SET blob_sha256 = :blob WHERE fingerprint = :fingerprint"
    ward.sql(change, blob="8" * 64, fingerprint=purged.fingerprint)
    head = ward.blobs.head

    def meanwhile(key: str) -> object:
        if key == keys.picture:
            ward.sql("UPDATE image_generation_jobs SET erase_at = now() WHERE id = :job", job=erased.id)
        if key == blob:
            ward.sql("DELETE FROM imagegen_cache WHERE fingerprint = :fingerprint", fingerprint=purged.fingerprint)
        return head(key)

    ward.blobs.delete(keys.picture)
    monkeypatch.setattr(ward.blobs, "head", meanwhile)
    assert ward.found() == before
    monkeypatch.undo()
    ward.sql("UPDATE image_generation_jobs SET erase_at = NULL WHERE id = :job", job=erased.id)
    assert ward.found() - before == {("object-missing", keys.picture)}


def test_styles_keep_their_references(ward: Ward) -> None:
    """An input that only a stored style names is no orphan."""
    sha256 = "f" * 64
    ward.put(layout.input_key(sha256))
    body = f'{{"name": "noir", "references": ["input:{sha256}"]}}'
    ward.sql(
        "INSERT INTO imagegen_styles (owner, id, sha256, body, created_at, updated_at) "
        "VALUES ('', 'noir', '', CAST(:body AS jsonb), now(), now()) ON CONFLICT DO NOTHING",
        body=body,
    )
    assert ("orphan-object", layout.input_key(sha256)) not in ward.found()


SAFE: list[Plant] = [
    spending, orphan_blob, orphan_attempt, orphan_input, stray_picture, cancelled_picture, cache_dead, open_batch,
]  # fmt: skip


def test_repair_does_what_is_safe(ward: Ward) -> None:
    """Orphans go, spending is counted anew, batches close, dead cache rows go; all else stays as it was found."""
    planted = {plant(ward) for plant in SAFE}
    before = ward.found()
    done = {(one.finding.kind, one.finding.id): one.done for one in repair(ward.findings(), ward.world.services)}
    assert planted <= set(done)
    assert set(done.values()) == {
        "deleted", "dropped", "closed, and told to whoever waits", "set to the sum over its jobs",
    }  # fmt: skip
    assert ward.found() == before - set(done)


def test_repair_looks_again(ward: Ward) -> None:
    """What came to be needed between the finding and its repair is kept."""
    key = ward.put(layout.blob_key("9" * 64))
    found = [one for one in ward.findings() if one.id == key]
    job = ward.drawn()
    ward.sql("UPDATE image_generation_jobs SET blob_sha256 = :blob WHERE id = :job", blob="9" * 64, job=job.id)
    assert [one.done for one in repair(found, ward.world.services)] == ["kept: a row refers to it meanwhile"]
    assert ward.blobs.head(key) is not None


def test_repair_keeps_what_is_stored_again(ward: Ward) -> None:
    """The same bytes came once more after the examination: the row that names them may be on its way."""
    key = ward.put(layout.input_key("7" * 64))
    found = [one for one in ward.findings() if one.id == key]
    ward.put(key, timedelta(0))
    (repaired,) = repair(found, ward.world.services)
    assert repaired.done.startswith("kept: it was stored again")
    assert ward.blobs.head(key) is not None
