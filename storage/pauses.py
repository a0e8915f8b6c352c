"""The port `Pauses` on PostgreSQL, and what the statements of moves ask about pauses.

A new intent to buy reads this small table FOR KEY SHARE, which takes its ROW SHARE lock before the statement's
snapshot; `pause` takes the EXCLUSIVE lock, so it waits for the intents under way, and those after it see the pause.
Plain readers (claims, a backup) wait for neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, exists, func, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import insert

from imagegen.pace import PAUSED
from imagegen.records import Pause
from imagegen.states import Status
from storage.engine import IDLE, Database
from storage.events import AT
from storage.tables import JOBS, PAUSES, value

_row = JOBS.c
_SCOPE = value("scope", PAUSES.c.scope)


def scopes(row: Any = _row) -> list[ColumnElement[str]]:
    """Whatever may hold a job."""
    named = [literal_column(f"'{kind}:'").concat(row[kind]) for kind in ("provider", "owner")]
    return [literal_column("'all'"), *named]


def holding(row: Any = _row, *, strict: bool = False) -> ColumnElement[bool]:
    """Whether a pause holds the job of this row; `strict`: no pause begins or ends before this statement has."""
    found = select(PAUSES.c.scope).where(PAUSES.c.scope.in_(scopes(row)))
    return exists(found.with_for_update(read=True, key_share=True) if strict else found)


_PAUSE = insert(PAUSES).values(scope=_SCOPE, reason=value("reason", PAUSES.c.reason), paused_at=AT)
PAUSE = _PAUSE.on_conflict_do_update(index_elements=["scope"], set_={"reason": _PAUSE.excluded.reason})
RESUME = delete(PAUSES).where(PAUSES.c.scope == _SCOPE).returning(PAUSES.c.scope, IDLE)
LIST: Select[tuple[str, str, datetime]] = select(PAUSES).order_by(PAUSES.c.paused_at, PAUSES.c.scope)


_waiting = (
    select(_row.id)
    .where(
        _row.status == literal_column(f"'{Status.QUEUED}'"),
        _row.waiting_for == PAUSED,
        _SCOPE.in_(scopes()),
        ~holding(),
    )
    .order_by(_row.id)
    .with_for_update(key_share=True)
    .cte("waiting")
)
WAKE = (
    update(JOBS)
    .where(and_(_row.id == _waiting.c.id, _row.waiting_for == PAUSED))
    .values(next_run_at=func.least(_row.next_run_at, AT))
    .returning(_row.id)
)


class PostgresPauses:
    """See `imagegen.ports.Pauses`. Once `pause` has returned, no intent to buy what it holds is committed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pause(self, scope: str, *, reason: str, at: datetime) -> None:
        """Waits for the intents to buy that are being committed, then pauses."""
        with self._database.transaction() as run:
            run(select(IDLE))
            run(text(f"LOCK TABLE {self._database.qualified(PAUSES)} IN EXCLUSIVE MODE"))
            run(PAUSE, {"scope": scope, "reason": reason, "at": at})

    def resume(self, scope: str, *, at: datetime) -> int | None:
        """Ends the pause once the jobs that are being parked for it are parked, so that none is left behind."""
        with self._database.transaction() as run:
            if not run(RESUME, {"scope": scope}):
                return None
            return len(run(WAKE, {"scope": scope, "at": at}))

    def list(self) -> Sequence[Pause]:
        """Oldest first."""
        return [Pause(**row) for row in self._database.run(LIST)]
