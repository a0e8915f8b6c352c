"""The guarded moves as SQL, one statement each, generated from `imagegen.states.MOVES`.

    WITH moved   AS (UPDATE image_generation_jobs … WHERE id = … AND status IN (sources) … RETURNING *),
         event   AS (INSERT … FROM moved),  attempt AS (INSERT … FROM moved),
         fate    AS (SELECT whether the picture of the facts is to be looked for),  fact AS (UPDATE … FROM fate),
         ledger  AS (INSERT … FROM moved or always),  cache AS (INSERT … FROM moved),  batch AS (UPDATE … FROM moved),
         told    AS (INSERT … FROM moved, at an end),
         freed   AS (DELETE the flight that it led),  woken AS (UPDATE who waited for it)
    SELECT * FROM moved

All parts see the same snapshot and commit together. A statement is built once per `Shape`, that is per kind of move
and set of changed columns; its values come with each execution.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import CTE, Boolean, Select, and_, case, exists, func, literal_column, null, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB, Insert
from sqlalchemy.sql.elements import ColumnElement

from imagegen.flights import LANDS, wakes_all
from imagegen.money import COSTS
from imagegen.moves import AMENDING, ANSWERS, REOPENING, SLOT_ENDS, UNERASED, target_of
from imagegen.records import Move
from imagegen.states import LIVE, MOVES, TERMINAL, BatchStatus, MoveName, Stage, failure_stage
from storage import attempts, cache, events, flights, ledger, outbox, pauses
from storage.events import AT
from storage.money import committed
from storage.rows import CACHED
from storage.tables import ATTEMPTS, BATCHES, CACHE, EVENTS, JOBS, among, value

FREE_TO_TAKE = frozenset({MoveName.FETCH, MoveName.PUBLISH})
_FORGOTTEN = ("completed_at", "announce_at", "failure_stage", "error_code", "error_message", "error_retryable")

JOB_ID = value("job_id", JOBS.c.id)

_PICTURE = [
    CACHE.c[name].label(CACHED + name)
    for name in ("fingerprint", "blob_sha256", "content_type", "width", "height", "bytes")
]
CACHED_PICTURE: Select[Any] = select(*_PICTURE).where(
    CACHE.c.fingerprint == value("fingerprint", CACHE.c.fingerprint),
    CACHE.c.emulated == value("emulated", CACHE.c.emulated),
    cache.alive(),
)


@dataclass(frozen=True)
class Shape:
    """What decides a move's SQL; everything else is a value."""

    name: MoveName
    changes: frozenset[str]
    ends: bool
    staged: bool
    parked: bool
    held: bool
    seen: tuple[str, ...]
    attempt: bool
    facts: bool
    entries: bool
    picture: bool
    wakes_all: bool
    claiming: bool


def shape(move: Move, *, claiming: bool = False) -> Shape:
    """The shape of this move; raises `ValueError` where the move breaks its rule."""
    return Shape(
        name=move.name,
        changes=frozenset(move.changes),
        ends=target_of(move) in TERMINAL,
        staged=move.stage is not None,
        parked=move.parked,
        held=move.held is not None,
        seen=tuple(_seen(move)),
        attempt=move.new_attempt is not None,
        facts=move.facts is not None,
        entries=bool(move.entries),
        picture=move.name is MoveName.COMPLETE and "picture" in move.detail,
        wakes_all=wakes_all(move),
        claiming=claiming,
    )


def values(move: Move) -> dict[str, Any]:
    """The values for the statement of this move's shape."""
    return {
        "job_id": move.job_id,
        "at": move.at,
        "move": move.name.value,
        "cause": move.cause,
        "worker": move.worker,
        "detail": move.detail,
        "target": target_of(move),
        "stage": move.stage,
        "until": move.until,
        "waiting_for": move.waiting_for,
        "held": move.held,
        **{f"seen_{name}": value for name, value in _seen(move).items()},
        "claim": move.claim,
        **{f"to_{name}": value for name, value in move.changes.items()},
        **cache.picture_values(move.detail.get("picture") or {}),
        **(attempts.new_values(move.new_attempt) if move.new_attempt else {}),
        **(attempts.fact_values(move.facts) if move.facts else {}),
        **(ledger.entry_values(move.entries) if move.entries else {}),
    }


