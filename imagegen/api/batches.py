"""Batches over HTTP: one to four pictures asked for together, all or nothing."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response

from imagegen import cancelling, retrying
from imagegen.admission import admit_batch
from imagegen.api.access import House, TheCaller, TheHouse, owned
from imagegen.api.answers import IdempotencyKey, Prefer, accepted, answer, standing, with_key
from imagegen.api.bodies import json_object
from imagegen.api.openapi import BATCH_EXAMPLES, Page, RetryRequest, refuses, takes
from imagegen.api.paging import KNOWN_QUERY, Listed
from imagegen.api.tokens import Caller
from imagegen.contracts import BatchDocument, BatchRequest, parse_batch
from imagegen.parsing import parse_as
from imagegen.records import Admitted, BatchFilter
from imagegen.states import BatchStatus

router = APIRouter(prefix="/api/images/batches", tags=["batches"])


@router.post(
    "", status_code=202, response_model=None, openapi_extra=takes(BatchRequest, BATCH_EXAMPLES),
    responses={202: {"model": BatchDocument, "description": "Accepted: all of it is written and will not be lost"},
               200: {"model": BatchDocument, "description": "It ended while the caller waited"},
               **refuses(400, 402, 403, 408, 409, 413, 415)},
)  # fmt: skip
async def generate_batch(
    request: Request, house: TheHouse, caller: TheCaller, key: IdempotencyKey = None, prefer: Prefer = None
) -> Response:
    """Asks for one to four pictures. One wrong member, and nothing is accepted."""
    body = owned(with_key(await json_object(request), key), caller)

    def admit() -> Admitted:
        return admit_batch(parse_batch(body), house.services, door="http", hints=False)

    admitted = await house.lanes.admit(admit, body)
    assert admitted.batch is not None
    batch_id = admitted.batch.id
    return await accepted(request, admitted, caller, prefer, lambda: _stands(batch_id, house, None))


@router.get(
    "", response_model=None, dependencies=[KNOWN_QUERY],
    responses={200: {"model": Page[BatchDocument]}, **refuses(403)},
)  # fmt: skip
def list_batches(
    house: TheHouse,
    caller: TheCaller,
    page: Annotated[Listed, Depends()],
    status: Annotated[BatchStatus | None, Query()] = None,
) -> Response:
    """Batches with their jobs, the newest first."""
    where = BatchFilter(**page.filters(caller), status=status.value if status else None)
    found, cursor = house.services.jobs.list_batches(where, limit=page.limit, cursor=page.cursor)
    shown = [house.services.links.batch(batch, jobs).json_document() for batch, jobs in found]
    return JSONResponse({"items": shown, "nextCursor": cursor})


@router.get("/{batch_id}", response_model=None, responses={200: {"model": BatchDocument}, **refuses(404)})
async def show_batch(
    batch_id: UUID, request: Request, house: TheHouse, caller: TheCaller, prefer: Prefer = None
) -> Response:
    """One batch and its jobs as they stand, or, where the caller prefers to wait, as soon as it is closed."""
    return await standing(request, caller, prefer, lambda: _stands(batch_id, house, caller))


@router.post(
    "/{batch_id}/cancel", response_model=None,
    responses={200: {"model": BatchDocument, "description": "Cancelled"},
               202: {"model": BatchDocument, "description": "A paid call is under way: its answer ends its job"},
               **refuses(404, 409)},
)  # fmt: skip
def cancel_batch(batch_id: UUID, house: TheHouse, caller: TheCaller) -> Response:
    """Cancels the members that have not ended."""
    _stands(batch_id, house, caller)
    batch, jobs = cancelling.cancel_batch(batch_id, house.services)
    return answer(house.services.links.batch(batch, jobs), 200 if all(job.terminal for job in jobs) else 202)


@router.post(
    "/{batch_id}/retry", status_code=202, response_model=None, openapi_extra=takes(RetryRequest, required=False),
    responses={202: {"model": BatchDocument, "description": "Its failed members go on"},
               **refuses(400, 402, 404, 408, 409, 413, 415)},
)  # fmt: skip
async def retry_batch(
    batch_id: UUID, request: Request, house: TheHouse, caller: TheCaller, key: IdempotencyKey = None
) -> Response:
    """Goes on with the failed members, all or none of them."""
    body = with_key(await json_object(request, optional=True), key)
    return await run_in_threadpool(_retried, batch_id, body, house, caller)


def _retried(batch_id: UUID, body: dict[str, Any], house: House, caller: Caller) -> Response:
    _stands(batch_id, house, caller)
    asked = parse_as(RetryRequest, body)
    batch, jobs = retrying.retry_batch(batch_id, house.services, asked.buy, asked.idempotency_key)
    return answer(house.services.links.batch(batch, jobs), 202)


def _stands(batch_id: UUID, house: House, caller: Caller | None) -> BatchDocument:
    """The batch as it stands, for this caller (None: whose it is was seen to)."""
    batch, jobs = house.services.jobs.get_batch(batch_id, owner=caller.sees if caller else None)
    return house.services.links.batch(batch, jobs)
