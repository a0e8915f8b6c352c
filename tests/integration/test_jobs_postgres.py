"""What only a real PostgreSQL shows: races, one statement per call, lost connections, and users' own reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DataError, IntegrityError

from imagegen.errors import PartUnavailable
from imagegen.records import Entry, Holding, JobFilter, Polled, Settled
from imagegen.states import MoveName, Stage, Status
from storage import engine as engine_module
from storage import moves
from storage.engine import Database
from storage.jobs import PostgresJobs
from tests.jobs_kit import (
    CENTS,
    GRACE,
    PostgresStore,
    accepted,
    admit,
    at,
    attempt,
    claimed,
    completed,
    delivered,
    facts,
    known,
    moved,
    new_batch,
    new_job,
    step,
    submitted,
)
from tests.jobs_races import THREADS, counted, together, until_blocked

pytest_plugins = ["tests.stores"]


def test_one_of_many_claims_wins(postgres: PostgresStore) -> None:
    """Eight workers claim each of ten jobs at once: one winner each, one event each."""
    jobs = [admit(postgres) for _ in range(10)]
    won = together(
        lambda _: [
            job.id for job in jobs if postgres.jobs.claim(step(job, MoveName.CLAIM, claim=uuid4()), None) is not None
        ]
    )
    assert Counter(job_id for ids in won for job_id in ids) == {job.id: 1 for job in jobs}
    assert all([event.move for event in postgres.jobs.history(job.id)] == ["admit", "claim"] for job in jobs)


def test_sweeps_share_the_work(postgres: PostgresStore) -> None:
    """Sweeps at the same moment take different jobs, and together all of them."""
    ids = {admit(postgres).id for _ in range(60)}

    def sweep(_: int) -> list[Any]:
        taken = []
        while found := postgres.jobs.due(at=at(0), limit=7, grace=GRACE, worker="sweep"):
            taken += [job.id for job in found]
        return taken

    taken = [job_id for one in together(sweep) for job_id in one]
    assert len(taken) == len(ids)
    assert set(taken) == ids


def test_a_batch_is_closed_by_exactly_one(postgres: PostgresStore) -> None:
    """Eight callers find the last member ended: one closes the batch."""
    batch, jobs = new_batch(4)
    postgres.jobs.admit(jobs, batch, worker="w1")
    for job in jobs:
        completed(postgres, job)
    closed = together(lambda _: postgres.jobs.close_batch(batch.id, at=at(1)))
    assert len([one for one in closed if one is not None]) == 1


def test_the_last_members_end_closes_the_batch(postgres: PostgresStore) -> None:
    """Members that end at the same moment, each then trying to close: exactly one does, none is left open."""
    for _ in range(5):
        batch, jobs = new_batch(4)
        postgres.jobs.admit(jobs, batch, worker="w1")

        def end(number: int, jobs: Any = jobs, batch_id: Any = batch.id) -> Any:
            moved(postgres, step(jobs[number], MoveName.CANCEL))
            return postgres.jobs.close_batch(batch_id, at=at(1))

        assert len([one for one in together(end, 4) if one is not None]) == 1


def test_a_close_that_waited_for_a_retry_closes_nothing(postgres: PostgresStore) -> None:
    """The member failed when the close began, and was queued again when it got the batch's row."""
    batch, jobs = new_batch(1)
    postgres.jobs.admit(jobs, batch, worker="w1")
    failed = moved(postgres, step(jobs[0], MoveName.FAIL))
    retry = step(failed, MoveName.RETRY, 1, target=Status.QUEUED, stage=Stage.GENERATE)
    named = {f"v_{name}": value for name, value in moves.values(retry).items()}
    with ThreadPoolExecutor(1) as pool, postgres.database.engine.connect() as plain:
        connection = plain.execution_options(isolation_level="READ COMMITTED")
        with connection.begin():
            assert connection.execute(moves.statement(moves.shape(retry)), named).all()
            closing = pool.submit(postgres.jobs.close_batch, batch.id, at=at(2))
            until_blocked(postgres.database, closing)
        assert closing.result(timeout=10) is None
    assert postgres.jobs.get_batch(batch.id)[0].completed_at is None


