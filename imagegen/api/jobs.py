"""Jobs over HTTP: ask for a picture, look, list, cancel, go on."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response

from imagegen import cancelling, retrying
from imagegen.admission import admit_image
from imagegen.api.access import House, TheCaller, TheHouse, owned
from imagegen.api.answers import IdempotencyKey, Prefer, accepted, answer, standing, with_key
from imagegen.api.bodies import json_object
from imagegen.api.openapi import IMAGE_EXAMPLES, Page, RetryRequest, refuses, takes
from imagegen.api.paging import KNOWN_QUERY, Listed
from imagegen.api.tokens import Caller
from imagegen.contracts import ImageRequest, JobDocument, parse_request
from imagegen.parsing import parse_as
from imagegen.records import Admitted, JobFilter
from imagegen.states import Status

router = APIRouter(prefix="/api/images", tags=["jobs"])


@router.post(
    "/generate", status_code=202, response_model=None, openapi_extra=takes(ImageRequest, IMAGE_EXAMPLES),
    responses={202: {"model": JobDocument, "description": "Accepted: it is written and will not be lost"},
               200: {"model": JobDocument, "description": "It ended while the caller waited"},
               **refuses(400, 402, 403, 408, 409, 413, 415)},
)  # fmt: skip
async def generate(
    request: Request, house: TheHouse, caller: TheCaller, key: IdempotencyKey = None, prefer: Prefer = None
) -> Response:
    """Asks for one picture. Sending the same again under the same key finds the same job."""
    body = owned(with_key(await json_object(request), key), caller)

    def admit() -> Admitted:
        return admit_image(parse_request(body), house.services, door="http", hints=False)

    admitted = await house.lanes.admit(admit, body)
    job_id = admitted.jobs[0].id
    return await accepted(request, admitted, caller, prefer, lambda: _stands(job_id, house, None))


@router.get(
    "/jobs", response_model=None, dependencies=[KNOWN_QUERY],
    responses={200: {"model": Page[JobDocument]}, **refuses(403)},
)  # fmt: skip
def list_jobs(
    house: TheHouse,
    caller: TheCaller,
    page: Annotated[Listed, Depends()],
    status: Annotated[Status | None, Query()] = None,
) -> Response:
    """Jobs, the newest first."""
    where = JobFilter(**page.filters(caller), status=status.value if status else None)
    jobs, cursor = house.services.jobs.list(where, limit=page.limit, cursor=page.cursor)
    shown = [house.services.links.job(job).json_document() for job in jobs]
    return JSONResponse({"items": shown, "nextCursor": cursor})


@router.get("/jobs/{job_id}", response_model=None, responses={200: {"model": JobDocument}, **refuses(404)})
async def show(job_id: UUID, request: Request, house: TheHouse, caller: TheCaller, prefer: Prefer = None) -> Response:
    """One job as it stands, or, where the caller prefers to wait, as soon as it has ended."""
    return await standing(request, caller, prefer, lambda: _stands(job_id, house, caller))


@router.post(
    "/jobs/{job_id}/cancel", response_model=None,
    responses={200: {"model": JobDocument, "description": "Cancelled"},
               202: {"model": JobDocument, "description": "Its paid call is under way: its answer ends the job"},
               **refuses(404, 409)},
)  # fmt: skip
def cancel(job_id: UUID, house: TheHouse, caller: TheCaller) -> Response:
    """Cancels a job at whatever stage it is; the document says what was charged."""
    services = house.services
    services.jobs.get(job_id, owner=caller.sees)
    job = cancelling.cancel(job_id, services)
    return answer(services.links.job(job), 200 if job.terminal else 202)


@router.post(
    "/jobs/{job_id}/retry", status_code=202, response_model=None,
    openapi_extra=takes(RetryRequest, required=False),
    responses={202: {"model": JobDocument, "description": "It goes on"},
               **refuses(400, 402, 404, 408, 409, 413, 415)},
)  # fmt: skip
async def retry(
    job_id: UUID, request: Request, house: TheHouse, caller: TheCaller, key: IdempotencyKey = None
) -> Response:
    """Goes on with a failed job at the stage that failed; what was paid is not bought again without `buy`."""
    body = with_key(await json_object(request, optional=True), key)
    return await run_in_threadpool(_retried, job_id, body, house, caller)


def _retried(job_id: UUID, body: dict[str, Any], house: House, caller: Caller) -> Response:
    services = house.services
    services.jobs.get(job_id, owner=caller.sees)
    asked = parse_as(RetryRequest, body)
    return answer(services.links.job(retrying.retry(job_id, services, asked.buy, asked.idempotency_key)), 202)


def _stands(job_id: UUID, house: House, caller: Caller | None) -> JobDocument:
    """The job as it stands, for this caller (None: whose it is was seen to)."""
    return house.services.links.job(house.services.jobs.get(job_id, owner=caller.sees if caller else None))
