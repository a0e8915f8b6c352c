"""The history of all jobs as one log that can be followed: the port `EventLog`, and what crosses it.

Lines are numbered when they are written and seen when their transaction commits, so a number may turn up after higher
ones have; one whose transaction was undone never does. A `Place` in the log therefore says not only how far it
reaches, but also which numbers below were still open.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from imagegen.jobs import Batch, Job

LOOKBACK = 1000
"""Numbers below the newest among which open ones are looked for when the log is first read."""

MOST_OPEN = 50
"""Open numbers that a place names at most; it is sent as a header."""

PLACE = r"[0-9]{1,18}(-[0-9]{1,18}(\.[0-9]{1,18}){0,49})?"
"""A written place: the number, and the open ones below it."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the log, and whose it is."""

    id: int
    job_id: UUID
    batch_id: UUID | None
    owner: str
    run: int
    at: datetime
    move: str
    status: str
    stage: str | None


@dataclass(frozen=True)
class Place:
    """Everything up to `last` is behind it, but for the numbers in `open`."""

    last: int
    open: frozenset[int] = frozenset()

    def passed(self, number: int) -> bool:
        """Whether the line of this number is behind it."""
        return number <= self.last and number not in self.open

    def told(self, number: int, log: Place) -> Place:
        """The place behind this line too, for a reader that is told what it has not passed in the order of `log`.

        `log`: what of the log could be seen when the line was handed on. An open number stays with the reader until it
        is told, or the log has settled it and has handed on a higher one.
        """
        last = max(self.last, number)
        new = {one for one in log.open if self.last < one < last}
        kept = {one for one in self.open if one > number or not log.passed(one)}
        return Place(last, frozenset((new | kept) - {number}))

    def __str__(self) -> str:
        newest = sorted(self.open)[-MOST_OPEN:]
        return f"{self.last}-{'.'.join(map(str, newest))}" if newest else str(self.last)

    @classmethod
    def read(cls, written: str) -> Place:
        """The place that was written so. Raises `ValueError`."""
        if re.fullmatch(PLACE, written) is None:
            raise ValueError(f"{written[:40]!r} is no place in the log")
        last, _, opened = written.partition("-")
        numbers = (int(one) for one in opened.split(".")) if opened else ()
        return cls(int(last), frozenset(one for one in numbers if one < int(last)))


@dataclass(frozen=True)
class Horizon:
    """Transactions are numbered too: all below `ended` have ended, and none from `begun` on had begun."""

    ended: int
    begun: int


@dataclass(frozen=True)
class News:
    """What was seen of the log at one moment, in the order of numbers."""

    lines: Sequence[Line]
    horizon: Horizon


@dataclass(frozen=True)
class Newest:
    """Where the log ends (0: it is empty), and the numbers of the last `LOOKBACK` that cannot be seen."""

    last: int
    missing: frozenset[int]
    horizon: Horizon


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Whose lines: one job's, one batch's, one owner's; with none of them everybody's."""

    job_id: UUID | None = None
    batch_id: UUID | None = None
    owner: str | None = None

    def holds(self, line: Line) -> bool:
        """Whether the line is one of these."""
        asked = ((self.job_id, line.job_id), (self.batch_id, line.batch_id), (self.owner, line.owner))
        return all(wanted in {None, told} for wanted, told in asked)


class EventLog(Protocol):
    """The log, read only: the port `Jobs` writes it. Each method is one statement."""

    def newest(self) -> Newest:
        """Where the log ends."""
        ...

    def after(self, last: int, missing: Sequence[int], *, limit: int) -> News:
        """Up to `limit` lines behind `last`, and those of the `missing` that can be seen by now."""
        ...

    def between(self, scope: Scope, begin: Place, end: Place, *, limit: int) -> Sequence[Line]:
        """The first `limit` lines of the scope that `end` has passed and `begin` has not, in the order of numbers."""
        ...

    def jobs(self, job_ids: Sequence[UUID]) -> Sequence[Job]:
        """Those of the jobs that exist."""
        ...

    def batches(self, batch_ids: Sequence[UUID]) -> Sequence[tuple[Batch, Sequence[Job]]]:
        """Those of the batches that exist, with their jobs in input order."""
        ...

    def gone(self, ids: Sequence[UUID]) -> frozenset[UUID]:
        """Those that are neither a job nor a batch (any more)."""
        ...
