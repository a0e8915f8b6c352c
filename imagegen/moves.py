"""What every store of jobs asks of a move before it looks at the job: that the move is lawful in itself. Pure."""

from __future__ import annotations

from imagegen.records import Move
from imagegen.states import MOVES, TERMINAL, MoveName, Status

GUARDED = frozenset({"id", "status", "stage", "next_run_at", "claim", "woken", "hints", "updated_at", "continuation"})
"""Fields of a job that a move sets by its own fields, never by its `changes`."""

REOPENING = frozenset({MoveName.RETRY, MoveName.PROVE})
"""Moves out of an end: the end is forgotten, and the job's batch is open again."""


def target_of(move: Move) -> Status | None:
    """The status that the move leads to, None where it stays. Raises `ValueError` where the move breaks its rule."""
    target = _target(move)
    if forbidden := GUARDED & set(move.changes):
        raise ValueError(f"{move.name} changes {', '.join(sorted(forbidden))}: these follow from the move itself")
    if target not in TERMINAL and move.until is None:
        raise ValueError(f"{move.name} leaves the job live and needs `until`")
    return target


def _target(move: Move) -> Status | None:
    if move.name is MoveName.RETRY:
        if move.target is None:
            raise ValueError("retry needs `target`: its rule leaves it open")
        return move.target
    fixed = MOVES[move.name].target
    if move.target not in {None, fixed}:
        raise ValueError(f"{move.name} leads to {fixed}, not to {move.target}")
    return fixed
