"""The port `Callbacks` on PostgreSQL: every method is one statement.

Attempts are locked before counts, in one order or not at all where somebody else has them: nobody waits for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Insert, Integer, Interval, Select, case, delete, func, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert

from imagegen.ports_callbacks import Tally
from storage import totals
from storage.engine import Database
from storage.events import AT
from storage.tables import ATTEMPTS, value
from storage.tables_callbacks import CALLBACK_COUNTS

_known, _counts = ATTEMPTS.c, CALLBACK_COUNTS.c
_COLUMNS = ("provider", "outcome", "hour", "count")
_HOUR = func.date_trunc("hour", AT, "UTC")
_BEFORE = value("before", _known.ready_at)
DAY, WEEK = timedelta(days=1), timedelta(days=7)


def _added(rows: Select[Any]) -> Any:
    """Adds rows of `_COLUMNS` to the counts."""
    new = insert(CALLBACK_COUNTS).from_select([*_COLUMNS], rows)
    more = {"count": CALLBACK_COUNTS.c.count + new.excluded.count}
    return new.on_conflict_do_update(index_elements=["provider", "outcome", "hour"], set_=more)


def _count() -> Insert:
    """Takes `at`, `provider`, `outcome`, `attempt_id`, `delivery`."""
    delivery = value("delivery", _known.delivery)
    # A second delivery at the same moment waits here, and sees what the first one wrote.
    told = (
        select(_known.id, (_known.delivery == delivery).label("again"))
        .where(_known.id == value("attempt_id", _known.id))
        .with_for_update(key_share=True)
        .cte("told")
    )
    arrived = case((_known.callback == "missed", _known.callback), else_=literal_column("'arrived'"))
    marked = update(ATTEMPTS).where(_known.id == told.c.id).values(callback=arrived, delivery=delivery).cte("marked")
    again = func.coalesce(select(told.c.again).scalar_subquery(), literal_column("false"))
    outcome = case((again, literal_column("'repeated'")), else_=value("outcome", _counts.outcome))
    row = select(value("provider", _counts.provider), outcome, _HOUR, literal_column("1"))
    found: Insert = _added(row).returning(_counts.outcome).add_cte(marked)
    return found


def _missed() -> Insert:
    """Takes `at`, `before`, `limit`."""
    late = (
        select(_known.id)
        .where(_known.callback == literal_column("'expected'"), _known.ready_at <= _BEFORE)
        .order_by(_known.ready_at)
        .limit(value("limit", Integer()))
        .with_for_update(skip_locked=True, key_share=True)
        .cte("late")
    )
    marked = (
        update(ATTEMPTS)
        .where(_known.id == late.c.id)
        .values(callback=literal_column("'missed'"))
        .returning(_known.provider, _known.id)
        .cte("marked")
    )
    per_provider = (
        select(marked.c.provider, literal_column("'missed'"), _HOUR, func.count(marked.c.id))
        .group_by(marked.c.provider)
        .order_by(marked.c.provider)
    )
    # What was added is counted: a row of the table holds the whole hour.
    added = _added(per_provider).cte("added")
    found: Any = select(func.count(marked.c.id).label("found")).add_cte(added)
    return found  # type: ignore[no-any-return]


def _tallies() -> Select[Any]:
    """Takes `at`."""
    within = {
        name: func.coalesce(func.sum(_counts.count).filter(_counts.hour > AT - span), 0).label(name)
        for name, span in (("day", DAY), ("week", WEEK))
    }
    return (
        select(_counts.provider, _counts.outcome, *within.values())
        .where(_counts.hour > AT - func.make_interval(0, 0, 0, WEEK.days, type_=Interval()))
        .group_by(_counts.provider, _counts.outcome)
        .order_by(_counts.provider, _counts.outcome)
    )


def _forget() -> Select[Any]:
    """Takes `before`. What goes stays in the totals."""
    past = _counts.hour < value("before", _counts.hour)
    gone = delete(CALLBACK_COUNTS).where(past).returning(*_counts).cte("gone")
    labels = func.jsonb_build_object(
        literal_column("'provider'"), gone.c.provider, literal_column("'outcome'"), gone.c.outcome
    )
    rows = select(literal_column("'callbacks'"), labels, func.sum(gone.c.count), func.max(gone.c.hour))
    kept = totals.added(rows.group_by(gone.c.provider, gone.c.outcome)).cte("kept")
    return select(func.count(gone.c.count)).add_cte(kept)


COUNT, MISSED, TALLIES, FORGET = _count(), _missed(), _tallies(), _forget()


class PostgresCallbacks:
    """See `imagegen.ports.Callbacks`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def count(
        self, provider: str, outcome: str, *, at: datetime, attempt_id: UUID | None = None, delivery: str | None = None
    ) -> str:
        """One more of this outcome."""
        told = {"provider": provider, "outcome": outcome, "at": at, "attempt_id": attempt_id, "delivery": delivery}
        return str(self._database.run(COUNT, told)[0]["outcome"])

    def missed(self, *, at: datetime, patience: timedelta, limit: int) -> int:
        """Counts those that did not come."""
        found = self._database.run(MISSED, {"at": at, "before": at - patience, "limit": limit})
        return int(found[0]["found"])

    def forget(self, *, before: datetime) -> None:
        """Drops the counts of hours before then."""
        self._database.run(FORGET, {"before": before})

    def tallies(self, *, at: datetime) -> Sequence[Tally]:
        """Those of the last 24 hours and 7 days."""
        rows = self._database.run(TALLIES, {"at": at})
        return [
            Tally(provider=row["provider"], outcome=row["outcome"], day=int(row["day"]), week=int(row["week"]))
            for row in rows
        ]
