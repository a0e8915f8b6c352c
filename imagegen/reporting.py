"""What reports and alerts need of the database: two ports beside those of `imagegen.ports`; they only read jobs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from imagegen.records import Alert, CostFilter, CostRow, Spent, Watched


class Costs(Protocol):
    """What jobs cost, for reports."""

    def by(self, group: str, where: CostFilter) -> Sequence[CostRow]:
        """Jobs grouped by `imagegen.costs.GROUPS`, or by `metadata.KEY`: a day by day, else the dearest first.

        Raises `InvalidRequest` for a group that there is none of.
        """
        ...


class Alerts(Protocol):
    """What is watched, and the alerts that are raised."""

    def watched(self, *, at: datetime, emulated: bool) -> Watched:
        """The figures that are cheap to ask for every half minute."""
        ...

    def spent(self, *, at: datetime, emulated: bool) -> Spent:
        """The figures of money, which read more rows."""
        ...

    def list(self) -> Sequence[Alert]:
        """What is raised, oldest first."""
        ...

    def raise_alert(self, alert: Alert) -> bool:
        """Writes it; False where it was raised before, which changes nothing."""
        ...

    def clear(self, keys: Sequence[str]) -> None:
        """They hold no more."""
        ...

    def untold(self, *, at: datetime, patience: timedelta) -> Sequence[Alert]:
        """What no webhook has taken, oldest first. It is the caller's to tell: nobody else is given it for
        `patience`."""
        ...

    def told(self, keys: Sequence[str], *, at: datetime | None) -> None:
        """The webhook took them, or, None, it did not: whoever comes next may tell them."""
        ...