def test_a_wake_up_in_the_middle_of_a_park_is_kept(postgres: PostgresStore) -> None:
    """The callback holds the row while the worker parks: the park sees the wake-up and rests not at all."""
    job = submitted(postgres, admit(postgres))
    with ThreadPoolExecutor(1) as pool, postgres.database.engine.connect() as plain:
        connection = plain.execution_options(isolation_level="READ COMMITTED")
        with connection.begin():
            wake = "UPDATE {}.image_generation_jobs SET woken = true WHERE id = :id"
            connection.execute(text(wake.format(postgres.database.schema)), {"id": job.id})
            park = step(job, MoveName.ACCEPT, 2, stage=Stage.POLL, parked=True, waiting_for="provider")
            parking = pool.submit(postgres.jobs.apply, park)
            until_blocked(postgres.database, parking)
        parked = parking.result(timeout=10)
    assert parked is not None
    assert (parked.next_run_at, parked.woken) == (at(2), False)


def test_cancel_and_answer_at_the_same_moment(postgres: PostgresStore) -> None:
    """Whichever wins, the answer's facts are kept; where the end came first, the picture is to be collected."""
    for _ in range(10):
        job = submitted(postgres, admit(postgres))
        told = facts(job, "accepted", provider_job_id="p1")
        both = (
            step(job, MoveName.CANCEL, 1),
            step(job, MoveName.ACCEPT, 1, stage=Stage.POLL, facts=told),
        )
        together(lambda number, both=both: postgres.jobs.apply(both[number]), 2)
        assert known(postgres, job) == told
        assert postgres.jobs.get(job.id).status is Status.CANCELLED
        lost = [event.move for event in postgres.jobs.history(job.id)][-2:] == ["submit", "cancel"]
        assert attempt(postgres, job).collect_at == (at(1) if lost else None)


def test_a_resent_request_is_admitted_once(postgres: PostgresStore) -> None:
    """The same key from eight doors at once, for jobs and for batches: one row, everybody gets it."""
    jobs = [new_job(idempotency_key="k") for _ in range(THREADS)]
    answers = together(lambda number: postgres.jobs.admit([jobs[number]], None, worker="w1"))
    assert len({answer.jobs[0].id for answer in answers}) == 1
    assert [answer.created for answer in answers].count(True) == 1
    batches = [new_batch(3, idempotency_key="b") for _ in range(THREADS)]
    admitted = together(lambda number: postgres.jobs.admit(batches[number][1], batches[number][0], worker="w1"))
    assert len({tuple(job.id for job in answer.jobs) for answer in admitted}) == 1
    assert [answer.created for answer in admitted].count(True) == 1
    assert len(postgres.jobs.list(JobFilter())[0]) == 4


def test_chunks_with_the_same_jobs_never_lock_each_other(postgres: PostgresStore) -> None:
    """Polls of the same jobs in opposite order at once: no deadlock, each job moves once."""
    for _ in range(4):
        jobs = [accepted(postgres, admit(postgres)) for _ in range(15)]
        known = [(job.id, job.attempt_id or uuid4()) for job in jobs]
        found = [Polled(job_id=job, attempt_id=attempt, until=at(9), result_url="u") for job, attempt in known]
        sides = (found, found[::-1])

        def poll(number: int, sides: Any = sides) -> list[Any]:
            return [one.id for one in postgres.jobs.polled(sides[number % 2], at=at(31), worker="w", grace=GRACE)]

        assert Counter(job_id for ids in together(poll) for job_id in ids) == {job.id: 1 for job in jobs}


