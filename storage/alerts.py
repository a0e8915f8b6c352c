"""The port `Alerts` on PostgreSQL: the raised alerts, and the figures that are watched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import RowMapping, Select, cast, delete, func, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.sql.elements import TextClause

from imagegen import alerts, policies
from imagegen.records import Alert, Spent, Variance, Watched
from imagegen.states import MoveName, Status
from storage import totals
from storage.engine import Database
from storage.events import AT
from storage.tables import ALERTS, ATTEMPTS, EVENTS, JOBS, LEDGER, value, words

_HOUR, _DAYS = timedelta(hours=1), timedelta(days=7)
_PATIENT = words(alerts.CHOSEN_WAITS)

_columns = ALERTS.c
LIST = select(ALERTS).order_by(_columns.raised_at, _columns.key)


def _raise() -> Select[Any]:
    """A new alert, and one more of its kind."""
    row = insert(ALERTS).values({field.name: value(field.name, _columns[field.name]) for field in fields(Alert)})
    raised = row.on_conflict_do_nothing().returning(_columns.key, _columns.kind, _columns.raised_at).cte("raised")
    labels = func.jsonb_build_object(literal_column("'kind'"), raised.c.kind)
    total = select(literal_column("'alerts'"), labels, literal_column("1"), raised.c.raised_at)
    return select(raised.c.key).add_cte(totals.added(total).cte("counted"))


RAISE = _raise()
CLEAR = delete(ALERTS).where(_columns.key == value("key", _columns.key))
_TELLING = "telling"
"""Key of `detail` while an alert is being told: until when nobody else tells it."""
_FREE = func.coalesce(cast(_columns.detail.op("->>")(_TELLING), _columns.told_at.type), AT) <= AT
UNTOLD = (
    update(ALERTS)
    .where(_columns.told_at.is_(None), _FREE)
    .values(detail=_columns.detail.op("||")(value("telling", JSONB())))
    .returning(*_columns)
)
_DONE = {"told_at": value("at", _columns.told_at), "detail": _columns.detail.op("-")(_TELLING)}
TOLD = update(ALERTS).where(_columns.key == value("key", _columns.key)).values(_DONE)

# The newest ends are found from the end of the history, by its primary key: nothing of the past is read.
WATCHED = f"""
SELECT (
    SELECT min(CASE WHEN run > 1 THEN updated_at ELSE coalesce(scheduled_at, created_at) END) FROM {{jobs}}
    WHERE status = '{Status.QUEUED}' AND emulated = :v_emulated AND next_run_at IS NOT NULL
        AND coalesce(waiting_for, '') NOT IN ({_PATIENT})
) AS oldest, count(*) AS ended, count(*) FILTER (WHERE newest.status = '{Status.FAILED}') AS failed
FROM (
    SELECT e.status FROM {{events}} e JOIN {{jobs}} j ON j.id = e.job_id
    WHERE e.move IN ({words((MoveName.COMPLETE, MoveName.STAND_IN, MoveName.FAIL))}) AND j.emulated = :v_emulated
    ORDER BY e.id DESC LIMIT :v_ends
) newest"""

SPENT = """
SELECT
    coalesce(sum(amount) FILTER (WHERE at > :v_hour), 0) AS last_hour,
    coalesce(sum(amount) FILTER (WHERE at <= :v_hour), 0) AS before,
    coalesce(extract(epoch FROM CAST(:v_hour AS timestamptz) - min(at)) / 86400, 0) AS days
FROM {ledger} l
WHERE at > :v_week AND at <= :v_at AND kind IN ('settle', 'waste', 'uncertain') AND emulated = :v_emulated
    AND NOT EXISTS (SELECT 1 FROM {ledger} later
        WHERE later.attempt_id = l.attempt_id AND later.kind <> 'reserve' AND later.id > l.id AND later.at <= :v_at)"""

VARIANCES = """
SELECT model.provider, model.model, count(*) AS pictures, sum(n.estimate) AS estimated, sum(n.amount) AS actual
FROM (SELECT DISTINCT provider, model FROM {jobs} WHERE emulated = :v_emulated AND created_at > :v_week) model
CROSS JOIN LATERAL (
    SELECT a.estimate, l.amount FROM {attempts} a JOIN {ledger} l ON l.attempt_id = a.id AND l.kind = 'settle'
    WHERE a.provider = model.provider AND a.model = model.model AND a.emulated = :v_emulated
        AND a.ready_at IS NOT NULL
    ORDER BY a.submitted_at DESC LIMIT :v_pictures
) n
GROUP BY 1, 2 ORDER BY 1, 2"""


class PostgresAlerts:
    """See `imagegen.reporting.Alerts`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def watched(self, *, at: datetime, emulated: bool) -> Watched:
        """The oldest queued job and the newest ends."""
        asked = {"at": at, "emulated": emulated, "ends": policies.FAILURES_OF}
        row = self._database.run(self._asked(WATCHED), asked)[0]
        return Watched(oldest=row["oldest"], ended=row["ended"], failed=row["failed"])

    def spent(self, *, at: datetime, emulated: bool) -> Spent:
        """The ledger of seven days, and each model's newest settled pictures."""
        since = {"week": at - _HOUR - _DAYS, "emulated": emulated}
        row = self._database.run(self._asked(SPENT), {**since, "at": at, "hour": at - _HOUR})[0]
        models = self._database.run(self._asked(VARIANCES), {**since, "pictures": policies.VARIANCE_OF})
        return Spent(
            last_hour=row["last_hour"], before=row["before"], days=max(Decimal(0), Decimal(row["days"])),
            variances=tuple(Variance(**one) for one in models),
        )  # fmt: skip

    def list(self) -> Sequence[Alert]:
        """Oldest first."""
        return [_alert(row) for row in self._database.run(LIST)]

    def raise_alert(self, alert: Alert) -> bool:
        """Whether it was new."""
        return bool(self._database.run(RAISE, {field.name: getattr(alert, field.name) for field in fields(Alert)}))

    def clear(self, keys: Sequence[str]) -> None:
        """Drops their rows."""
        for key in keys:
            self._database.run(CLEAR, {"key": key})

    def untold(self, *, at: datetime, patience: timedelta) -> Sequence[Alert]:
        """Takes them: a second caller waits for the rows, and finds them taken."""
        rows = self._database.run(UNTOLD, {"at": at, "telling": {_TELLING: (at + patience).isoformat()}})
        return sorted(map(_alert, rows), key=lambda one: (one.raised_at, one.key))

    def told(self, keys: Sequence[str], *, at: datetime | None) -> None:
        """Notes whether they were told."""
        for key in keys:
            self._database.run(TOLD, {"key": key, "at": at})

    def _asked(self, sql: str) -> TextClause:
        tables: dict[str, Any] = {"jobs": JOBS, "events": EVENTS, "attempts": ATTEMPTS, "ledger": LEDGER}
        return text(sql.format(**{name: self._database.qualified(table) for name, table in tables.items()}))


def _alert(row: RowMapping) -> Alert:
    return Alert(**{**row, "detail": {name: told for name, told in row["detail"].items() if name != _TELLING}})
