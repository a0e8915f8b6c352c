"""Events over HTTP as they happen: one job's, one batch's, one owner's, resumable wherever a stream broke off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydantic.json_schema import SkipJsonSchema

from imagegen.api.access import House, TheCaller, TheHouse, listed_owner
from imagegen.api.frames import LAST_EVENT_ID, MEDIA_TYPE, SNAPSHOT, Resume, Told, frame, resume
from imagegen.api.live import documents
from imagegen.api.openapi import refuses
from imagegen.api.paging import known_query
from imagegen.api.problems import Refused
from imagegen.api.streams import EventStream, Following, Start
from imagegen.api.tokens import Caller
from imagegen.checks import check_text
from imagegen.errors import InvalidRequest, Unauthenticated
from imagegen.jobs import Job
from imagegen.ports import Services
from imagegen.ports_events import EventLog, Line, Place, Scope
from imagegen.states import TERMINAL, BatchStatus

router = APIRouter(prefix="/api/images", tags=["events"])

PAGE = 200
"""Lines that are read at once for a caller that goes on."""
MOST = 10_000
"""Lines of one job or batch that are told at once."""

_EVENTS = {
    MEDIA_TYPE: {
        "schema": {
            "type": "object",
            "description": "Each message of the stream.",
            "properties": {
                "id": {"type": "string", "pattern": LAST_EVENT_ID},
                "event": {"type": "string", "description": "`snapshot`, the status, `replaced`, `batch.…`, `erased`."},
                "data": {"type": "string", "contentMediaType": "application/json"},
                "retry": {"type": "integer", "description": "Milliseconds after which to connect again."},
            },
        },
        "example": {"id": "4712", "event": "generating", "data": '{"jobId":"…","move":"submit","run":1}'},
    }
}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "Server-sent events, as they happen", "content": _EVENTS},
    204: {"description": "It has ended, and the caller knows: do not connect again"},
}
_FORM = {"pattern": LAST_EVENT_ID}
_TELLS = "The last `id:` that the caller had: it is told what came after."


def goes_on(
    last_event_id: Annotated[
        str | SkipJsonSchema[None], Header(alias="Last-Event-ID", description=_TELLS, json_schema_extra=_FORM)
    ] = None,
    last_event_id_told: Annotated[
        str | SkipJsonSchema[None],
        Query(alias="lastEventId", description="The same, for clients that cannot set it.", json_schema_extra=_FORM),
    ] = None,
) -> Resume | None:
    """Where the caller left off. Raises `Refused`."""
    try:
        return resume(last_event_id, last_event_id_told)
    except InvalidRequest as error:
        raise Refused(400, error) from error


GoesOn = Annotated[Resume | None, Depends(goes_on)]


@router.get(
    "/jobs/{job_id}/events", response_model=None, dependencies=[Depends(known_query("lastEventId"))],
    responses={**_STREAM, **refuses(400, 404)},
)  # fmt: skip
async def job_events(job_id: UUID, house: TheHouse, caller: TheCaller, since: GoesOn) -> Response:
    """`snapshot` with the job, then each of its moves; the stream ends with the job."""

    def start(here: Place) -> Start | None:
        job = house.services.jobs.get(job_id, owner=caller.sees)
        return _job(job, here, since, house.services)

    return await _opened(house, caller, Scope(job_id=job_id), start)


@router.get(
    "/batches/{batch_id}/events", response_model=None, dependencies=[Depends(known_query("lastEventId"))],
    responses={**_STREAM, **refuses(400, 404)},
)  # fmt: skip
async def batch_events(batch_id: UUID, house: TheHouse, caller: TheCaller, since: GoesOn) -> Response:
    """`snapshot` with the batch, then each move of its jobs; the stream ends with the batch, and `batch.…` tells it."""

    def start(here: Place) -> Start | None:
        batch, jobs = house.services.jobs.get_batch(batch_id, owner=caller.sees)
        if since is None:
            return Start(here, frame(SNAPSHOT, house.services.links.batch(batch, jobs).json_document(), here))
        events = house.services.event_log
        begin = _reachable(since.place, here, events)
        told = _told(events.between(Scope(batch_id=batch_id), begin, here, limit=MOST), here, house.services)
        ended = batch.status not in {BatchStatus.QUEUED, BatchStatus.RUNNING} and since.run == batch.run
        return None if ended and not told else Start(begin, told=told, ended=ended, run=since.run)

    return await _opened(house, caller, Scope(batch_id=batch_id), start)


@router.get(
    "/events", response_model=None, dependencies=[Depends(known_query("owner", "lastEventId"))],
    responses={200: _STREAM[200], **refuses(400, 403)},
)  # fmt: skip
async def owner_events(
    house: TheHouse,
    caller: TheCaller,
    since: GoesOn,
    owner: Annotated[str | None, Query(min_length=1, max_length=120, description="For service tokens.")] = None,
) -> Response:
    """Each move of each of the caller's jobs; of every owner's, or one's, for a service."""
    check_text({"owner": owner})
    scope = Scope(owner=listed_owner(owner, caller))

    def start(here: Place) -> Start:
        events = house.services.event_log
        if since is None:
            return Start(here)

        def page(place: Place) -> Sequence[Told]:
            return _told(events.between(scope, place, here, limit=PAGE), here, house.services)

        return Start(_reachable(since.place, here, events), page=page)

    return await _opened(house, caller, scope, start)


