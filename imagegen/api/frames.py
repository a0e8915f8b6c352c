"""What is said on a stream of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

from imagegen.contracts import BatchDocument, rfc3339
from imagegen.errors import InvalidRequest
from imagegen.policies import STREAM_RECONNECT
from imagegen.ports_events import PLACE, Line, Place
from imagegen.states import TERMINAL, MoveName

MEDIA_TYPE = "text/event-stream"
LAST_EVENT_ID = rf"^{PLACE}(e[0-9]{{1,9}})?$"
"""An `id:` of ours: a place in the log, and after a batch's end the run that ended."""

SNAPSHOT, REPLACED, ERASED = "snapshot", "replaced", "erased"
HEARTBEAT = b": heartbeat\n\n"


def frame(event: str, data: Mapping[str, Any], mark: object = None) -> bytes:
    """One message. Its data is a single line of ASCII, which every client's idea of lines leaves whole."""
    said = f"event: {event}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"
    return (said if mark is None else f"id: {mark}\n{said}").encode()


def comment(words: str) -> bytes:
    """A message that clients skip."""
    return f": {words}\n\n".encode()


def opening(mark: str) -> bytes:
    """The first block: when to connect again, and from where, should nothing happen before."""
    return f"retry: {STREAM_RECONNECT * 1000:.0f}\nid: {mark}\n\n".encode()


@dataclass(frozen=True)
class Told:
    """A line of the log, handed on when `log` was seen; `document` is the job's, where the line tells of an end."""

    line: Line
    log: Place
    document: Mapping[str, Any] | None = None

    @property
    def ends(self) -> bool:
        """Whether the job has ended by it."""
        return self.line.status in TERMINAL

    def frame(self, mark: str) -> bytes:
        """The message for a reader that goes on from this mark after it."""
        return f"id: {mark}\n".encode() + self._said

    @cached_property
    def _said(self) -> bytes:
        line = self.line
        data: dict[str, Any] = {
            "jobId": str(line.job_id),
            "batchId": None if line.batch_id is None else str(line.batch_id),
            "owner": line.owner,
            "run": line.run,
            "move": line.move,
            "status": line.status,
            "stage": line.stage,
            "at": rfc3339(line.at),
        }
        if self.ends:
            data["job"] = self.document
        return frame(REPLACED if line.move == MoveName.REPLACE else line.status, data)


@dataclass(frozen=True)
class Closed:
    """A batch's end."""

    run: int
    document: BatchDocument

    def frame(self, place: Place) -> bytes:
        """The message for a reader that stands at this place."""
        batch = self.document.json_document()
        data = {name: batch[name] for name in ("batchId", "status")}
        told = {**data, "run": self.run, "at": batch["completedAt"], "batch": batch}
        return frame(f"batch.{self.document.status}", told, f"{place}e{self.run}")


@dataclass(frozen=True)
class Gone:
    """The job or batch was erased."""

    id: UUID


Message = Told | Closed | Gone


@dataclass(frozen=True)
class Resume:
    """From where a caller goes on; `run`: the batch's run whose end it knows."""

    place: Place
    run: int | None = None


def resume(header: str | None, query: str | None) -> Resume | None:
    """Where a caller left off, as it says; None: it begins. The header wins, for browsers renew it alone.

    Raises `InvalidRequest`.
    """
    told = {"lastEventId": query, "Last-Event-ID": header}
    found = [_resume(field, written) for field, written in told.items() if written is not None]
    return found[-1] if found else None


def _resume(field: str, written: str) -> Resume:
    try:
        if re.fullmatch(LAST_EVENT_ID, written) is None:
            raise ValueError(written)
        place, _, run = written.partition("e")
        return Resume(Place.read(place), int(run) if run else None)
    except ValueError as error:
        raise InvalidRequest.of(
            field, "is not one of ours", "Send the last `id:` that the stream had, as it is, or leave it out."
        ) from error
