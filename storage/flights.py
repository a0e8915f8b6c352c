"""Single flight in SQL: who leads, who waits, and who is woken when a leader leaves; see `imagegen.flights`.

A claim takes the flight and the job, or finds the flight taken and parks the job, in one statement; a leader's end
frees the flight and wakes in its own. Rows are locked in one order, flight before followers, and the flight is held by
whoever parks for it, so that nobody parks unseen while it is freed. What a claim's snapshot could not see yet (the
leader completed, or was refused, a moment ago) is found by the intent to buy, which looks once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    CTE,
    Delete,
    Select,
    Update,
    and_,
    case,
    delete,
    exists,
    false,
    func,
    literal_column,
    null,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.elements import ColumnElement

from imagegen import policies
from imagegen.flights import FLIGHT, FLYING, SHARED
from imagegen.states import Stage, Status
from storage import cache, pauses
from storage.events import AT
from storage.tables import CACHE, FLIGHTS, JOBS, PACED, among, value

_row = JOBS.c
_flight = FLIGHTS.c
_JOB_ID = value("job_id", _row.id)
_QUEUED: ColumnElement[str] = literal_column(f"'{Status.QUEUED}'")
_NOTHING: ColumnElement[str] = literal_column("''")
_FLIGHT: ColumnElement[str] = literal_column(f"'{FLIGHT}'")
_twin = JOBS.alias("twin").c


def _refused() -> list[ColumnElement[bool]]:
    """The job's twins that were refused while it waited. Who continues a job by hand wants its provider asked."""
    return [
        _twin.fingerprint == _row.fingerprint,
        _twin.emulated == _row.emulated,
        _twin.id != _row.id,
        _twin.status == literal_column(f"'{Status.FAILED}'"),
        among(_twin.error_code, SHARED),
        _twin.completed_at >= _row.created_at,
        _twin.completed_at > AT - policies.REFUSAL_SHARED,
        _row.run == literal_column("1"),
    ]


def asked(guards: Sequence[ColumnElement[bool]]) -> CTE:
    """The job that is there to be claimed, and how its picture stands: `paused`, `cached`, the newest refusal that it
    shares (JSON {code, message, retryable}), `settled` (either), `alone` (it needs no flight)."""
    named = (_row.id, _row.fingerprint, _row.emulated, _row.fresh)
    cached = cache.bought_before().label("cached")
    seen = select(*named, cached, pauses.holding().label("paused")).where(*guards).cte("seen")
    one = seen.c
    told = func.jsonb_build_object(
        literal_column("'code'"), _twin.error_code, literal_column("'message'"), _twin.error_message,
        literal_column("'retryable'"), _twin.error_retryable,
    )  # fmt: skip
    newest = select(told).where(_row.id == one.id, *_refused()).order_by(_twin.completed_at.desc()).limit(1)
    own = or_(one.fresh, one.fingerprint == _NOTHING)
    refused = case((~or_(one.cached, own), newest.correlate(seen).scalar_subquery())).label("refused")
    known = select(*one, own.label("own"), refused).cte("known").prefix_with("MATERIALIZED")
    settled = or_(known.c.cached, known.c.refused.is_not(None))
    return select(*known.c, settled.label("settled"), or_(known.c.own, settled).label("alone")).cte("asked")


def settled() -> ColumnElement[bool]:
    """Whether it is known what becomes of the job's picture: it was bought, or refused."""
    return or_(cache.bought_before(), exists(select(_twin.id).where(*_refused())))


def unsettled() -> ColumnElement[bool]:
    """For the intent to buy: nobody bought or was refused the picture since the job was claimed."""
    return or_(_row.fresh, _row.fingerprint == _NOTHING, ~settled())


def _leading() -> ColumnElement[bool]:
    """Whether the leader of a flight is still at it: busy, or waiting for a slot that it will get."""
    leader = JOBS.alias("leader").c
    slot = or_(func.coalesce(among(leader.waiting_for, PACED), false()), leader.slot_at.is_not(None))
    waits = and_(leader.status == _QUEUED, slot, leader.deadline_at > AT, ~pauses.holding(leader))
    return exists(select(leader.id).where(leader.id == _flight.leader, or_(among(leader.status, FLYING), waits)))


def take(asked: CTE) -> CTE:
    """The flight of a job that is not paused, if it is the job's now; else nothing.

    A flight is taken over from a leader that left it without a word; not at once, for this statement's snapshot may be
    older than the leader's claim.
    """
    job = asked.c
    names = [_flight.fingerprint, _flight.emulated, _flight.leader, _flight.taken_at]
    same = and_(_flight.fingerprint == job.fingerprint, _flight.emulated == job.emulated)
    gone = select(_flight.leader).select_from(FLIGHTS.join(asked, same))
    left = gone.where(_flight.taken_at <= AT - policies.FLIGHT_SURE, ~_leading()).cte("left_behind")
    mine = select(job.fingerprint, job.emulated, job.id, AT).where(~job.alone, ~job.paused)
    # Named here because SQLAlchemy forgets schemas in what it first meets below ON CONFLICT.
    taken = insert(FLIGHTS).from_select(names, mine).add_cte(left)
    new = {"leader": taken.excluded.leader, "taken_at": taken.excluded.taken_at}
    over = and_(_flight.leader.in_(select(left.c.leader)), _flight.taken_at <= AT - policies.FLIGHT_SURE)
    mine_or_over = or_(_flight.leader == taken.excluded.leader, over)
    keyed = ["fingerprint", "emulated"]
    return (
        taken.on_conflict_do_update(index_elements=keyed, set_=new, where=mine_or_over)
        .returning(_flight.leader)
        .cte("flight")
    )