async def _opened(house: House, caller: Caller, scope: Scope, start: Callable[[Place], Start | None]) -> Response:
    """Listens first and looks then, so that nothing falls in between. Raises `Unauthenticated`."""
    holds = caller.expires - house.services.clock.now().timestamp()
    if holds <= 0:
        # Other routes forgive an issuer's clock a few seconds; a stream would end at once and be asked for again.
        raise Unauthenticated("the token has expired")
    listener = await house.live.listen(scope, caller)
    try:
        begun = await run_in_threadpool(start, listener.place)
    except BaseException:
        house.live.leave(listener)
        raise
    if begun is None:
        house.live.leave(listener)
        return Response(status_code=204)
    return EventStream(Following(listener, begun, holds), lambda: house.live.leave(listener))


def _job(job: Job, here: Place, since: Resume | None, services: Services) -> Start | None:
    """How a job's stream begins; None: it has ended, and the caller knows.

    A job that has ended is told of by its last end and what came after, to callers that begin as well.
    """
    events = services.event_log
    lines = events.between(Scope(job_id=job.id), Place(0), here, limit=MOST)
    ended = bool(lines) and job.terminal and (lines[-1].run, lines[-1].status) == (job.run, job.status.value)
    if since is not None:
        begin, snapshot = _reachable(since.place, here, events), None
        unknown = [line for line in lines if not begin.passed(line.id)]
        if ended and not unknown:
            return None
    else:
        unknown = _last_end(lines) if ended else []
        begin = Place(unknown[0].id - 1) if unknown else here
        snapshot = frame(SNAPSHOT, services.links.job(job).json_document(), begin)
    return Start(begin, snapshot, _told(unknown, here, services), ended=ended)


def _last_end(lines: Sequence[Line]) -> list[Line]:
    found: list[Line] = []
    for line in reversed(lines):
        if line.status not in TERMINAL:
            break
        found.insert(0, line)
    return found


def _told(lines: Sequence[Line], here: Place, services: Services) -> list[Told]:
    ended = {line.job_id for line in lines if line.status in TERMINAL}
    found = documents(services, sorted(ended))
    return [Told(line, here, found.get(line.job_id)) for line in lines]


def _reachable(place: Place, here: Place, events: EventLog) -> Place:
    """The place, or the log's end where it lies beyond: what it named was erased since."""
    if place.last <= here.last:
        return place
    return Place(min(place.last, max(here.last, events.newest().last)), place.open)
