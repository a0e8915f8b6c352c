"""The port `Books` of the doctor on PostgreSQL: one statement, that is one snapshot, per question."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Text, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.elements import TextClause

from imagegen.doctor.books import Account, CachedBlob, Check, Expected, Oddity, Published
from imagegen.layout import ATTEMPTS as ATTEMPT_KEYS
from imagegen.layout import BLOBS as BLOB_KEYS
from imagegen.layout import INPUTS as INPUT_KEYS
from imagegen.states import LIVE, MOVES, MoveName, Status
from storage import books_sql
from storage.engine import Database
from storage.tables import ATTEMPTS, BATCHES, BUDGETS, CACHE, EVENTS, JOBS, LEDGER, SPENDING, STYLES, VALUE
from storage.tables_erasing import DISCARDS

_TABLES = {
    "jobs": JOBS, "attempts": ATTEMPTS, "ledger": LEDGER, "events": EVENTS, "batches": BATCHES, "cache": CACHE,
    "spending": SPENDING, "budgets": BUDGETS, "styles": STYLES, "discards": DISCARDS,
}  # fmt: skip
_UNREFERRED = {
    BLOB_KEYS: books_sql.UNREFERRED_BLOBS,
    ATTEMPT_KEYS: books_sql.UNREFERRED_ATTEMPTS,
    INPUT_KEYS: books_sql.UNREFERRED_INPUTS,
}


def _steps() -> Iterable[str]:
    """Every step that a history may hold: `status before > move > status after`."""
    yield f">admit>{Status.QUEUED}"
    for name, rule in MOVES.items():
        for source in rule.sources:
            targets = LIVE if name is MoveName.RETRY else {rule.target or source}
            yield from (f"{source}>{name}>{target}" for target in targets)


STEPS = sorted(_steps())


class PostgresBooks:
    """See `imagegen.doctor.books.Books`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def odd(self, check: Check, *, at: datetime, limit: int) -> Sequence[Oddity]:
        """What breaks the rule."""
        values: dict[str, Any] = {"limit": limit}
        if ":v_at" in books_sql.ODD[check]:
            values["at"] = at
        if check is Check.HISTORY:
            values["steps"] = STEPS
        rows = self._database.run(self._asked(books_sql.ODD[check]), values)
        return [Oddity(id=row["id"], told=row["told"]) for row in rows]

    def unreferred(self, prefix: str, keys: Sequence[str]) -> Sequence[str]:
        """Keys without a row."""
        rows = self._database.run(self._asked(_UNREFERRED[prefix]), {"keys": list(keys), "prefix": prefix})
        return [row["key"] for row in rows]

    def published(self, job_ids: Sequence[UUID]) -> Sequence[Published]:
        """These jobs' published pictures."""
        rows = self._database.run(self._asked(books_sql.PUBLISHED), {"keys": [str(one) for one in job_ids]})
        return [Published(**{**row, "status": Status(row["status"])}) for row in rows]

    def expected(self, after: UUID | None, *, limit: int) -> Sequence[Expected]:
        """A page of jobs that need objects."""
        rows = self._database.run(self._asked(books_sql.EXPECTED), {"after": after or UUID(int=0), "limit": limit})
        told = [{**row, "status": Status(row["status"]), "inputs": tuple(row["inputs"])} for row in rows]
        return [Expected(**one) for one in told]

    def cached(self, after: CachedBlob | None, *, limit: int) -> Sequence[CachedBlob]:
        """A page of the result cache."""
        place = ("", False) if after is None else (after.fingerprint, after.emulated)
        values = {"after": place[0], "after_emulated": place[1], "limit": limit}
        return [CachedBlob(**row) for row in self._database.run(self._asked(books_sql.CACHED), values)]

    def recount(self, account: Account) -> None:
        """Under the row's lock: whoever changed it before is counted, whoever waits for it adds to the sum."""
        values = {name: getattr(account, name) for name in ("scope", "period", "starts", "emulated")}
        with self._database.transaction() as run:
            run(self._asked(books_sql.LOCK_SPENDING), values)
            run(self._asked(books_sql.RECOUNT), values)

    def forget(self, cached: CachedBlob) -> None:
        """Drops the row."""
        values = {name: getattr(cached, name) for name in ("fingerprint", "emulated", "blob_sha256")}
        self._database.run(self._asked(books_sql.FORGET), values)

    def _asked(self, sql: str) -> TextClause:
        """The statement with the tables' names in this schema."""
        named = text(sql.format(**{name: self._database.qualified(table) for name, table in _TABLES.items()}))
        kinds: dict[str, Any] = {"keys": JSONB(), "steps": ARRAY(Text())}
        given = [bindparam(VALUE + name, type_=kind) for name, kind in kinds.items() if f":{VALUE}{name}" in sql]
        return named.bindparams(*given)