def test_every_call_is_one_statement(postgres: PostgresStore) -> None:
    """Each write, read, claim and sweep is one statement by itself; only a conflict at admission asks twice."""
    jobs, database = postgres.jobs, postgres.database
    batch, members = new_batch(4)
    ready = accepted(postgres, admit(postgres))
    upload = claimed(postgres, delivered(postgres, admit(postgres)), MoveName.PUBLISH)
    settle = Entry(kind="settle", amount=CENTS, attempt_id=upload.attempt_id)
    detail = {"picture": {"width": 1, "height": 1, "bytes": 1}}
    end = step(upload, MoveName.COMPLETE, held=upload.claim, entries=(settle,), detail=detail)
    found = Polled(job_id=ready.id, attempt_id=ready.attempt_id or uuid4(), until=at(9), result_url="u")
    calls: list[Callable[[], Any]] = [
        lambda: jobs.admit(members, batch, worker="w"),
        lambda: jobs.claim(step(members[0], MoveName.CLAIM, claim=uuid4()), {"chain": []}),
        lambda: jobs.apply(end),
        lambda: jobs.polled([found], at=at(1), worker="w", grace=GRACE),
        lambda: jobs.pollable([ready.id], at=at(0)),
        lambda: jobs.due(at=at(99), limit=9, grace=GRACE, worker="w"),
        lambda: jobs.get(ready.id),
        lambda: jobs.get_batch(batch.id),
        lambda: jobs.list(JobFilter(owner="ada")),
        lambda: jobs.history(ready.id),
        lambda: jobs.attempt(ready.attempt_id or uuid4()),
        lambda: jobs.close_batch(batch.id, at=at(99)),
        lambda: jobs.unclosed_batches(limit=9),
        lambda: jobs.unannounced(at=at(99), limit=9),
        lambda: jobs.announced([ready.id]),
        lambda: jobs.latencies("fal", "nano-banana"),
        lambda: jobs.cached("f", emulated=False),
        lambda: jobs.ordered("fal", "p1"),
        lambda: jobs.renew([Holding(job_id=job.id, claim=uuid4()) for job in members], until=at(99)),
        lambda: jobs.wake(ready.id, at=at(1)),
        lambda: jobs.alias(uuid4(), ready.id, batch=False),
        lambda: jobs.collectable(at=at(99), limit=9),
        lambda: jobs.collected(Settled(facts=facts(ready, "failed"), entries=(settle,)), at=at(99)),
    ]
    for call in calls:
        with counted(database) as sent:
            call()
        assert len(sent) == 1, sent
    with counted(database) as sent:
        jobs.admit(members, batch, worker="w")
    assert len(sent) == 2
    with database.engine.connect() as connection:
        assert connection.connection.driver_connection.autocommit


def test_what_postgresql_keeps_in_no_text_is_replaced(postgres: PostgresStore) -> None:
    """A provider's message with a NUL or half a surrogate pair never costs us the facts it comes with."""
    job = submitted(postgres, admit(postgres, metadata={"k": "\\u0000 \U0001f98a"}))
    message = "bad\x00 \ud83d \U0001f98a"
    told = facts(job, "failed", error={"message": message, "parts": [message]}, provider_job_id=message)
    failed = moved(postgres, step(job, MoveName.FAIL, facts=told, changes={"error_message": message}))
    kept = "bad\ufffd ? \U0001f98a"
    assert failed.error_message == kept
    assert failed.metadata == {"k": "\\u0000 \U0001f98a"}
    assert known(postgres, job) == replace(told, error={"message": kept, "parts": [kept]}, provider_job_id=kept)


def test_errors_keep_prompts_to_themselves(postgres: PostgresStore) -> None:
    """The text of a statement's error carries none of its values."""
    batch, jobs = new_batch(1)
    postgres.jobs.admit(jobs, batch, worker="w1")
    twin, members = new_batch(1)
    with pytest.raises(IntegrityError) as raised:
        postgres.jobs.admit([replace(members[0], id=jobs[0].id, prompt="a secret fox")], twin, worker="w1")
    assert "secret" not in str(raised.value)


def test_a_failing_statement_writes_nothing(postgres: PostgresStore) -> None:
    """A ledger line that PostgreSQL refuses takes the whole move with it: state, event and attempt."""
    job = submitted(postgres, admit(postgres))
    wrong = Entry(kind="settle", amount=CENTS, attempt_id=uuid4())
    with pytest.raises(IntegrityError):
        postgres.jobs.apply(step(job, MoveName.CANCEL, 1, entries=(wrong,), facts=facts(job, "failed")))
    assert postgres.jobs.get(job.id) == job
    assert known(postgres, job) == facts(job, "submitting")
    assert postgres.jobs.history(job.id)[-1].move == "submit"


