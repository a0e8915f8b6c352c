"""What lets a retry be sent again: the history line that it writes remembers its key.

So a key holds for as long as the job does, at every door, and is written in the same statement as what it guards.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from imagegen.errors import IdempotencyConflict
from imagegen.ids import retry_key_for
from imagegen.jobs import Job
from imagegen.ports import Services
from imagegen.states import MoveName


@dataclass(frozen=True)
class Keyed:
    """A retry of a job, or of these `members` of a batch, under a key: each of them goes on once by it."""

    key: str
    buy: bool
    members: tuple[UUID, ...]

    @property
    def detail(self) -> dict[str, Any]:
        """What the history remembers of it."""
        return {"key": self.key, "buy": self.buy, "members": [str(one) for one in self.members]}


def keyed(subject: UUID, key: str | None, buy: bool, members: Collection[UUID]) -> Keyed | None:
    """The retry of this job or batch under the caller's key; None: there is none, and each is one of its own."""
    return None if key is None else Keyed(retry_key_for(subject, key), buy, tuple(members))


def meant(jobs: Sequence[Job], mark: Keyed, services: Services) -> tuple[frozenset[UUID], frozenset[UUID]]:
    """The jobs that an earlier retry under this key meant, and those of them that went on by it.

    Raises `IdempotencyConflict` where that one had another body.
    """
    wanted: set[UUID] = set()
    done: set[UUID] = set()
    for job in jobs:
        for event in services.jobs.history(job.id) if job.run > 1 else ():
            if event.move != MoveName.RETRY or event.detail.get("key") != mark.key:
                continue
            if event.detail["buy"] is not mark.buy:
                raise IdempotencyConflict("this idempotency key was used for a retry with another `buy`")
            wanted |= {UUID(one) for one in event.detail["members"]}
            done.add(job.id)
    return frozenset(wanted), frozenset(done)
