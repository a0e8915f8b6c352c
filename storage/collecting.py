"""Paid pictures of ended jobs: whose turn it is to be looked for, and what was found in the end."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Integer, Select, case, func, literal, literal_column, null, select, update

from imagegen import policies
from imagegen.records import Settled
from imagegen.states import TERMINAL
from storage import attempts, cache, ledger
from storage.bulk import later
from storage.events import AT
from storage.tables import ATTEMPTS, CACHE, JOBS, among, value

_row = ATTEMPTS.c


def _collectable() -> Select[Any]:
    """Takes `at` and `limit`."""
    picked = (
        select(_row.id, _row.collect_at)
        .select_from(ATTEMPTS.join(JOBS, JOBS.c.id == _row.job_id))
        .where(_row.collect_at <= AT, among(JOBS.c.status, TERMINAL))
        .order_by(_row.collect_at, _row.id)
        .limit(value("limit", Integer()))
        .with_for_update(of=ATTEMPTS, skip_locked=True, key_share=True)
        .cte("picked")
    )
    pause = literal(policies.COLLECT_EVERY.total_seconds()) * func.power(literal_column("2"), _row.collects)
    last = _row.collects + 1 >= policies.COLLECT_TRIES
    new = {"collect_at": case((last, null()), else_=later(pause)), "collects": _row.collects + 1}
    taken = update(ATTEMPTS).where(_row.id == picked.c.id).values(new)
    put_off = taken.returning(*_row, picked.c.collect_at.label("since")).cte("put_off")
    return select(put_off).order_by(put_off.c.since, put_off.c.id)


def _collected() -> Select[Any]:
    """Takes `collected_values`."""
    learnt = attempts.learn(null()).returning(_row.id, _row.job_id).cte("learnt")
    job_id = select(learnt.c.job_id).scalar_subquery()
    job = select(JOBS.c.fingerprint, JOBS.c.emulated).where(JOBS.c.id == job_id).subquery("job")
    blob, kind = value("fact_blob_sha256", _row.blob_sha256), value("picture_content_type", CACHE.c.content_type)
    kept = cache.keep(job, blob, kind, blob.is_not(None), kind.is_not(None)).cte("cache")
    return select(learnt.c.id).add_cte(ledger.enter(learnt, job_id).cte("ledger"), kept)


COLLECTABLE = _collectable()
COLLECTED = _collected()


def collected_values(settled: Settled, at: datetime) -> dict[str, Any]:
    """The values that `COLLECTED` takes."""
    picture = settled.picture or {}
    return {
        "at": at,
        **attempts.fact_values(settled.facts),
        **ledger.entry_values(settled.entries),
        **cache.picture_values(picture),
        "picture_content_type": picture.get("content_type"),
    }
