"""What the in-memory double decides about one job; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from imagegen.jobs import Job
from imagegen.moves import REOPENING
from imagegen.records import Facts, JobFilter, Move, Polled
from imagegen.states import MoveName, Stage, Status, failure_stage

_EQUAL = ("owner", "status", "provider", "project_id", "job_type", "batch_id", "emulated")


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
    return status in {None, job.status} and stage in {None, job.stage}


def polling(job: Job) -> bool:
    """Whether it waits for its provider."""
    return job.status is Status.GENERATING and job.stage is Stage.POLL


def rank(job: Job, at: datetime) -> float:
    """Priority, lifted by one step for each minute of waiting."""
    waited = at - job.next_run_at if job.next_run_at else timedelta(0)
    return job.priority - waited.total_seconds() / 60


def consequences(job: Job, move: Move) -> dict[str, Any]:
    """What follows from the kind of move itself."""
    if move.name is MoveName.FAIL:
        return {"failure_stage": failure_stage(job.status, job.stage).value}
    if move.name in REOPENING:
        errors = dict.fromkeys(("error_code", "error_message", "error_retryable", "failure_stage"))
        again = job.run + (move.name is MoveName.RETRY)
        return {**errors, "completed_at": None, "announce_at": None, "run": again}
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
