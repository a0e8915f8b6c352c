"""What the doctor asks of the database: a port of its own, for nobody else reads all rows at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from imagegen.states import Status


class Check(StrEnum):
    """What may not agree inside the database; the value is the finding's kind."""

    OPEN_ATTEMPT = "attempt-not-closed"
    UNRESERVED = "attempt-not-reserved"
    COSTS = "costs-differ"
    COMMITTED = "committed-differs"
    SPENDING = "spending-differs"
    UNTIMED = "live-without-time"
    OVERDUE = "overdue"
    OPEN_BATCH = "batch-not-closed"
    CLOSED_BATCH = "batch-closed-early"
    HISTORY = "history-differs"
    FATE = "fate-unknown"


@dataclass(frozen=True, kw_only=True)
class Oddity:
    """One row that a check found: `id` names it, `told` has the figures (JSON)."""

    id: str
    told: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Published:
    """What the row of a job says of its published picture."""

    job_id: UUID
    status: Status
    object_key: str | None
    erased: bool = False


@dataclass(frozen=True, kw_only=True)
class Expected:
    """Objects that a job needs: its published picture, or, while it is live, its original and its inputs."""

    job_id: UUID
    status: Status
    object_key: str | None
    blob_sha256: str | None
    inputs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CachedBlob:
    """A row of the result cache."""

    fingerprint: str
    emulated: bool
    blob_sha256: str


@dataclass(frozen=True, kw_only=True)
class Account:
    """A row of `imagegen_spending`. `starts`: first day of its period, UTC."""

    scope: str
    period: str
    starts: date
    emulated: bool


class Books(Protocol):
    """The database as a whole. Each answer is one snapshot, so a running system is examined as well as one at rest."""

    def odd(self, check: Check, *, at: datetime, limit: int) -> Sequence[Oddity]:
        """What breaks the rule, the first `limit` of it."""
        ...

    def unreferred(self, prefix: str, keys: Sequence[str]) -> Sequence[str]:
        """Those of the keys below `blobs/`, `attempts/` or `inputs/` that no row refers to."""
        ...

    def published(self, job_ids: Sequence[UUID]) -> Sequence[Published]:
        """What is known of these jobs; nothing of those that are not there."""
        ...

    def expected(self, after: UUID | None, *, limit: int) -> Sequence[Expected]:
        """A page of the jobs that need objects, by id."""
        ...

    def cached(self, after: CachedBlob | None, *, limit: int) -> Sequence[CachedBlob]:
        """A page of the result cache, by fingerprint."""
        ...

    def recount(self, account: Account) -> None:
        """Sets a row of spending to the sum over its jobs, under its lock."""
        ...

    def forget(self, cached: CachedBlob) -> None:
        """Drops the row, unless it names another picture meanwhile."""
        ...