def _seen(move: Move) -> dict[str, Any]:
    status, stage = move.seen or (None, None)
    asked = {"status": status, "stage": stage, "run": move.run}
    return {name: value for name, value in asked.items() if value is not None}


FAILURE_STAGE: ColumnElement[Any] = case(
    *[
        (
            and_(JOBS.c.status == literal_column(f"'{status}'"), JOBS.c.stage == literal_column(f"'{stage}'")),
            literal_column(f"'{failure_stage(status, stage)}'"),
        )
        for status in sorted(LIVE)
        for stage in sorted(Stage)
    ]
)


def guards(of: Shape) -> list[ColumnElement[bool]]:
    """Where the move finds its job. A claim's do not ask about pauses, which a bought picture need not mind."""
    rule, row = MOVES[of.name], JOBS.c
    found = [row.id == JOB_ID, among(row.status, rule.sources)]
    if rule.stages is not None:
        found.append(among(row.stage, rule.stages))
    if of.held:
        found.append(row.claim == value("held", row.claim))
    elif of.claiming and of.name in FREE_TO_TAKE:
        found.append(or_(row.claim.is_(None), row.next_run_at <= AT))
    if of.claiming:
        found.append(or_(row.next_run_at <= AT, row.waiting_for.is_(None)))
    found += [row[name] == value(f"seen_{name}", row[name]) for name in of.seen]
    if of.facts:
        found.append(row.attempt_id == attempts.FACT_ID)
        if of.name in ANSWERS:
            found.append(~row.stopped)
    if of.name is MoveName.REPLACE:
        found.append(row.placeholder)
    if of.name in UNERASED:
        found.append(row.erase_at.is_(None))
    return found


def _wanted(of: Shape) -> list[ColumnElement[bool]]:
    if of.name is MoveName.SUBMIT:
        return [~pauses.holding(strict=True), flights.unsettled()]
    return []


def _timing(of: Shape) -> dict[str, Any]:
    """When it runs again, who holds it, and what it waits for."""
    row, until = JOBS.c, value("until", JOBS.c.next_run_at)
    if of.name is MoveName.STOP:
        return {}
    if of.name in AMENDING:
        return {"announce_at": until}
    none_sent: ColumnElement[Any] = literal_column("0")
    if of.ends:
        ended = {name: null() for name in ("next_run_at", "claim", "waiting_for")}
        told = {"completed_at": AT, "announce_at": until}
        return {**ended, **told, "woken": literal_column("false"), "hints": none_sent}
    timing: dict[str, Any] = {
        "next_run_at": until,
        "claim": value("claim", row.claim),
        "waiting_for": value("waiting_for", row.waiting_for),
        "hints": none_sent,
    }
    if of.parked:
        timing |= {"next_run_at": case((row.woken, AT), else_=until), "woken": literal_column("false")}
    return timing


def _consequences(of: Shape) -> dict[str, Any]:
    """What follows from the kind of move itself; `changes` may say otherwise."""
    slot = {"slot_at": null()} if of.name in SLOT_ENDS else {}
    return slot | _own_consequences(of)


def _own_consequences(of: Shape) -> dict[str, Any]:
    row = JOBS.c
    if of.name is MoveName.STOP:
        return {"stopped": literal_column("true")}
    if of.name is MoveName.FAIL:
        return {"failure_stage": FAILURE_STAGE}
    if of.name in REOPENING:
        again = {"run": row.run + 1} if of.name is MoveName.RETRY else {}
        return {**{name: null() for name in _FORGOTTEN}, "stopped": literal_column("false"), **again}
    if of.attempt:
        provider = func.jsonb_build_array(value("new_provider", row.provider), type_=JSONB())
        return {
            "attempt_id": value("new_id", row.attempt_id),
            "attempts": row.attempts + 1,
            "tried": case((row.tried.contains(provider), row.tried), else_=row.tried.concat(provider)),
            "provider_job_id": null(),
            "result_url": null(),
        }
    return {}


