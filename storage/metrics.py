"""The port `Metrics` on PostgreSQL: six statements however long the history is, seven or eight where it is counted on.

What is counted comes out of two histories that are only ever added to, events and ledger. Their old part is summed up
in `imagegen_totals`, the lines behind it are read on top: each scrape counts on what the one before it saw. The totals
are kept in the database, so all processes say the same, and a restart counts nothing anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.sql.elements import TextClause

from imagegen.ports_metrics import CREDITS_LIFE, Sample
from storage import metrics_sql
from storage.engine import IDLE, Database, Run
from storage.tables import ALERTS, ATTEMPTS, EVENTS, JOBS, LEDGER
from storage.tables_callbacks import CALLBACK_COUNTS
from storage.tables_metrics import COUNTED, TOTALS
from storage.tables_outbox import DELIVERIES

_TABLES = {
    "jobs": JOBS, "attempts": ATTEMPTS, "ledger": LEDGER, "events": EVENTS, "alerts": ALERTS, "totals": TOTALS,
    "counted": COUNTED, "callbacks": CALLBACK_COUNTS, "deliveries": DELIVERIES,
}  # fmt: skip

COUNT_AFTER = timedelta(seconds=10)
"""How old what was seen must be before it is counted: scrapes that come often write seldom."""


class PostgresMetrics:
    """See `imagegen.ports_metrics.Metrics`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def figures(self, *, at: datetime) -> Sequence[Sample]:
        """All figures, under the lock of the row that says how far the histories are counted."""
        with self._database.transaction() as run:
            run(select(IDLE))
            counted = self._counted(run, at)
            asked = {**counted, "asked_since": at - CREDITS_LIFE}
            found = [*run(self._asked(metrics_sql.COUNTS), asked), *run(self._asked(metrics_sql.STANDING), {"at": at})]
        samples = [Sample(name=row["name"], labels=row["labels"], value=max(Decimal(0), row["value"])) for row in found]
        return sorted(samples, key=lambda one: (one.name, sorted(one.labels.items())))

    def balance(self, provider: str, left: Decimal, *, emulated: bool, at: datetime) -> None:
        """Replaces what it was."""
        told = {"provider": provider, "left": left, "emulated": str(emulated).lower(), "at": at}
        self._database.run(self._asked(metrics_sql.BALANCE), told)

    def _counted(self, run: Run, at: datetime) -> dict[str, int]:
        """Counts what no transaction can still add to; the last numbers of both histories that are in the totals."""
        row = run(self._asked(metrics_sql.BEGIN))[0]
        horizon = run(self._asked(metrics_sql.HORIZON))[0]
        counted = {"events": row["events"], "ledger": row["ledger"]}
        if horizon["ended"] < row["begun"] or at - row["at"] < COUNT_AFTER:
            return counted
        seen = {"events_seen": row["events_seen"], "ledger_seen": row["ledger_seen"]}
        if (row["events_seen"], row["ledger_seen"]) != (row["events"], row["ledger"]):
            run(self._asked(metrics_sql.FOLD), {**counted, **seen, "at": at})
            counted = {"events": row["events_seen"], "ledger": row["ledger_seen"]}
        seen = {"events_seen": horizon["events"], "ledger_seen": horizon["ledger"]}
        run(self._asked(metrics_sql.COUNT_UP_TO), {**counted, **seen, "begun": horizon["begun"], "at": at})
        return counted

    def _asked(self, sql: str) -> TextClause:
        names: Mapping[str, Any] = {name: self._database.qualified(table) for name, table in _TABLES.items()}
        return text(sql.format(**names))
