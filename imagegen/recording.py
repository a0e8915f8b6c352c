"""Writing down what happened: building moves, and committing what must not be forgotten."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from imagegen import policies
from imagegen.errors import ImagegenError, PartUnavailable
from imagegen.jobs import Job
from imagegen.ports import Clock, Services
from imagegen.records import AttemptState, Facts, Move
from imagegen.states import MoveName, Stage, Status

Answer = TypeVar("Answer")

_ANYWHERE = {MoveName.FAIL, MoveName.REPEAT, MoveName.STAND_IN, MoveName.CANCEL}
"""Moves whose rule allows more than the place where this worker saw the job."""


def move(job: Job, name: MoveName, services: Services, *, until: timedelta | None = None, **fields: Any) -> Move:
    """A move of this job as this worker sees it: now, under its claim, `until` counted from now.

    What is said of a paid call is guarded by its attempt, not by the claim: its answer counts however late it comes,
    also after the job was handed to reconcile.
    """
    now = services.clock.now()
    paying = job.status is Status.GENERATING
    stage = None if paying and job.stage is Stage.GENERATE else job.stage
    return Move(
        job_id=job.id,
        name=name,
        at=now,
        worker=services.worker,
        until=None if until is None else now + until,
        held=None if paying else job.claim,
        seen=(job.status, stage) if name in _ANYWHERE else None,
        **fields,
    )


def patiently(
    action: Callable[[], Answer], clock: Clock, away: tuple[type[ImagegenError], ...] = (PartUnavailable,)
) -> Answer:
    """Repeats `action` while its part is away, for `policies.COMMIT_PATIENCE` seconds (law 5), then raises."""
    give_up = clock.monotonic() + policies.COMMIT_PATIENCE
    pause = 0.1
    while True:
        try:
            return action()
        except away as error:
            if not error.retryable or clock.monotonic() + pause >= give_up:
                raise
            clock.sleep(pause)
            pause = min(pause * 2, 5.0)


def commit(outcome: Move, services: Services) -> Job | None:
    """Applies a move that says what a paid call came to, waiting for PostgreSQL if it is away."""
    return patiently(lambda: services.jobs.apply(outcome), services.clock)


def facts_of(job: Job, state: AttemptState, **known: Any) -> Facts:
    """What became known of the job's current attempt."""
    if job.attempt_id is None:
        raise ValueError(f"job {job.id} has no attempt")
    return Facts(attempt_id=job.attempt_id, state=state, **known)


def reserve(outcome: Move, services: Services) -> Job | None:
    """`commit` of a move after which more may be paid than before; raises `BudgetExceeded`, and nothing is written."""
    return patiently(lambda: services.jobs.reserve(outcome), services.clock)
