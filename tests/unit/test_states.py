"""The table of moves: complete, and leading where the statuses say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from imagegen.states import (
    LIVE,
    MOVES,
    PROGRESS,
    TERMINAL,
    FailureStage,
    MoveName,
    Rule,
    Stage,
    Status,
    failure_stage,
)

ORDER = list(Status)
BACKWARDS = {MoveName.HOLD, MoveName.REPEAT, MoveName.REFRESH, MoveName.PROVE}
RULES = pytest.mark.parametrize(("name", "rule"), MOVES.items())


def test_every_move_has_its_rule() -> None:
    """MOVES is complete, and each rule tells what it is for."""
    assert set(MOVES) == set(MoveName)
    assert all(rule.sources and rule.tells for rule in MOVES.values())


def test_a_status_is_live_or_an_end() -> None:
    """Statuses fall into two parts, and only ends are fully progressed."""
    assert set(Status) == LIVE | TERMINAL
    assert not LIVE & TERMINAL
    assert {status for status, part in PROGRESS.items() if part == 1.0} == TERMINAL


@RULES
def test_only_an_owner_or_a_proof_leaves_an_end(name: MoveName, rule: Rule) -> None:
    """Ends are final for every move but RETRY and PROVE; what is learnt after an end changes no status."""
    afterwards = name in {MoveName.SETTLE, MoveName.REPLACE}
    assert name in {MoveName.RETRY, MoveName.PROVE} or afterwards or rule.sources <= LIVE
    assert not afterwards or (rule.sources <= TERMINAL and rule.target is None)
    assert Status.COMPLETED not in rule.sources or name is MoveName.REPLACE


@RULES
def test_moves_go_forward_unless_they_say_so(name: MoveName, rule: Rule) -> None:
    """queued, processing, generating, uploading, end: only four named moves go back."""
    if rule.target is not None and name not in BACKWARDS:
        assert all(ORDER.index(source) < ORDER.index(rule.target) for source in rule.sources)


def test_nothing_is_bought_but_from_processing() -> None:
    """SUBMIT is the one move from processing to generating, so that each paid call has its own claim."""
    buying = {
        name
        for name, rule in MOVES.items()
        if rule.target is Status.GENERATING and rule.sources & {Status.QUEUED, Status.PROCESSING}
    }
    assert buying == {MoveName.SUBMIT}
    assert MOVES[MoveName.SUBMIT].sources == {Status.PROCESSING}
    assert MOVES[MoveName.CLAIM].sources == {Status.QUEUED}


def test_every_live_status_can_be_left_and_reached() -> None:
    """From queued every status is reachable, and from every live status an end."""
    steps = {(source, rule.target) for rule in MOVES.values() for source in rule.sources if rule.target is not None}
    reached = {Status.QUEUED}
    for _ in Status:
        reached |= {target for source, target in steps if source in reached}
    assert reached == set(Status)
    assert all((status, end) in steps for status in LIVE for end in (Status.FAILED, Status.CANCELLED))


@given(some.sampled_from(sorted(LIVE)), some.sampled_from(sorted(Stage)))
def test_every_failure_has_its_stage(status: Status, stage: Stage) -> None:
    """Whatever a live job was doing has a name that the contract knows for its status."""
    known = {
        Status.QUEUED: {FailureStage.PROCESSING},
        Status.PROCESSING: {FailureStage.PROCESSING},
        Status.GENERATING: {FailureStage.GENERATING},
        Status.UPLOADING: {FailureStage.DOWNLOADING, FailureStage.UPLOADING},
    }
    assert failure_stage(status, stage) in known[status]
