"""Many jobs by one statement: the sweep that takes what is due, and what a chunk of polls asks and finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    CTE,
    Float,
    Integer,
    Interval,
    Select,
    Update,
    and_,
    case,
    false,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.sql import column
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.selectable import TableValuedAlias

from imagegen import policies
from imagegen.moves import ENDS_AT_DEADLINE
from imagegen.records import Polled
from imagegen.states import LIVE, MOVES, TERMINAL, MoveName, Stage, Status
from storage import attempts, events, flights
from storage.events import AT
from storage.money import committed
from storage.tables import ATTEMPTS, JOBS, PACED, among, value

_GRACE = value("grace", Float())
_IDS = value("ids", ARRAY(JOBS.c.id.type))
_CROWDED = value("crowded", ARRAY(JOBS.c.stage.type))
_LEARNT = ("result_url", "actual", "usage")
_row = JOBS.c


def later(seconds: ColumnElement[Any]) -> ColumnElement[Any]:
    """That many seconds after `AT`."""
    return AT + func.make_interval(0, 0, 0, 0, 0, 0, seconds, type_=Interval())


def _slotless() -> ColumnElement[bool]:
    """It waits for a limit to give it a slot, and there is time to."""
    waits = func.coalesce(among(_row.waiting_for, PACED), false())
    return and_(waits, _row.slot_at.is_(None), _row.deadline_at > AT)


def _hinted() -> ColumnElement[bool]:
    """Its last hint most likely waits in a queue, and neither a lost worker nor its deadline needs it taken."""
    recently = _row.next_run_at > AT - policies.CROWDED_PATIENCE
    over = and_(_row.deadline_at <= AT, among(_row.stage, ENDS_AT_DEADLINE))
    return and_(_row.stage == func.any(_CROWDED), _row.hints > 0, _row.claim.is_(None), recently, ~over)


def _due() -> Select[Any]:
    """Takes `at`, `limit`, `grace` (seconds), `worker`, `detail`, `crowded` (stages)."""
    rank = _row.priority - func.extract("epoch", AT - _row.next_run_at) / policies.AGEING
    picked = (
        select(_row.id, _row.status.label("was"), _row.stage.label("was_stage"), rank.label("rank"))
        .where(_row.next_run_at <= AT, among(_row.status, LIVE), ~_slotless(), ~_hinted())
        .order_by(rank, _row.next_run_at, _row.id)
        .limit(value("limit", Integer()))
        .with_for_update(skip_locked=True, key_share=True)
        .cte("picked")
    )
    held = _row.status == Status.PROCESSING.value
    unanswered = and_(_row.status == Status.GENERATING.value, _row.stage == Stage.GENERATE.value)
    freed = or_(held, unanswered)
    hints = case((freed, 0), else_=_row.hints)
    doubling = func.power(literal_column("2"), func.least(hints, policies.MOST_DOUBLINGS))
    # Never beyond the deadline: the sweep is what ends a job whose time is over.
    again = func.least(later(_GRACE * doubling), func.greatest(_row.deadline_at, later(_GRACE)))
    new = {
        "status": case((held, Status.QUEUED.value), else_=_row.status),
        "stage": case((unanswered, Stage.RECONCILE.value), else_=_row.stage),
        "next_run_at": again,
        "hints": hints + 1,
        "claim": null(),
        "waiting_for": null(),
        "woken": false(),
        "slot_at": case((held, null()), else_=_row.slot_at),
        "updated_at": case((freed, AT), else_=_row.updated_at),
    }
    taking = update(JOBS).where(_row.id == picked.c.id).values(new)
    taken = taking.returning(*_row, picked.c.was, picked.c.was_stage, picked.c.rank).cte("moved")
    held_before = taken.c.was == Status.PROCESSING.value
    unanswered_before = and_(taken.c.was == Status.GENERATING.value, taken.c.was_stage == Stage.GENERATE.value)
    lost = or_(held_before, unanswered_before)
    name = case((held_before, MoveName.HOLD.value), else_=MoveName.DOUBT.value)
    event = events.record(taken, name, lost, cause=literal_column("'lease ran out'")).cte("event")
    landed = flights.land_lost(taken, held_before, picked)
    return select(taken).order_by(taken.c.rank, taken.c.id).add_cte(event, *landed)


DUE = _due()

POLLABLE: Select[Any] = select(JOBS).where(
    _row.id == func.any(_IDS),
    _row.status == Status.GENERATING.value,
    _row.stage == Stage.POLL.value,
    # Resting jobs say what they wait for; the sweep and a woken-up job's time make them due.
    or_(_row.waiting_for.is_(None), _row.next_run_at <= AT),
)

ENDED: Select[Any] = select(_row.id).where(_row.id == func.any(_IDS), among(_row.status, TERMINAL))

UNANNOUNCED: Select[Any] = (
    select(JOBS).where(_row.announce_at <= AT).order_by(_row.announce_at, _row.id).limit(value("limit", Integer()))
)
ANNOUNCED = update(JOBS).where(_row.id == func.any(_IDS)).values(announce_at=null())


def _seen() -> TableValuedAlias:
    """What the polls found, as rows."""
    columns = {
        "job_id": _row.id,
        "attempt_id": ATTEMPTS.c.id,
        "until": _row.next_run_at,
        **{name: ATTEMPTS.c[name] for name in _LEARNT},
    }
    given = func.jsonb_to_recordset(value("found", JSONB()))
    rows = given.table_valued(*[column(name, like.type) for name, like in columns.items()])
    return rows.render_derived("seen", with_types=True)


def _learn(seen: TableValuedAlias, locked: CTE) -> Update:
    """The attempts whose picture came, whatever became of their jobs; those of ended ones are to be looked for."""
    known = (
        select(ATTEMPTS.c.id, locked.c.ended, *[seen.c[name] for name in _LEARNT])
        .select_from(ATTEMPTS.join(seen, seen.c.attempt_id == ATTEMPTS.c.id).join(locked, locked.c.id == seen.c.job_id))
        .where(seen.c.result_url.is_not(None))
        .order_by(ATTEMPTS.c.id)
        .with_for_update(of=ATTEMPTS, key_share=True)
        .cte("known")
    )
    learnt = attempts.settle(literal("succeeded"), true(), {name: known.c[name] for name in _LEARNT})
    collect_at = case((known.c.ended, AT), else_=ATTEMPTS.c.collect_at)
    return update(ATTEMPTS).where(ATTEMPTS.c.id == known.c.id).values({**learnt, "collect_at": collect_at})


def _polled() -> Select[Any]:
    """Takes `found`, `at`, `grace` (seconds), `worker`, `cause`, `detail`."""
    seen = _seen()
    rule = MOVES[MoveName.DELIVER]
    # Jobs first, then attempts, each in one order, and no more locked than an UPDATE does: chunks with the same jobs,
    # and moves whose new rows refer to them, cannot wait for each other. What a locked row says is true until the end
    # of the statement, whatever its snapshot says.
    asked = and_(among(_row.status, rule.sources), _row.stage == Stage.POLL.value, _row.attempt_id == seen.c.attempt_id)
    ended = among(_row.status, TERMINAL).label("ended")
    locked = (
        select(_row.id, seen.c.until, seen.c.result_url, seen.c.actual, asked.label("asked"), ended)
        .select_from(JOBS.join(seen, seen.c.job_id == _row.id))
        .order_by(_row.id)
        .with_for_update(of=JOBS, key_share=True)
        .cte("locked")
    )
    ready = locked.c.result_url.is_not(None)
    rest = case((_row.woken, AT), else_=locked.c.until)
    told = func.coalesce(locked.c.actual, _row.cost_credits)
    new = {
        "status": case((ready, literal(rule.target)), else_=_row.status),
        "stage": case((ready, Stage.DOWNLOAD.value), else_=_row.stage),
        "next_run_at": case((ready, later(_GRACE)), else_=rest),
        "result_url": func.coalesce(locked.c.result_url, _row.result_url),
        "cost_credits": told,
        "committed": committed({"cost_credits": told}, over=False),
        "billed": case((or_(ready, locked.c.actual.is_not(None)), "yes"), else_=_row.billed),
        "waiting_for": case((ready, null()), else_=literal("provider")),
        "updated_at": case((ready, AT), else_=_row.updated_at),
        "woken": false(),
        "hints": literal_column("0"),
    }
    moved = update(JOBS).where(_row.id == locked.c.id, locked.c.asked).values(new).returning(*_row).cte("moved")
    arrived = moved.c.status == literal(rule.target)
    event = events.record(moved, literal_column(f"'{MoveName.DELIVER}'"), arrived).cte("event")
    return select(moved).where(arrived).add_cte(event, _learn(seen, locked).cte("fact"))


POLLED = _polled()


def polled_values(found: Sequence[Polled]) -> list[dict[str, Any]]:
    """The rows that `POLLED` takes; of several about one job, the last that brings a picture, else the last."""
    best: dict[Any, Polled] = {}
    for one in found:
        before = best.get(one.job_id)
        if before is None or one.result_url is not None or before.result_url is None:
            best[one.job_id] = one
    return [
        {
            "job_id": one.job_id,
            "attempt_id": one.attempt_id,
            "until": one.until,
            "result_url": one.result_url,
            "actual": one.actual,
            "usage": one.usage,
        }
        for one in best.values()
    ]