def test_a_batch_with_a_strangers_member_is_refused_whole(postgres: PostgresStore) -> None:
    """A member's id that is already another job's: neither batch nor members are written."""
    old = admit(postgres)
    batch, jobs = new_batch(2)
    with pytest.raises(IntegrityError):
        postgres.jobs.admit([jobs[0], replace(jobs[1], id=old.id)], batch, worker="w1")
    assert [job.id for job in postgres.jobs.list(JobFilter())[0]] == [old.id]


def test_errors_of_the_statement_pass_as_they_are(postgres: PostgresStore) -> None:
    """What PostgreSQL refuses for good is no outage: nobody shall wait for it to pass."""
    with pytest.raises(DataError):
        postgres.database.run(text("SELECT 1/0"))


def test_a_broken_connection_is_replaced(postgres: PostgresStore, database_url: str) -> None:
    """The server ends our sessions: the call in hand says PartUnavailable, the next one works."""
    job = admit(postgres)
    other = Database(database_url)
    other.run(
        text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
             " AND datname = current_database()")
    )  # fmt: skip
    other.close()
    with pytest.raises(PartUnavailable) as raised:
        postgres.jobs.get(job.id)
    assert raised.value.details["part"] == "PostgreSQL"
    assert postgres.jobs.get(job.id) == job


def test_a_standby_is_no_place_to_write(postgres: PostgresStore) -> None:
    """After a failover the old address may be read-only: PartUnavailable, and the next call connects anew."""
    job = admit(postgres)
    postgres.database.close()
    postgres.database.run(text("SET default_transaction_read_only = on"))
    with pytest.raises(PartUnavailable):
        postgres.jobs.apply(step(job, MoveName.CANCEL))
    assert moved(postgres, step(job, MoveName.CANCEL)).status is Status.CANCELLED


def test_a_server_that_is_not_there_is_named() -> None:
    """Nobody listens: PartUnavailable, without the password."""
    nowhere = Database("postgres://ada:geheim@127.0.0.1:1/nothing")
    with pytest.raises(PartUnavailable) as raised:
        PostgresJobs(nowhere).get(uuid4())
    assert "geheim" not in str(raised.value)
    assert raised.value.retryable


def test_an_exhausted_pool_is_named(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More threads than connections, all busy: PartUnavailable after a while, not a hang."""
    monkeypatch.setattr(engine_module, "POOL_TIMEOUT", 0.05)
    small = Database(database_url, threads=1)
    with small.engine.connect(), small.engine.connect(), pytest.raises(PartUnavailable, match="pool"):
        small.check()
    small.check()
    small.close()


def test_a_forked_child_opens_its_own_pool(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process id means another engine; the parent's is neither used nor closed."""
    mine = database.engine
    monkeypatch.setattr(engine_module.os, "getpid", lambda: -1)
    childs = database.engine
    assert childs is not mine
    database.check()
    database.close()
    monkeypatch.undo()
    assert database.engine is mine
    database.check()


def test_users_reports_run_as_they_stand(postgres: PostgresStore) -> None:
    """Group by job type or status, with averages and sums of cost and of time to the end."""
    database = postgres.database
    for number in range(3):
        completed(postgres, admit(postgres), seconds=10 * (number + 1))
    moved(postgres, step(admit(postgres, job_type="inpaint"), MoveName.CANCEL, 5))
    report = (
        "SELECT {by} AS name, count(*) AS n, avg(cost_credits) AS mean, sum(cost_credits) AS total,"
        " avg(completed_at - created_at) AS took FROM {schema}.image_generation_jobs GROUP BY {by} ORDER BY {by}"
    )
    by_type = database.run(text(report.format(by="job_type", schema=database.schema)))
    assert [(row["name"], row["n"], row["total"]) for row in by_type] == [
        ("inpaint", 1, None),
        ("master_asset", 3, Decimal("0.117")),
    ]
    assert by_type[1]["took"] == at(20) - at(0)
    by_status = database.run(text(report.format(by="status", schema=database.schema)))
    assert [(row["name"], row["mean"]) for row in by_status] == [("cancelled", None), ("completed", CENTS)]
