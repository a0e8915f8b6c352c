"""The port `Erasures` on PostgreSQL; see `storage.erasing_sql` for what stays of a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.elements import TextClause

from imagegen.ports_erasures import Discard, Erasing, Scope, Stake
from imagegen.records import Attempt
from storage import erasing_sql, rows
from storage.engine import IDLE, Database
from storage.tables import ATTEMPTS, BATCHES, CACHE, EVENTS, JOBS, STYLES, VALUE
from storage.tables_erasing import DISCARDS
from storage.tables_outbox import DELIVERIES

_TABLES = {
    "jobs": JOBS, "attempts": ATTEMPTS, "events": EVENTS, "batches": BATCHES, "cache": CACHE, "styles": STYLES,
    "discards": DISCARDS, "deliveries": DELIVERIES,
}  # fmt: skip
_JSON = ("keys", "lives")


class PostgresErasures:
    """See `imagegen.ports_erasures.Erasures`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def stake(self, scope: Scope) -> Stake:
        """What there is to erase."""
        where, values = _of(scope)
        return Stake(**self._database.run(self._asked(erasing_sql.STAKE + where), {"owner": None, **values})[0])

    def request(self, scope: Scope, *, at: datetime, until: datetime) -> Sequence[UUID]:
        """The intent, and an owner's own styles, in one transaction; the live jobs of the scope."""
        where, values = _of(scope)
        with self._database.transaction() as run:
            run(select(IDLE))
            if scope.owner is not None:
                run(self._asked(erasing_sql.DISCARD_STYLES), {"owner": scope.owner, "at": at})
                run(self._asked(erasing_sql.DROP_STYLES), {"owner": scope.owner})
            run(self._asked(erasing_sql.REQUEST + where), {**values, "until": until})
        return [row["id"] for row in self._database.run(self._asked(erasing_sql.LIVE + where), values)]

    def retire(self, lives: Mapping[str, timedelta], *, at: datetime, limit: int) -> int:
        """The intent for what is past its life, one job type after the other."""
        told = {"at": at, "lives": {job_type: life.total_seconds() for job_type, life in lives.items()}}
        found = 0
        for job_type, life in lives.items():
            values = {**told, "job_type": job_type, "before": at - life, "limit": limit - found}
            found += len(self._database.run(self._asked(erasing_sql.RETIRE), values))
        return found

    def due(self, *, at: datetime, until: datetime, limit: int, scope: Scope | None = None) -> Sequence[Erasing]:
        """Takes ended jobs that are to be erased."""
        where, values = (erasing_sql.DUE_NOW, {"at": at}) if scope is None else _of(scope)
        taken = self._database.run(self._asked(erasing_sql.DUE % where), {**values, "until": until, "limit": limit})
        jobs = [rows.job(row) for row in taken]
        made: dict[UUID, list[Attempt]] = {job.id: [] for job in jobs}
        for row in self._database.run(select(ATTEMPTS).where(ATTEMPTS.c.job_id.in_(made))) if jobs else ():
            made[row["job_id"]].append(rows.attempt(row))
        return [Erasing(job=job, attempts=made[job.id]) for job in jobs]

    def erase(self, job_ids: Sequence[UUID], *, at: datetime, grace: timedelta) -> Sequence[UUID]:
        """Clears what is still to be cleared of them, under the jobs' locks."""
        with self._database.transaction() as run:
            run(select(IDLE))
            ready = run(self._asked(erasing_sql.LOCK), {"keys": [str(one) for one in job_ids]})
            keys = [str(row["id"]) for row in ready]
            for statement in erasing_sql.CLEARING if keys else ():
                values = {"keys": keys, "at": at, "until": _whole_hour(at + grace)}
                named = self._asked(statement)
                run(named, {name: value for name, value in values.items() if f":{VALUE}{name}" in statement})
        return [row["id"] for row in ready]

    def discards(self, *, at: datetime, limit: int) -> Sequence[Discard]:
        """Objects that lost a referrer, and whether they have another."""
        found = self._database.run(self._asked(erasing_sql.DISCARDS), {"at": at, "limit": limit})
        return [Discard(row["key"], row["referred"]) for row in found]

    def discarded(self, keys: Sequence[str]) -> None:
        """Settled."""
        self._database.run(self._asked(erasing_sql.SETTLE), {"keys": list(keys)})

    def put_off(self, key: str, *, until: datetime) -> None:
        """Looked at again later."""
        self._database.run(self._asked(erasing_sql.PUT_OFF), {"key": key, "until": until})

    def _asked(self, sql: str) -> TextClause:
        """The statement with the tables' names in this schema."""
        named = text(sql.format(**{name: self._database.qualified(table) for name, table in _TABLES.items()}))
        return named.bindparams(*[bindparam(VALUE + one, type_=JSONB()) for one in _JSON if f":{VALUE}{one}" in sql])


def _of(scope: Scope) -> tuple[str, dict[str, Any]]:
    """The scope as SQL with its values."""
    if scope.owner is not None:
        return erasing_sql.OF_OWNER, {"owner": scope.owner}
    return erasing_sql.OF_JOB, {"job_id": scope.job_id}


def _whole_hour(moment: datetime) -> datetime:
    """The next whole hour: what is due together is looked for in one pass over the tables."""
    return moment.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
