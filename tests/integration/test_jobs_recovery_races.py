"""Races on a real PostgreSQL between workers, owners and sweeps: nothing is lost, nothing is handed out twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

from sqlalchemy import text

from imagegen.jobs import Job
from imagegen.records import Facts, Holding, Move, Polled
from imagegen.states import MoveName, Stage, Status
from storage import bulk, moves
from tests.jobs_kit import (
    CENTS,
    GRACE,
    PostgresStore,
    accepted,
    admit,
    at,
    attempt,
    claimed,
    facts,
    known,
    moved,
    step,
    submitted,
)
from tests.jobs_races import together, transaction, until_blocked

pytest_plugins = ["tests.stores"]


def named(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as a statement outside of `Database.run` takes them."""
    return {f"v_{name}": value for name, value in values.items()}


def between(postgres: PostgresStore, first: Move, second: Any) -> Any:
    """The answer of `second`, which began before `first` was committed, and waited for it."""
    with ThreadPoolExecutor(1) as pool:
        with transaction(postgres.database) as connection:
            assert connection.execute(moves.statement(moves.shape(first)), named(moves.values(first))).all()
            waiting = pool.submit(second)
            until_blocked(postgres.database, waiting)
        return waiting.result(timeout=10)


def told(job: Job) -> Facts:
    """The answer of the job's paid call: it was taken."""
    return facts(job, "accepted", provider_job_id="p1")


def accepting(job: Job, seconds: float = 2) -> Move:
    """That answer's move."""
    return step(job, MoveName.ACCEPT, seconds, stage=Stage.POLL, facts=told(job))


def test_a_stop_that_comes_first_keeps_the_answer_from_moving(postgres: PostgresStore) -> None:
    """The answer waits for the owner's STOP, and then finds the job stopped; its facts are kept."""
    job = submitted(postgres, admit(postgres))
    assert between(postgres, step(job, MoveName.STOP, 1), lambda: postgres.jobs.apply(accepting(job))) is None
    assert (postgres.jobs.get(job.id).stopped, postgres.jobs.get(job.id).stage) == (True, Stage.GENERATE)
    assert known(postgres, job) == told(job)


def test_a_stop_that_comes_second_finds_the_job_moved(postgres: PostgresStore) -> None:
    """The owner's STOP waits for the answer, and then there is no paid call to stop."""
    job = submitted(postgres, admit(postgres))
    stop = step(job, MoveName.STOP, 1)
    assert between(postgres, accepting(job), lambda: postgres.jobs.apply(stop)) is None
    assert not postgres.jobs.get(job.id).stopped


def test_stop_and_answer_at_the_same_moment(postgres: PostgresStore) -> None:
    """From two connections at once: exactly one of them moves the job."""
    for _ in range(10):
        job = submitted(postgres, admit(postgres))
        both = (step(job, MoveName.STOP, 1), accepting(job))
        stopped, went_on = together(lambda number, both=both: postgres.jobs.apply(both[number]), 2)
        assert (stopped is None) != (went_on is None)
        found = postgres.jobs.get(job.id)
        assert (found.stopped, found.stage) == ((True, Stage.GENERATE) if stopped else (False, Stage.POLL))


def test_an_end_newer_than_the_snapshot_has_its_answer_collected(postgres: PostgresStore) -> None:
    """The answer began while the job was live, and waited for its end: its picture is to be looked for all the same."""
    job = submitted(postgres, admit(postgres))
    assert between(postgres, step(job, MoveName.CANCEL, 1), lambda: postgres.jobs.apply(accepting(job))) is None
    assert attempt(postgres, job).collect_at == at(2)


def test_a_poll_that_waited_for_the_end_is_collected(postgres: PostgresStore) -> None:
    """The same for what a chunk of polls finds; the other jobs of the chunk are moved."""
    job, other = accepted(postgres, admit(postgres)), accepted(postgres, admit(postgres))
    found = [
        Polled(job_id=one.id, attempt_id=one.attempt_id or uuid4(), until=at(9), result_url="https://p/1.png")
        for one in (job, other)
    ]
    arrived = between(
        postgres,
        step(job, MoveName.CANCEL, 1),
        lambda: postgres.jobs.polled(found, at=at(31), worker="w1", grace=GRACE),
    )
    assert [one.id for one in arrived] == [other.id]
    assert (attempt(postgres, job).collect_at, attempt(postgres, other).collect_at) == (at(31), None)
    assert attempt(postgres, job).result_url == "https://p/1.png"


