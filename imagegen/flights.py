"""Single flight: of identical jobs at once, one buys the picture, and the others wait for it. Pure.

    claim ──no picture yet, nobody flies──► leads the flight ──► completed: everybody hits the cache
      │                                            ├─► refused for what was asked: everybody is refused alike
      └──somebody flies──► waits (`flight`)        └─► parked, failed, cancelled: the most urgent one leads

A flight belongs to a fingerprint. Whoever wants a fresh picture neither waits nor leads. A leader keeps its flight
while it is claimed, bought, reconciled or published, and while it waits for a slot of its provider's limit; whatever
else parks or ends it gives the flight away in the same statement.
"""

from __future__ import annotations

from imagegen.errors import ContentRefused, InvalidRequest
from imagegen.jobs import Job
from imagegen.records import Move
from imagegen.states import MoveName, Status

FLIGHT = "flight"
"""`waitingFor.reason` of a job that waits for another one's purchase of the same picture."""

SHARED = frozenset({ContentRefused.code, InvalidRequest.code})
"""Refusals of what was asked: the same words are refused again, so those who waited are not sent to ask."""

LANDS = frozenset(
    {MoveName.HOLD, MoveName.REPEAT, MoveName.COMPLETE, MoveName.STAND_IN, MoveName.FAIL, MoveName.CANCEL}
)
"""Moves by which a leader leaves its flight."""

FLYING = frozenset({Status.PROCESSING, Status.GENERATING, Status.UPLOADING})
"""Where a leader keeps its flight, whatever it waits for there."""


def wakes_all(move: Move) -> bool:
    """Whether all who waited learn their own end from this one; else one of them leads, and the others wait on."""
    return move.name is MoveName.COMPLETE or (move.name is MoveName.FAIL and move.changes.get("error_code") in SHARED)


def takes_part(job: Job) -> bool:
    """Whether the job waits for others of its kind, and they for it."""
    return not job.fresh and job.fingerprint != ""
