"""The books about providers' callbacks, as a protocol: `imagegen.ports.Callbacks`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How many callbacks of a provider came to this outcome; `missed`: how many did not come."""

    provider: str
    outcome: str
    day: int
    week: int


class Callbacks(Protocol):
    """What became of callbacks, hour by hour; and which of those that were to come never came."""

    def count(
        self, provider: str, outcome: str, *, at: datetime, attempt_id: UUID | None = None, delivery: str | None = None
    ) -> str:
        """One more of this outcome; `repeated` where the attempt was told of this delivery before, which is returned.

        With an attempt: its provider has called, with this delivery.
        """
        ...

    def missed(self, *, at: datetime, patience: timedelta, limit: int) -> int:
        """Counts the attempts whose picture, or failure, was found longer than `patience` ago, and whose provider was
        to call and did not: at most `limit`, each once; how many."""
        ...

    def forget(self, *, before: datetime) -> None:
        """Drops the counts of hours before then."""
        ...

    def tallies(self, *, at: datetime) -> Sequence[Tally]:
        """Those of the last 24 hours and 7 days, by provider and outcome; what was never counted is left out."""
        ...
