"""Figures that only grow, for statements that drop what they were counted from; the metrics read them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select
from sqlalchemy.dialects.postgresql import Insert, insert

from storage.tables_metrics import TOTALS

_COLUMNS = ("name", "labels", "value", "at")


def added(rows: Select[Any]) -> Insert:
    """Adds rows of name, labels, value and time to the totals: each name and labels once."""
    new = insert(TOTALS).from_select(_COLUMNS, rows)
    more = {"value": TOTALS.c.value + new.excluded.value, "at": new.excluded.at}
    return new.on_conflict_do_update(index_elements=["name", "labels"], set_=more)
