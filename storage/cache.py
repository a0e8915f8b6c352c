"""The result cache: the newest original that was bought for a fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import FromClause, select
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.sql.elements import ColumnElement

from storage.events import AT
from storage.tables import CACHE, value

_SIZES = ("width", "height", "bytes")
_COLUMNS = ("fingerprint", "emulated", "blob_sha256", "content_type", *_SIZES, "created_at")


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
