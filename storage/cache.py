"""The result cache: the newest original that was bought for a fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, FromClause, Select, and_, delete, exists, func, or_, select, true
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.sql.elements import ColumnElement

from storage.events import AT
from storage.tables import CACHE, JOBS, value

SINCE = value("cached_since", CACHE.c.created_at)
"""Older pictures are no hits (`since`)."""

_SIZES = ("width", "height", "bytes")
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_COLUMNS = ("fingerprint", "emulated", "blob_sha256", "content_type", *_SIZES, "created_at")


def since(at: datetime | None, ttl: timedelta | None) -> datetime:
    """The value of `SINCE` for pictures that live so long; without either they live for ever."""
    return _BEGINNING if at is None or ttl is None else at - ttl


def alive() -> ColumnElement[bool]:
    """Whether a row of the cache is young enough."""
    return CACHE.c.created_at >= SINCE


def bought_before() -> ColumnElement[bool]:
    """Whether the job may use a picture of the result cache, and there is one."""
    row = JOBS.c
    same = and_(CACHE.c.fingerprint == row.fingerprint, CACHE.c.emulated == row.emulated, alive())
    return and_(~row.fresh, exists(select(CACHE.c.fingerprint).where(same)))


def keep(
    jobs: FromClause, blob: ColumnElement[Any], content_type: ColumnElement[Any], *conditions: ColumnElement[bool]
) -> Insert:
    """Remembers a picture for the fingerprint of its job; a newer one replaces it. Takes `picture_values`."""
    row = jobs.c
    sizes = [value(f"picture_{name}", CACHE.c[name]) for name in _SIZES]
    picture = select(row.fingerprint, row.emulated, blob, content_type, *sizes, AT)
    kept = insert(CACHE).from_select(_COLUMNS, picture.where(row.fingerprint != "", *conditions))
    newer = {name: kept.excluded[name] for name in _COLUMNS[2:]}
    return kept.on_conflict_do_update(index_elements=["fingerprint", "emulated"], set_=newer)


def picture_values(picture: Mapping[str, Any]) -> dict[str, Any]:
    """The values that `keep` takes."""
    return {f"picture_{name}": picture.get(name) for name in _SIZES}


_EMULATED = value("emulated", CACHE.c.emulated)
FORGET = delete(CACHE).where(
    CACHE.c.fingerprint == value("fingerprint", CACHE.c.fingerprint),
    CACHE.c.emulated == _EMULATED,
    CACHE.c.blob_sha256 == value("blob_sha256", CACHE.c.blob_sha256),
)


def _counted(pictures: FromClause, *hits: ColumnElement[bool]) -> Select[Any]:
    """A `Stock` of these rows of the cache; its hits are the completed jobs for which all of `hits` hold."""
    told = pictures.c
    mine = select(func.count().label("hits"), func.coalesce(func.sum(JOBS.c.cost_estimated), 0).label("saved"))
    found = mine.where(JOBS.c.cache_hit, JOBS.c.status == "completed", JOBS.c.emulated == _EMULATED, *hits).subquery()
    held = select(
        func.count().label("entries"),
        func.coalesce(func.sum(told.bytes), 0).cast(BigInteger).label("bytes"),
        func.min(told.created_at).label("oldest"),
    ).subquery()
    return select(held, found).select_from(held.join(found, true()))


def _purge() -> Select[Any]:
    """Takes `emulated`, `before` and `model`; each of the last two may be null."""
    before, model = value("before", CACHE.c.created_at), value("model", JOBS.c.model)
    drawn = exists(
        select(JOBS.c.id).where(
            JOBS.c.fingerprint == CACHE.c.fingerprint, JOBS.c.emulated == CACHE.c.emulated, JOBS.c.model == model
        )
    )
    old = [or_(before.is_(None), CACHE.c.created_at < before), or_(model.is_(None), drawn)]
    gone = delete(CACHE).where(CACHE.c.emulated == _EMULATED, *old).returning(*CACHE.c).cte("gone")
    return _counted(gone, JOBS.c.fingerprint.in_(select(gone.c.fingerprint)))


STOCK = _counted(select(CACHE).where(CACHE.c.emulated == _EMULATED).subquery())
PURGE = _purge()
