"""The forgetting of what was asked for and drawn, as a protocol: `imagegen.ports.Erasures`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from imagegen.jobs import Job
from imagegen.records import Attempt


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Whose content goes: that of one job, with its replacements and what it replaces, or all of an owner's."""

    job_id: UUID | None = None
    owner: str | None = None


@dataclass(frozen=True, kw_only=True)
class Stake:
    """What an erasure is about: jobs not erased yet, those of them still live, published pictures, their bytes, and
    the owner's own styles."""

    jobs: int = 0
    live: int = 0
    pictures: int = 0
    bytes: int = 0
    styles: int = 0


@dataclass(frozen=True, kw_only=True)
class Erasing:
    """An ended job whose content is to go, and its paid calls."""

    job: Job
    attempts: Sequence[Attempt]


@dataclass(frozen=True)
class Discard:
    """An original or input that lost a referrer. `referred`: another row needs it still."""

    key: str
    referred: bool


class Erasures(Protocol):
    """Intent first, then the objects, then the rows: whatever is interrupted is handed out again by `due`.

    A job with `erase_at` is never continued, proven or replaced. What remains of it is ids, times, costs, provider,
    model and status.
    """

    def stake(self, scope: Scope) -> Stake:
        """What there is to erase."""
        ...

    def request(self, scope: Scope, *, at: datetime, until: datetime) -> Sequence[UUID]:
        """Writes the intent for the scope's jobs, and drops an owner's own styles; `until` the sweep leaves them
        alone. Returns those that are live."""
        ...

    def retire(self, lives: Mapping[str, timedelta], *, at: datetime, limit: int) -> int:
        """Writes the intent for at most `limit` jobs that ended longer ago than the life of their type; how many.

        A batch goes when all of its members may, and a job together with its replacements.
        """
        ...

    def due(self, *, at: datetime, until: datetime, limit: int, scope: Scope | None = None) -> Sequence[Erasing]:
        """Ended jobs to erase, whose paid pictures nobody looks for any more; nobody else is given them `until`.

        With a scope its own, whenever they are due; without, those whose time has come, longest due first.
        """
        ...

    def erase(self, job_ids: Sequence[UUID], *, at: datetime, grace: timedelta) -> Sequence[UUID]:
        """Clears the rows of ended jobs that are to be erased: all or none of it, in one transaction; those it cleared.

        Originals and inputs that they named are to be looked at after `grace` (`discards`); the result cache forgets
        pictures that no job left has.
        """
        ...

    def discards(self, *, at: datetime, limit: int) -> Sequence[Discard]:
        """Originals and inputs that lost a referrer, longest ago first."""
        ...

    def discarded(self, keys: Sequence[str]) -> None:
        """These are settled: deleted, or needed by others."""
        ...

    def put_off(self, key: str, *, until: datetime) -> None:
        """Somebody stored it again a moment ago and may be about to name it."""
        ...
