"""How accepted work is answered: at once with 202, or, where the caller prefers to wait, with the finished document."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import Header, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from starlette.background import BackgroundTask

from imagegen.admission import send_hints
from imagegen.api.access import House, house_of
from imagegen.api.tokens import Caller
from imagegen.api.waiting import LOOK_EVERY, unless
from imagegen.contracts import BatchDocument, JobDocument
from imagegen.errors import InvalidRequest
from imagegen.records import Admitted
from imagegen.states import TERMINAL, BatchStatus

MAX_WAIT = 60
"""Seconds that an answer may be waited for."""

IdempotencyKey = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=255, description="The body's `idempotencyKey`."),
]
Prefer = Annotated[
    str | None, Header(description=f"`wait=SECONDS`, {MAX_WAIT} at most: answer with the finished document.")
]
Document = JobDocument | BatchDocument

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})", re.IGNORECASE)
_LIVE = {BatchStatus.QUEUED, BatchStatus.RUNNING}


def with_key(body: dict[str, Any], header: str | None) -> dict[str, Any]:
    """The body with the header's idempotency key. Raises `InvalidRequest` where the two disagree."""
    if header is None:
        return body
    told = body.get("idempotencyKey")
    if told not in {None, header} if told is None or isinstance(told, str) else True:
        raise InvalidRequest.of(
            "Idempotency-Key", "is not the body's idempotencyKey", "Send one of them, or both alike."
        )
    return {**body, "idempotencyKey": header}


def seconds_to_wait(prefer: str | None) -> int:
    """How long the caller prefers to wait (RFC 7240); 0: not at all."""
    found = _WAIT.search(prefer or "")
    return min(int(found[1]), MAX_WAIT) if found else 0


async def accepted(
    request: Request, admitted: Admitted, caller: Caller, prefer: str | None, look: Callable[[], Document]
) -> Response:
    """The answer to accepted work; `look` reads the document as it stands.

    Workers are told after the answer; only who waits for the picture has them told first.
    """
    seconds, house = seconds_to_wait(prefer), house_of(request)

    def hint() -> None:
        send_hints(admitted, house.services)

    if not seconds:
        return answer(_document(admitted, house), 202, background=BackgroundTask(house.afterwards.do, hint))
    await house.afterwards.do(hint)
    document, done = await _waited(request, [job.id for job in admitted.jobs], caller, seconds, look)
    return answer(document, 200 if done else 202, {"Preference-Applied": f"wait={seconds}"})


async def standing(request: Request, caller: Caller, prefer: str | None, look: Callable[[], Document]) -> Response:
    """What `look` reads: at once, or, where the caller prefers to wait, as soon as it has ended."""
    document = await run_in_threadpool(look)
    seconds = seconds_to_wait(prefer)
    if not seconds or _ended(document):
        return answer(document, 200)
    jobs = [document] if isinstance(document, JobDocument) else document.jobs
    document, _ = await _waited(request, [job.job_id for job in jobs], caller, seconds, look)
    return answer(document, 200, {"Preference-Applied": f"wait={seconds}"})


def _ended(document: Document) -> bool:
    return document.status not in _LIVE if isinstance(document, BatchDocument) else document.status in TERMINAL


async def _waited(
    request: Request, job_ids: Sequence[UUID], caller: Caller, seconds: int, look: Callable[[], Document]
) -> tuple[Document, bool]:
    loop, house = asyncio.get_running_loop(), house_of(request)
    until = loop.time() + seconds
    done = await unless(_gone(request), house.room.wait(job_ids, seconds, caller.sees))
    document = await run_in_threadpool(look)
    # The last member's end closes its batch a moment later.
    while done and document.status in _LIVE and loop.time() < until and not house.draining:
        await asyncio.sleep(LOOK_EVERY)
        document = await run_in_threadpool(look)
    return document, done and document.status not in _LIVE


async def _gone(request: Request) -> None:
    """Returns when the caller has broken off; what may be left of its body is not kept."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _document(admitted: Admitted, house: House) -> Document:
    links = house.services.links
    return links.job(admitted.jobs[0]) if admitted.batch is None else links.batch(admitted.batch, admitted.jobs)


def answer(
    document: Document, status: int, headers: dict[str, str] | None = None, background: BackgroundTask | None = None
) -> Response:
    """A document, and where it is found."""
    kind, identity = ("jobs", document.job_id) if isinstance(document, JobDocument) else ("batches", document.batch_id)
    located = {"Location": f"/api/images/{kind}/{identity}"} if status == 202 else {}
    text = document.model_dump_json(by_alias=True)
    return Response(text, status, {**located, **(headers or {})}, "application/json", background)
