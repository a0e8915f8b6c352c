"""What a cost report can be grouped by, and its sums; the statement is `storage.costs`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from imagegen.errors import InvalidRequest
from imagegen.records import CostRow

GROUPS = {
    "job_type": "job_type",
    "project": "project_id",
    "scene": "scene_id",
    "batch": "batch_id",
    "owner": "owner",
    "provider": "provider",
    "model": "model",
    "day": "created_at",
}
"""Name of a group to the field of a job behind it. A day is one of UTC."""

METADATA = "metadata."
MAX_KEY = 200
"""Characters of a key of metadata in a group's name."""

_SUMS = ("jobs", "hits", "actual", "waste", "uncertain", "saved")


class _Told(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class CostLine(_Told):
    """A group of jobs, US dollars. `key` null: the jobs that have no such value. `saved`: upper prices of `hits`."""

    key: str | None
    jobs: int
    hits: int
    actual: float
    waste: float
    uncertain: float
    saved: float
    hit_rate: float = Field(description="Share of the jobs whose picture came from the cache, 0 to 1.")


class CostReport(_Told):
    """Groups, the dearest first (days in their order), and all of them together."""

    by: str
    emulated: bool
    currency: str
    items: list[CostLine]
    total: CostLine
    next_cursor: None = Field(description="A report has one page.")


def metadata_key(group: str) -> str | None:
    """The key of `metadata.KEY`, None for a group of `GROUPS`. Raises `InvalidRequest` for any other."""
    if group in GROUPS:
        return None
    key = group.removeprefix(METADATA)
    if key == group or not 0 < len(key) <= MAX_KEY or "\x00" in key:
        raise InvalidRequest.of(
            "by", f"{group!r} is nothing to group by", f"Use one of {', '.join(GROUPS)} or {METADATA}KEY."
        )
    return key


def total(rows: Sequence[CostRow]) -> CostRow:
    """All groups together."""
    sums = {name: sum(getattr(row, name) for row in rows) for name in _SUMS}
    money = {name: Decimal(sums[name]) for name in _SUMS[2:]}
    return CostRow(**{**sums, **money, "key": "total"})


def hit_rate(row: CostRow) -> float:
    """Share of the group's jobs whose picture came from the cache, 0 to 1."""
    return round(row.hits / row.jobs, 4) if row.jobs else 0.0


def report(group: str, rows: Sequence[CostRow], *, emulated: bool) -> dict[str, Any]:
    """The report as JSON: `{by, emulated, currency, items, total, nextCursor}`; money in US dollars."""
    return {
        "by": group,
        "emulated": emulated,
        "currency": "USD",
        "items": [_document(row) for row in rows],
        "total": _document(total(rows)),
        "nextCursor": None,
    }


def _document(row: CostRow) -> dict[str, Any]:
    told = {field.name: getattr(row, field.name) for field in fields(row)}
    return {name: float(value) if isinstance(value, Decimal) else value for name, value in told.items()} | {
        "hitRate": hit_rate(row)
    }
