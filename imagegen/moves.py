"""What every store of jobs asks of a move before it looks at the job: that the move is lawful in itself. Pure."""

from __future__ import annotations

from imagegen.records import Facts, Move
from imagegen.states import MOVES, TERMINAL, MoveName, Stage, Status

GUARDED = frozenset({"id", "status", "stage", "next_run_at", "claim", "woken", "hints", "updated_at", "continuation"})
"""Fields of a job that a move sets by its own fields, never by its `changes`."""

ANSWERS = frozenset(
    {MoveName.ACCEPT, MoveName.DELIVER, MoveName.REPEAT, MoveName.DOUBT, MoveName.FAIL, MoveName.STAND_IN}
)
"""With facts, what answers a paid call: it moves no job that its owner stopped during that call."""

SLOT_ENDS = frozenset(
    {
        MoveName.SUBMIT, MoveName.HOLD, MoveName.REPEAT, MoveName.REUSE, MoveName.STAND_IN, MoveName.FAIL,
        MoveName.CANCEL,
    }
)  # fmt: skip
"""Moves after which a job has no slot of a limit: it was used, or is not wanted."""

AMENDING = frozenset({MoveName.SETTLE, MoveName.REPLACE})
"""Moves of an ended job that leave it where it ended: `until` says when its end is announced again."""

UNTIMED = AMENDING | {MoveName.STOP}
"""Moves that leave a job's timing as it is."""

ENDS_AT_DEADLINE = frozenset({Stage.GENERATE, Stage.POLL})
"""Stages that the sweep ends a job at when its time is over; from any other a paid picture is on its way."""

REOPENING = frozenset({MoveName.RETRY, MoveName.PROVE})
"""Moves out of an end: the end is forgotten, and the job's batch is open again."""


UNERASED = REOPENING | {MoveName.REPLACE}
"""Moves of an ended job that need what it was asked for, or show a picture again: never of one to be erased."""


def target_of(move: Move) -> Status | None:
    """The status that the move leads to, None where it stays. Raises `ValueError` where the move breaks its rule."""
    target = _target(move)
    if forbidden := GUARDED & set(move.changes):
        raise ValueError(f"{move.name} changes {', '.join(sorted(forbidden))}: these follow from the move itself")
    if target not in TERMINAL and move.until is None and move.name not in UNTIMED:
        raise ValueError(f"{move.name} leaves the job live and needs `until`")
    return target


def names_picture(facts: Facts) -> bool:
    """Whether the facts name an order or a picture, which may be had though its job is over."""
    return not (facts.provider_job_id is None and facts.result_url is None and facts.blob_sha256 is None)


def over(facts: Facts) -> bool:
    """Whether the provider is done with the order: its picture was found, or that it has none."""
    return facts.result_url is not None or facts.blob_sha256 is not None or facts.state == "failed"


def _target(move: Move) -> Status | None:
    if move.name is MoveName.RETRY:
        if move.target is None:
            raise ValueError("retry needs `target`: its rule leaves it open")
        return move.target
    fixed = MOVES[move.name].target
    if move.target not in {None, fixed}:
        raise ValueError(f"{move.name} leads to {fixed}, not to {move.target}")
    return fixed
