"""What a job may be, and the one table of moves between: Python, SQL, documents and tests read it here.

    queued ──► processing ──► generating ──► uploading ──► completed
       │            │             │              │
       └────────────┴─────────────┴──────────────┴──────► failed │ cancelled

A move is one guarded UPDATE (`storage.jobs`): it happens only from its `sources` (and `stages`), and finding
nothing to move is a normal answer: somebody else was first.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """Where a job stands, for its owner."""

    QUEUED = "queued"
    PROCESSING = "processing"
    GENERATING = "generating"
    UPLOADING = "uploading"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Stage(StrEnum):
    """Which step comes next; each is one Celery task of the same name."""

    GENERATE = "generate"
    RECONCILE = "reconcile"
    POLL = "poll"
    DOWNLOAD = "download"
    UPLOAD = "upload"


class FailureStage(StrEnum):
    """What was being done when a job failed."""

    PROCESSING = "processing"
    GENERATING = "generating"
    DOWNLOADING = "downloading"
    UPLOADING = "uploading"
    PERSISTING = "persisting"


class BatchStatus(StrEnum):
    """Where a batch stands: the last four are its ends."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})
LIVE = frozenset(Status) - TERMINAL
PROGRESS: dict[Status, float] = {
    Status.QUEUED: 0.0,
    Status.PROCESSING: 0.1,
    Status.GENERATING: 0.3,
    Status.UPLOADING: 0.8,
    Status.COMPLETED: 1.0,
    Status.FAILED: 1.0,
    Status.CANCELLED: 1.0,
}


class MoveName(StrEnum):
    """Every move, named for what happened."""

    CLAIM = "claim"
    HOLD = "hold"
    REUSE = "reuse"
    SUBMIT = "submit"
    REPEAT = "repeat"
    ACCEPT = "accept"
    DOUBT = "doubt"
    DELIVER = "deliver"
    FETCH = "fetch"
    REFRESH = "refresh"
    FETCHED = "fetched"
    PUBLISH = "publish"
    BACKOFF = "backoff"
    COMPLETE = "complete"
    STAND_IN = "stand_in"
    FAIL = "fail"
    STOP = "stop"
    CANCEL = "cancel"
    RETRY = "retry"
    PROVE = "prove"
    SETTLE = "settle"
    REPLACE = "replace"


@dataclass(frozen=True)
class Rule:
    """From where, at which stages (None: any), to where (None: the status stays)."""

    sources: frozenset[Status]
    target: Status | None
    stages: frozenset[Stage] | None = None
    tells: str = ""


def _rule(sources: set[Status], target: Status | None, stages: set[Stage] | None, tells: str) -> Rule:
    return Rule(frozenset(sources), target, None if stages is None else frozenset(stages), tells)


_S, _T = Status, Stage
MOVES: dict[MoveName, Rule] = {
    MoveName.CLAIM: _rule({_S.QUEUED}, _S.PROCESSING, {_T.GENERATE}, "a worker takes the job"),
    MoveName.HOLD: _rule({_S.PROCESSING}, _S.QUEUED, {_T.GENERATE}, "nothing bought: parked, or its worker was lost"),
    MoveName.REUSE: _rule({_S.PROCESSING}, _S.UPLOADING, {_T.GENERATE}, "the picture was bought before"),
    MoveName.SUBMIT: _rule({_S.PROCESSING}, _S.GENERATING, {_T.GENERATE}, "the intent to buy is committed"),
    MoveName.REPEAT: _rule(
        {_S.GENERATING, _S.UPLOADING}, _S.QUEUED, None, "not bought, or another purchase is allowed: again"
    ),
    MoveName.ACCEPT: _rule({_S.GENERATING}, None, {_T.GENERATE, _T.RECONCILE}, "the provider took the order"),
    MoveName.DOUBT: _rule({_S.GENERATING}, None, {_T.GENERATE, _T.RECONCILE}, "no answer: to be reconciled"),
    MoveName.DELIVER: _rule(
        {_S.GENERATING}, _S.UPLOADING, {_T.GENERATE, _T.RECONCILE, _T.POLL}, "the provider has the picture"
    ),
    MoveName.FETCH: _rule({_S.UPLOADING}, None, {_T.DOWNLOAD}, "a worker takes the download"),
    MoveName.REFRESH: _rule(
        {_S.UPLOADING}, _S.GENERATING, {_T.DOWNLOAD, _T.UPLOAD}, "the file is no good or gone: ask for a fresh URL"
    ),
    MoveName.FETCHED: _rule({_S.UPLOADING}, None, {_T.DOWNLOAD}, "the picture is ours"),
    MoveName.PUBLISH: _rule({_S.UPLOADING}, None, {_T.UPLOAD}, "a worker takes the upload"),
    MoveName.BACKOFF: _rule({_S.UPLOADING}, None, {_T.DOWNLOAD, _T.UPLOAD}, "a transfer failed: again later"),
    MoveName.COMPLETE: _rule({_S.UPLOADING}, _S.COMPLETED, {_T.UPLOAD}, "published"),
    MoveName.STAND_IN: _rule(
        {_S.QUEUED, _S.PROCESSING, _S.GENERATING}, _S.COMPLETED, None, "no provider delivers: a placeholder stands in"
    ),
    MoveName.FAIL: _rule(set(LIVE), _S.FAILED, None, "it ends without a picture"),
    MoveName.STOP: _rule({_S.GENERATING}, None, {_T.GENERATE}, "its owner stops it while it is being bought"),
    MoveName.CANCEL: _rule(set(LIVE), _S.CANCELLED, None, "its owner stopped it"),
    MoveName.RETRY: _rule({_S.FAILED}, None, None, "its owner wants it continued at the stage that failed"),
    MoveName.PROVE: _rule({_S.FAILED, _S.CANCELLED}, _S.UPLOADING, None, "a paid picture turned up after the end"),
    MoveName.SETTLE: _rule({_S.FAILED, _S.CANCELLED}, None, None, "what it cost became known after its end"),
    MoveName.REPLACE: _rule({_S.COMPLETED}, None, None, "the real picture takes its placeholder's place"),
}


def failure_stage(status: Status, stage: Stage) -> FailureStage:
    """What a live job was doing, for its `failure_stage` should it fail now."""
    if status in {Status.QUEUED, Status.PROCESSING}:
        return FailureStage.PROCESSING
    if status is Status.GENERATING:
        return FailureStage.GENERATING
    return FailureStage.DOWNLOADING if stage is Stage.DOWNLOAD else FailureStage.UPLOADING
