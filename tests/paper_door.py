"""The HTTP door on paper: it answers a client's conversation by script, without a socket."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID, uuid4

from imagegen.client.protocol import Call, Ended, Lost, Pause, Reply, Talk, advanced
from imagegen.client.talks import PATIENCE, Talks
from imagegen.contracts import BatchDocument, Cost, JobDocument
from imagegen.testing.memory import ManualClock

Result = TypeVar("Result")
Scripted = Reply | Lost | Callable[[Call], Reply | Lost]
URL = "http://door"
REFUSED, CUT = Lost("ConnectError refused", sent=False), Lost("ReadError reset", sent=True)


class Paper:
    """A door on paper: it answers by script, its last answer for ever, on a clock that moves by pauses alone."""

    def __init__(self, *answers: Scripted, patience: float = PATIENCE) -> None:
        self.clock = ManualClock()
        self.talks = Talks(URL, self.clock, lambda: 1.0, patience)
        self.answers = list(answers)
        self.calls: list[Call] = []
        self.pauses: list[float] = []

    def hold(self, talk: Talk[Result]) -> Result:
        """The conversation to its end."""
        step = advanced(talk, None)
        while not isinstance(step, Ended):
            if isinstance(step, Pause):
                self.pauses.append(step.seconds)
                self.clock.advance(step.seconds)
                step = advanced(talk, None)
                continue
            self.calls.append(step)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            step = advanced(talk, answer if isinstance(answer, Reply | Lost) else answer(step))
        return step.value

    def bodies(self) -> list[Any]:
        return [json.loads(call.body) if call.body else None for call in self.calls]


def replied(status: int, document: Any, **headers: str) -> Reply:
    return Reply(status, headers, json.dumps(document).encode())


def job(status: str = "queued", job_id: UUID | None = None, **fields: Any) -> Reply:
    return replied(200, JobDocument(job_id=job_id or uuid4(), status=status, **fields).json_document())


def batch(status: str, *members: JobDocument) -> Reply:
    return replied(200, BatchDocument(batch_id=uuid4(), status=status, jobs=list(members), cost=Cost()).json_document())


def problem(status: int, code: str, retry_after: str | None = None, **more: Any) -> Reply:
    told = {"type": "about:blank", "title": "No", "status": status, "detail": "told so", "code": code, "jobId": None}
    headers = {} if retry_after is None else {"retry-after": retry_after}
    return Reply(status, headers, json.dumps({**told, "retryable": False, "billed": "no", **more}).encode())


NOBODY = problem(404, "NOT_FOUND")
