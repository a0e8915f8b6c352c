"""`imagegen.money.committed` as SQL, for the statements that change what a job costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, func, literal_column

from storage.tables import JOBS

_NONE: ColumnElement[Any] = literal_column("0")


def committed(new: Mapping[str, Any], *, over: bool) -> ColumnElement[Any]:
    """What is committed for a job with these `new` columns; `over`: it has ended, and reserves nothing."""
    told, wasted, uncertain, estimated = (
        new.get(name, JOBS.c[name]) for name in ("cost_credits", "cost_wasted", "cost_uncertain", "cost_estimated")
    )
    bought = func.coalesce(told, _NONE) if over else func.coalesce(told, estimated, _NONE)
    return bought + func.coalesce(wasted, _NONE) + func.coalesce(uncertain, _NONE)