def test_facts_that_wait_for_each_other_add_up(postgres: PostgresStore) -> None:
    """Somebody else writes the attempt while an answer is on its way to it: both are kept, the job moves once."""
    job = submitted(postgres, admit(postgres))
    write = text(f"UPDATE {postgres.database.schema}.imagegen_attempts SET usage = '{{\"n\": 1}}' WHERE id = :id")
    with ThreadPoolExecutor(1) as pool:
        with transaction(postgres.database) as connection:
            connection.execute(write, {"id": job.attempt_id})
            answering = pool.submit(postgres.jobs.apply, accepting(job))
            until_blocked(postgres.database, answering)
        assert answering.result(timeout=10) is not None
    learnt = attempt(postgres, job)
    assert (learnt.state, learnt.provider_job_id, learnt.usage) == ("accepted", "p1", {"n": 1})
    moved(postgres, step(job, MoveName.CANCEL, 3))
    late = step(job, MoveName.DELIVER, 4, stage=Stage.UPLOAD, facts=facts(job, "succeeded", blob_sha256="b" * 64))
    with ThreadPoolExecutor(1) as pool:
        with transaction(postgres.database) as connection:
            connection.execute(write, {"id": job.attempt_id})
            answering = pool.submit(postgres.jobs.apply, late)
            until_blocked(postgres.database, answering)
        assert answering.result(timeout=10) is None
    assert attempt(postgres, job).collect_at == at(4)


def test_a_sign_of_life_that_waited_for_the_sweep(postgres: PostgresStore) -> None:
    """The sweep frees a claim and a paid call in doubt while their worker renews: only the latter is put off."""
    held, bought = claimed(postgres, admit(postgres)), submitted(postgres, admit(postgres))
    alive = [Holding(job_id=job.id, claim=job.claim or uuid4(), attempt_id=job.attempt_id) for job in (held, bought)]
    values = {"at": at(30), "limit": 9, "grace": 5.0, "worker": "sweep", "detail": {}, "crowded": []}
    with ThreadPoolExecutor(1) as pool:
        with transaction(postgres.database) as connection:
            assert len(connection.execute(bulk.DUE, named(values)).all()) == 2
            renewing = pool.submit(postgres.jobs.renew, alive, until=at(50))
            until_blocked(postgres.database, renewing)
        renewing.result(timeout=10)
    freed, doubted = postgres.jobs.get(held.id), postgres.jobs.get(bought.id)
    assert (freed.status, freed.next_run_at) == (Status.QUEUED, at(35))
    assert (doubted.stage, doubted.next_run_at) == (Stage.RECONCILE, at(50))


def test_a_sweep_passes_by_what_is_being_renewed(postgres: PostgresStore) -> None:
    """Renewals and sweeps of the same jobs at once: whoever is first, no job is both freed and kept."""
    jobs = [claimed(postgres, admit(postgres)) for _ in range(20)]
    alive = [Holding(job_id=job.id, claim=job.claim or uuid4()) for job in jobs]

    def act(number: int) -> set[Any]:
        if number % 2:
            postgres.jobs.renew(alive[:: 1 if number % 4 == 1 else -1], until=at(60))
            return set()
        return {job.id for job in postgres.jobs.due(at=at(30), limit=99, grace=GRACE, worker="sweep")}

    freed = set().union(*together(act))
    for job in jobs:
        found = postgres.jobs.get(job.id)
        kept = (found.claim, found.next_run_at) == (job.claim, at(60))
        assert kept != (job.id in freed)
        assert kept or (found.claim, found.next_run_at) == (None, at(35))


def test_each_attempt_is_handed_out_once(postgres: PostgresStore) -> None:
    """Eight sweeps at the same moment share the attempts: each is looked for by one of them."""
    jobs = [submitted(postgres, admit(postgres)) for _ in range(40)]
    for job in jobs:
        moved(postgres, step(job, MoveName.FAIL, 1, facts=facts(job, "unknown", collect=True)))

    def sweep(_: int) -> list[Any]:
        taken = []
        while found := postgres.jobs.collectable(at=at(2), limit=3):
            taken += [one.id for one in found]
        return taken

    handed = Counter(one for ids in together(sweep) for one in ids)
    assert handed == {job.attempt_id: 1 for job in jobs}


def test_aliases_told_at_once_are_all_kept(postgres: PostgresStore) -> None:
    """Eight ids for one job at the same moment: each is there, once."""
    job = admit(postgres, cost_estimated=CENTS)
    ids = [uuid4() for _ in range(4)]
    together(lambda number: postgres.jobs.alias(ids[number % 4], job.id, batch=False))
    assert sorted(postgres.jobs.get(job.id).aliases) == sorted(ids)
