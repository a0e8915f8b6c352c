"""The dry run over HTTP: what a request would come to, with nothing written and nothing spent."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from imagegen import estimating
from imagegen.api.access import House, TheCaller, TheHouse, owned
from imagegen.api.bodies import json_object
from imagegen.api.openapi import IMAGE_EXAMPLES, refuses, takes
from imagegen.api.tokens import Caller
from imagegen.contracts import ImageRequest, parse_request
from imagegen.estimates import EstimateDocument

router = APIRouter(prefix="/api/images", tags=["money"])


@router.post(
    "/estimate", response_model=None, openapi_extra=takes(ImageRequest, IMAGE_EXAMPLES),
    responses={200: {"model": EstimateDocument}, **refuses(400, 403, 408, 413, 415)},
)  # fmt: skip
async def estimate(request: Request, house: TheHouse, caller: TheCaller) -> Response:
    """Says what `generate` would do with the same body. A budget without room is part of the answer.

    `budget.admitted` counts every budget; `budget.budgets` shows an owner its own, a service all of them.
    `quota.credit`, an account that all owners share, is told to services.
    """
    body = owned(await json_object(request), caller)
    # A provider is asked for its balance.
    async with house.lanes.far.place(body["owner"]) as run:
        answer: Response = await run(lambda: _estimated(body, house, caller))
        return answer


def _estimated(body: dict[str, Any], house: House, caller: Caller) -> Response:
    found = estimating.estimate(parse_request(body), house.services, "http", house.balances)
    shown = [room for room in found.budget.budgets if caller.reads_budget(room.scope)]
    budget = found.budget.model_copy(update={"budgets": shown})
    quota = found.quota if caller.service else found.quota.model_copy(update={"credit": None})
    return JSONResponse(found.model_copy(update={"budget": budget, "quota": quota}).json_document())
