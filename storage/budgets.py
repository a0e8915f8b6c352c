"""The port `Budgets` on PostgreSQL, and the look of whoever commits more: is there room for it?

A trigger on `image_generation_jobs` (migration 0003) adds every change of `committed` to `imagegen_spending`, in the
statement that makes it and in one order of accounts. Whoever wants to commit more writes first, which locks its
accounts, looks then whether a hard budget is exceeded, and takes all of it back if so: nobody ever sees more than the
limit, and two that compete for the last of it come one after the other.

The trigger holds ROW SHARE on `imagegen_budgets` until its transaction ends, and setting a budget takes the EXCLUSIVE
lock: it waits for the changes under way and counts them, and those after it see the budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, func, literal_column, or_, select, text
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.sql import column

from imagegen.budgets import PERIODS, check, growth, starts
from imagegen.jobs import Job
from imagegen.money import utc_day
from imagegen.records import Budget
from storage.engine import IDLE, Database, Run
from storage.events import AT
from storage.tables import BUDGETS, JOBS, SPENDING, value

_budget, _spent, _row = BUDGETS.c, SPENDING.c, JOBS.c
_SCOPE, _PERIOD = value("scope", _budget.scope), value("period", _budget.period)
_EMULATED, _STARTS = value("emulated", _budget.emulated), value("starts", _spent.starts)
_TOLD = (_budget.scope, _budget.period, _budget.amount, _budget.hard)


def _accounts() -> Select[Any]:
    """The budgets that hold these places ({scope, period, starts}), with what is committed there."""
    names = ("scope", "period", "starts")
    given = func.jsonb_to_recordset(value("places", JSONB()))
    place = given.table_valued(*[column(name, _spent[name].type) for name in names]).render_derived("place", True)
    here = and_(*[_spent[name] == place.c[name] for name in names], _spent.emulated == _EMULATED)
    same = and_(*[_budget[name] == _spent[name] for name in ("scope", "period", "emulated")])
    found = place.join(SPENDING, here).join(BUDGETS, same)
    return select(*_TOLD, _spent.starts, _spent.committed).select_from(found).where(_budget.hard)


ACCOUNTS = _accounts()


def make_room(run: Run, before: Iterable[Job], after: Sequence[Job]) -> None:
    """Raises `BudgetExceeded` where this change of jobs, written in the same transaction, exceeds a hard budget."""
    grown = growth(before, after)
    places = {(scope, period, starts(period, day)) for scope, day in grown for period in PERIODS}
    if not places:
        return
    told = [dict(zip(("scope", "period", "starts"), place, strict=True)) for place in sorted(places)]
    found = run(ACCOUNTS, {"places": told, "emulated": after[0].emulated})
    check(grown, [Budget(**row) for row in found])


def _mine() -> ColumnElement[bool]:
    """Whether the job of this row belongs to the scope."""
    named = [
        literal_column(f"'{kind}:'").concat(name)
        for kind, name in (("owner", _row.owner), ("project", _row.project_id), ("provider", _row.provider))
    ]
    return _SCOPE.in_([literal_column("'all'"), *named])


_SET = insert(BUDGETS).values(
    scope=_SCOPE, period=_PERIOD, emulated=_EMULATED, amount=value("amount", _budget.amount),
    hard=value("hard", _budget.hard), created_at=AT, updated_at=AT,
)  # fmt: skip
SET = _SET.on_conflict_do_update(
    index_elements=["scope", "period", "emulated"],
    set_={name: _SET.excluded[name] for name in ("amount", "hard", "updated_at")},
)
_TRUE = (
    select(_SCOPE, _PERIOD, _EMULATED, _STARTS, func.coalesce(func.sum(_row.committed), literal_column("0")))
    .where(_row.emulated == _EMULATED, _row.reserved_on >= _STARTS, _row.committed != 0, _mine())
    .where(or_(value("ends", _spent.starts).is_(None), _row.reserved_on < value("ends", _spent.starts)))
)
_COUNT = insert(SPENDING).from_select(["scope", "period", "emulated", "starts", "committed"], _TRUE)
COUNT = _COUNT.on_conflict_do_update(
    index_elements=["scope", "period", "emulated", "starts"], set_={"committed": _COUNT.excluded.committed}
).returning(_spent.committed)
REMOVE = (
    delete(BUDGETS)
    .where(_budget.scope == _SCOPE, _budget.emulated == _EMULATED, or_(_PERIOD.is_(None), _budget.period == _PERIOD))
    .returning(_budget.period)
)
FORGET = delete(SPENDING).where(
    _spent.scope == _SCOPE, _spent.emulated == _EMULATED, or_(_PERIOD.is_(None), _spent.period == _PERIOD)
)
LIST: Select[Any] = (
    select(*_TOLD, _spent.starts, _spent.committed)
    .select_from(
        BUDGETS.outerjoin(
            SPENDING,
            and_(
                *[_budget[name] == _spent[name] for name in ("scope", "period", "emulated")],
                or_(*[
                    and_(_spent.period == literal_column(f"'{one}'"), _spent.starts == value(one, _spent.starts))
                    for one in PERIODS
                ]),
            ),
        )
    )
    .where(_budget.emulated == _EMULATED)
    .order_by(_budget.scope, _budget.period)
)  # fmt: skip


class PostgresBudgets:
    """See `imagegen.ports.Budgets`. `emulated`: whose money it is."""

    def __init__(self, database: Database, *, emulated: bool) -> None:
        self._database = database
        self._emulated = emulated

    def set(self, scope: str, period: str, amount: Decimal, hard: bool, *, at: datetime) -> Budget:
        """Waits for the changes under way, sums up what its jobs commit, and holds from then on."""
        first = starts(period, utc_day(at))
        named = {"scope": scope, "period": period, "emulated": self._emulated}
        with self._database.transaction() as run:
            run(select(IDLE))
            run(text(f"LOCK TABLE {self._database.qualified(BUDGETS)} IN EXCLUSIVE MODE"))
            run(SET, {**named, "amount": amount, "hard": hard, "at": at})
            committed = run(COUNT, {**named, "starts": first, "ends": _ends(period, at)})[0]["committed"]
        return Budget(scope=scope, period=period, amount=amount, hard=hard, starts=first, committed=committed)

    def remove(self, scope: str, period: str | None = None) -> int:
        """Removes the budgets with their accounts; how many there were."""
        named = {"scope": scope, "period": period, "emulated": self._emulated}
        with self._database.transaction() as run:
            run(select(IDLE))
            run(text(f"LOCK TABLE {self._database.qualified(BUDGETS)} IN EXCLUSIVE MODE"))
            removed = len(run(REMOVE, named))
            run(FORGET, named)
        return removed

    def list(self, *, at: datetime) -> Sequence[Budget]:
        """By scope and period."""
        days = {period: starts(period, utc_day(at)) for period in PERIODS}
        return [
            Budget(**{**row, "starts": days[row["period"]], "committed": row["committed"] or Decimal(0)})
            for row in self._database.run(LIST, {**days, "emulated": self._emulated})
        ]


def _ends(period: str, at: datetime) -> Any:
    """The day after the period; None where it has no end."""
    day = utc_day(at)
    if period == "total":
        return None
    if period == "day":
        return day.fromordinal(day.toordinal() + 1)
    return day.replace(day=1, month=day.month % 12 + 1, year=day.year + day.month // 12)