def granted(asked: CTE, flight: CTE) -> ColumnElement[bool]:
    """Whether the job may be bought: it leads, or needs no flight; a pause lets only what costs nothing by."""
    job = asked.c
    alone = exists(select(job.id).where(job.alone, or_(~job.paused, job.settled)))
    return or_(alone, exists(select(flight.c.leader)))


def parked() -> dict[str, Any]:
    """The columns of a job that waits for another's flight; takes `continuation`."""
    look = func.least(AT + policies.FLIGHT_LOOK, func.greatest(_row.deadline_at, AT))
    return {
        "next_run_at": look,
        "waiting_for": _FLIGHT,
        "slot_at": null(),
        "continuation": func.coalesce(value("continuation", _row.continuation), _row.continuation),
        "hints": literal_column("0"),
    }


def follow(guards: Sequence[ColumnElement[bool]], asked: CTE, flight: CTE) -> CTE:
    """Parks the job that is there to be claimed, and whose flight another one has."""
    job = asked.c
    waits = [exists(select(job.id).where(~job.alone, ~job.paused)), ~exists(select(flight.c.leader))]
    parking = update(JOBS).where(*guards, *waits).values(parked())
    return parking.returning(_row.next_run_at, _row.waiting_for).cte("followed")


def land(moved: CTE, everybody: bool) -> list[CTE]:
    """The moved job's flight, as it was taken, is over; who waited for it is due: `everybody`, or the most urgent."""
    # The snapshot's row: a job that goes to another provider may have another fingerprint from here on.
    before = JOBS.alias("before").c
    over = [_flight.fingerprint == before.fingerprint, _flight.emulated == before.emulated, _flight.leader == _JOB_ID]
    freed = _freed(delete(FLIGHTS).where(before.id == _JOB_ID, exists(select(moved.c.id)), *over))
    return [freed, _woken(_waiting(freed) if everybody else _next(freed))]


def land_lost(taken: CTE, lost: ColumnElement[bool], picked: CTE) -> list[CTE]:
    """The flights of the jobs whose workers the sweep gave up; it waits for nobody, and leaves alone what it took."""
    lead = and_(_flight.leader == taken.c.id, _flight.fingerprint == taken.c.fingerprint)
    over = (
        select(_flight.fingerprint, _flight.emulated)
        .select_from(FLIGHTS.join(taken, and_(lead, _flight.emulated == taken.c.emulated, lost)))
        .with_for_update(of=FLIGHTS, skip_locked=True)
        .cte("over")
    )
    ended = [_flight.fingerprint == over.c.fingerprint, _flight.emulated == over.c.emulated]
    freed = _freed(delete(FLIGHTS).where(*ended))
    return [freed, _woken(_next(freed, ~exists(select(picked.c.id).where(picked.c.id == _row.id))))]


def _freed(ending: Delete) -> CTE:
    return ending.returning(_flight.fingerprint, _flight.emulated, _flight.leader).cte("freed")


def _follows(freed: CTE) -> list[ColumnElement[bool]]:
    """Rows that wait for this flight, or that may have begun to since the statement's snapshot."""
    return [
        _row.fingerprint == freed.c.fingerprint,
        _row.emulated == freed.c.emulated,
        _row.status == _QUEUED,
        _row.stage == literal_column(f"'{Stage.GENERATE}'"),
        _row.id != freed.c.leader,
        ~_row.fresh,
        or_(_row.waiting_for.is_(None), _row.waiting_for == _FLIGHT),
    ]


def _waiting(freed: CTE) -> Select[Any]:
    """All of them, locked in one order; what a locked row says is true whatever the snapshot says."""
    locked = select(_row.id, _row.waiting_for).select_from(JOBS.join(freed, true())).where(*_follows(freed))
    return locked.order_by(_row.id).with_for_update(of=JOBS, key_share=True)


def _next(freed: CTE, *conditions: ColumnElement[bool]) -> Select[Any]:
    """The most urgent that may be bought, of each flight; one that is not parked comes by itself."""
    urgency = _row.priority - func.extract("epoch", AT - _row.created_at) / policies.AGEING
    first = (
        select(_row.id, _row.waiting_for)
        .where(*_follows(freed), _row.deadline_at > AT, ~pauses.holding(), *conditions)
        .order_by(_row.waiting_for.is_(None), urgency, _row.created_at, _row.id)
        .limit(1)
        .with_for_update(skip_locked=True, key_share=True)
        .correlate(freed)
        .lateral("first")
    )
    return select(first.c.id, first.c.waiting_for).select_from(freed.join(first, true()))


def _woken(waiting: Select[Any]) -> CTE:
    who = waiting.cte("waiting")
    new = {"next_run_at": func.least(_row.next_run_at, AT), "hints": literal_column("0")}
    waking: Update = update(JOBS).where(_row.id == who.c.id, who.c.waiting_for == _FLIGHT).values(new)
    return waking.returning(_row.id).cte("woken")


def with_picture(moved: CTE, asked: CTE, followed: CTE, picture: Sequence[ColumnElement[Any]]) -> Select[Any]:
    """One row: the claimed job with the picture bought before or the refusal it shares, or `followed_until`."""
    row, one = moved.c, select(literal_column("1").label("one")).subquery("one")
    same = and_(CACHE.c.fingerprint == row.fingerprint, CACHE.c.emulated == row.emulated, ~row.fresh, cache.alive())
    found = one.outerjoin(moved, true()).outerjoin(CACHE, same).outerjoin(asked, true()).outerjoin(followed, true())
    told = (asked.c.refused, followed.c.next_run_at.label("followed_until"))
    return select(moved, *picture, *told).select_from(found)
