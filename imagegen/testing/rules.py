"""What the in-memory double decides about one job; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from imagegen import policies
from imagegen.jobs import Batch, Job
from imagegen.moves import AMENDING, ANSWERS, ENDS_AT_DEADLINE, REOPENING, SLOT_ENDS
from imagegen.records import BatchFilter, Facts, JobFilter, Move, Polled
from imagegen.states import TERMINAL, MoveName, Stage, Status, failure_stage

_PACED = ("pace", "in_flight")
_EQUAL = ("owner", "status", "provider", "project_id", "job_type", "batch_id", "replaces", "emulated")


def plain(value: Any) -> Any:
    """As it would come back from a JSON column: what JSON cannot hold is refused here too."""
    return json.loads(json.dumps(value, default=exact, allow_nan=False))


def exact(value: Any) -> Any:
    """What JSON cannot write itself."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Decimal | UUID | datetime):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def matches(job: Job, where: JobFilter) -> bool:
    """Whether the filter lets the job through."""
    return (
        all(getattr(where, name) in {None, getattr(job, name)} for name in _EQUAL)
        and where.code in {None, job.error_code}
        and (where.since is None or job.created_at >= where.since)
        and (where.until is None or job.created_at < where.until)
    )


def matches_batch(batch: Batch, jobs: Sequence[Job], where: BatchFilter) -> bool:
    """Whether the filter lets the batch through."""
    return (
        where.owner in {None, batch.owner}
        and where.status in {None, batch.status.value}
        and any(where.project_id in {None, job.project_id} and where.job_type in {None, job.job_type} for job in jobs)
        and (where.since is None or batch.created_at >= where.since)
        and (where.until is None or batch.created_at < where.until)
    )


def place(row: Job | Batch) -> tuple[datetime, UUID]:
    """Where it stands in lists, which show the newest first."""
    return row.created_at, row.id


def at_or_before(job: Job, at: datetime) -> bool:
    """Whether the job is due at this time."""
    return job.next_run_at is not None and job.next_run_at <= at


def taken(job: Job, move: Move) -> bool:
    """Whether a live worker holds it, or it is parked."""
    held = move.name is not MoveName.CLAIM and job.claim is not None
    return (held or job.waiting_for is not None) and not at_or_before(job, move.at)


def as_seen(job: Job, move: Move) -> bool:
    """Whether it still stands where the move saw it."""
    status, stage = move.seen or (None, None)
    return status in {None, job.status} and stage in {None, job.stage} and move.run in {None, job.run}


def stopped(job: Job, move: Move) -> bool:
    """Whether its owner stopped the job during the paid call that this answers."""
    return job.stopped and move.name in ANSWERS and move.facts is not None


def polling(job: Job) -> bool:
    """Whether it waits for its provider."""
    return job.status is Status.GENERATING and job.stage is Stage.POLL


def rank(job: Job, at: datetime) -> float:
    """Priority, lifted by one step for each minute of waiting."""
    waited = at - job.next_run_at if job.next_run_at else timedelta(0)
    return job.priority - waited.total_seconds() / policies.AGEING


def left_alone(job: Job, at: datetime, crowded: frozenset[Stage]) -> bool:
    """Whether the sweep leaves a job that is due: it waits for a slot, or its hint most likely waits in a queue."""
    if job.waiting_for in _PACED and job.slot_at is None:
        return at < job.deadline_at
    over = job.deadline_at <= at and job.stage in ENDS_AT_DEADLINE
    hinted = job.stage in crowded and job.hints > 0 and job.claim is None
    return hinted and not over and not at_or_before(job, at - policies.CROWDED_PATIENCE)


def timing(job: Job, move: Move, target: Status) -> dict[str, Any]:
    """When it runs again, who holds it, and what it waits for."""
    if move.name is MoveName.STOP:
        return {}
    if move.name in AMENDING:
        return {"announce_at": move.until}
    if target in TERMINAL:
        nothing = {"next_run_at": None, "claim": None, "waiting_for": None, "woken": False, "hints": 0}
        return {**nothing, "completed_at": move.at, "announce_at": move.until}
    next_run_at = move.at if move.parked and job.woken else move.until
    woken = job.woken and not move.parked
    resting = {"claim": move.claim, "waiting_for": move.waiting_for, "woken": woken, "hints": 0}
    return {**resting, "next_run_at": next_run_at}


def consequences(job: Job, move: Move) -> dict[str, Any]:
    """What follows from the kind of move itself."""
    slot = {"slot_at": None} if move.name in SLOT_ENDS else {}
    return slot | _consequences(job, move)


def _consequences(job: Job, move: Move) -> dict[str, Any]:
    if move.name is MoveName.STOP:
        return {"stopped": True}
    if move.name is MoveName.FAIL:
        return {"failure_stage": failure_stage(job.status, job.stage).value}
    if move.name in REOPENING:
        errors = dict.fromkeys(("error_code", "error_message", "error_retryable", "failure_stage"))
        again = job.run + (move.name is MoveName.RETRY)
        return {**errors, "stopped": False, "completed_at": None, "announce_at": None, "run": again}
    if move.new_attempt is not None:
        new = move.new_attempt
        tried = job.tried if new.provider in job.tried else (*job.tried, new.provider)
        unknown = {"provider_job_id": None, "result_url": None}
        return {"attempt_id": new.id, "attempts": job.attempts + 1, "tried": tried, **unknown}
    return {}


def found(one: Polled) -> Facts:
    """What a poll that brought a picture tells of its attempt."""
    return Facts(
        attempt_id=one.attempt_id, state="succeeded", result_url=one.result_url, usage=one.usage, actual=one.actual
    )


def delivered(one: Polled, at: datetime, until: datetime, worker: str) -> Move:
    """The move of a job whose picture a poll brought."""
    return Move(
        job_id=one.job_id,
        name=MoveName.DELIVER,
        at=at,
        cause="polled",
        worker=worker,
        stage=Stage.DOWNLOAD,
        until=until,
        changes={"result_url": one.result_url, "billed": "yes"},
    )
