"""What a body may hold, whatever its fields mean: values that every later step can write, sort and send. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from imagegen.errors import InvalidRequest

MAX_DEPTH = 64
"""Lists and objects inside each other: far more than anybody needs, far less than what parsers and stores bear."""


def too_deep(body: Any) -> bool:
    """Whether lists and objects lie deeper inside each other than `MAX_DEPTH`."""
    level = _nests([body])
    for _ in range(MAX_DEPTH):
        level = _nests(one for value in level for one in (value.values() if isinstance(value, Mapping) else value))
    return bool(level)


def check_depth(body: Any) -> None:
    """Raises `InvalidRequest` for what is `too_deep`."""
    if too_deep(body):
        raise InvalidRequest.of("request", "is nested too deeply", f"Send at most {MAX_DEPTH} levels.")


def in_calendar(moment: datetime) -> datetime:
    """The moment itself; raises `ValueError` where it has no date in UTC: before the year 1 or after 9999."""
    try:
        moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is outside the calendar in UTC") from error
    return moment


def _nests(values: Iterable[Any]) -> list[Any]:
    return [one for one in values if isinstance(one, Mapping | list | tuple)]