def moved(of: Shape, *conditions: ColumnElement[bool]) -> CTE:
    """The guarded UPDATE."""
    row = JOBS.c
    changes: dict[str, Any] = {name: value(f"to_{name}", row[name]) for name in sorted(of.changes)}
    if of.name is MoveName.CLAIM:
        changes["started_at"] = func.coalesce(row.started_at, AT)
    new: dict[str, Any] = {
        **_consequences(of),
        **changes,
        **_timing(of),
        "updated_at": AT,
    }
    if MOVES[of.name].target is not None or of.name is MoveName.RETRY:
        new["status"] = value("target", row.status)
    if of.ends or of.name in REOPENING or not COSTS.isdisjoint(of.changes):
        new["committed"] = changes.get("committed", committed(new, over=of.ends or of.name in AMENDING))
    if of.staged:
        new["stage"] = value("stage", row.stage)
    if of.claiming:
        new["continuation"] = func.coalesce(value("continuation", row.continuation), row.continuation)
    return update(JOBS).where(*guards(of), *_wanted(of), *conditions).values(new).returning(*row).cte("moved")


def _fate(moved: CTE) -> CTE:
    """Whether the attempt's picture is to be looked for: the facts say so, or name one after their job's end.

    The job's row is read under its lock, for its end may be newer than the statement's snapshot. Materialized, because
    an UPDATE that waited for its row looks again, and must not run `moved` again.
    """
    seen = select(JOBS.c.status).where(JOBS.c.id == JOB_ID).with_for_update(key_share=True).cte("seen")
    ended = exists(select(seen.c.status).where(among(seen.c.status, TERMINAL)))
    late = and_(value("fact_names", Boolean()), ~exists(select(moved.c.id)), ended)
    wanted = or_(value("fact_collect", Boolean()), late).label("wanted")
    return select(attempts.FACT_ID.label("attempt_id"), wanted).cte("fate").prefix_with("MATERIALIZED")


def _bought_picture(moved: CTE) -> Insert:
    """The cache learns the original, if it was bought."""
    row = moved.c
    bought = and_(row.blob_sha256.is_not(None), ~row.placeholder, ~row.cache_hit)
    return cache.keep(moved, row.blob_sha256, row.blob_content_type, bought)


@lru_cache(maxsize=512)
def statement(of: Shape) -> Select[Any]:
    """The whole statement of a shape: selects the moved job, or nothing."""
    if of.claiming and of.name is MoveName.CLAIM:
        return _claim(of)
    rows = moved(of)
    parts = [events.record(rows, value("move", EVENTS.c.move)).cte("event")]
    if of.attempt:
        parts.append(attempts.intend(rows).cte("attempt"))
    if of.facts:
        fate = _fate(rows)
        collect_at = case((fate.c.wanted, AT), else_=ATTEMPTS.c.collect_at)
        parts.append(attempts.learn(collect_at, fate.c.attempt_id).cte("fact"))
    if of.entries:
        parts.append(ledger.enter(rows, JOB_ID).cte("ledger"))
    if of.picture:
        parts.append(_bought_picture(rows).cte("cache"))
    if of.ends or of.name is MoveName.REPLACE:
        parts.append(outbox.tell_job(rows, replaced=of.name is MoveName.REPLACE).cte("told"))
    if of.name in REOPENING:
        reopened = {"status": BatchStatus.RUNNING.value, "completed_at": null(), "run": BATCHES.c.run + 1}
        parts.append(update(BATCHES).where(BATCHES.c.id.in_(select(rows.c.batch_id))).values(reopened).cte("batch"))
    if of.name in LANDS:
        parts += flights.land(rows, of.wakes_all)
    return select(rows).add_cte(*parts)


def _claim(of: Shape) -> Select[Any]:
    """The job taken with its flight, or parked for another's; always one row (`flights.with_picture`)."""
    asked = flights.asked(guards(of))
    flight = flights.take(asked)
    rows = moved(of, flights.granted(asked, flight))
    followed = flights.follow(guards(of), asked, flight)
    event = events.record(rows, value("move", EVENTS.c.move)).cte("event")
    return flights.with_picture(rows, asked, followed, _PICTURE).add_cte(event)
