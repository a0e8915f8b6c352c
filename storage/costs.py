"""The port `Costs` on PostgreSQL: one statement per report."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Select, Text, cast, func, literal_column, select
from sqlalchemy.sql.elements import ColumnElement

from imagegen.costs import GROUPS, metadata_key
from imagegen.records import CostFilter, CostRow
from imagegen.states import Status
from storage.engine import Database
from storage.tables import JOBS, value

_row = JOBS.c
_LIMITS: dict[str, ColumnElement[bool]] = {
    "since": _row.created_at >= value("since", _row.created_at),
    "until": _row.created_at < value("until", _row.created_at),
    "project_id": _row.project_id == value("project_id", _row.project_id),
    "owner": _row.owner == value("owner", _row.owner),
}
_NOTHING: ColumnElement[Any] = literal_column("0::numeric(14, 6)")


def _sum(column: ColumnElement[Any], *, where: ColumnElement[bool] | None = None) -> ColumnElement[Any]:
    """Exact dollars; what is not known counts as nothing."""
    whole: Any = func.sum(column)
    return func.coalesce(whole if where is None else whole.filter(where), _NOTHING)


_HIT = _row.cache_hit & (_row.status == literal_column(f"'{Status.COMPLETED}'"))
_SUMS = (
    func.count().label("jobs"),
    func.count().filter(_HIT).label("hits"),
    _sum(_row.cost_credits).label("actual"),
    _sum(_row.cost_wasted).label("waste"),
    _sum(_row.cost_uncertain).label("uncertain"),
    _sum(_row.cost_estimated, where=_HIT).label("saved"),
)


def _key(group: str) -> ColumnElement[Any]:
    if group == "day":
        return func.to_char(func.timezone("UTC", _row.created_at), "YYYY-MM-DD")
    if group in GROUPS:
        return cast(_row[GROUPS[group]], Text())
    return _row["metadata"].op("->>", return_type=Text())(value("metadata_key", Text()))


@lru_cache(maxsize=256)
def statement(group: str, limits: frozenset[str]) -> Select[Any]:
    """The report of a group (`metadata.` stands for any key of it), with the limits that are named."""
    found = select(_key(group).label("key"), *_SUMS).where(_row.emulated == value("emulated", _row.emulated))
    groups = found.where(*[_LIMITS[name] for name in sorted(limits)]).group_by(literal_column("1")).subquery("groups")
    one = groups.c
    # Keys in the order of their bytes: the same on every server, whatever its collation.
    by_key: ColumnElement[Any] = one.key.collate("C").nulls_last()
    dearest: ColumnElement[Any] = (one.actual + one.waste + one.uncertain).desc()
    return select(groups).order_by(*([by_key] if group == "day" else [dearest, one.jobs.desc(), by_key]))


class PostgresCosts:
    """See `imagegen.reporting.Costs`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def by(self, group: str, where: CostFilter) -> Sequence[CostRow]:
        """The groups with their sums."""
        key = metadata_key(group)
        limits = {name: told for name in _LIMITS if (told := getattr(where, name)) is not None}
        asked = statement(group if key is None else "metadata.", frozenset(limits))
        values = {**limits, "emulated": where.emulated, "metadata_key": key}
        if key is None:
            del values["metadata_key"]
        return [CostRow(**row) for row in self._database.run(asked, values)]
