"""Budgets over HTTP: an owner reads its own, a service reads, sets and removes all of them.

What is committed in a budget that several owners share tells each what the others spend, so only services read those.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from imagegen.api.access import House, TheCaller, TheHouse, listed_owner
from imagegen.api.bodies import json_object
from imagegen.api.openapi import (
    BUDGET_EXAMPLES,
    MAX_SCOPE,
    SCOPES,
    BudgetRequest,
    Page,
    Period,
    refuses,
    takes,
)
from imagegen.api.paging import known_query
from imagegen.api.tokens import Caller
from imagegen.budgets import checked_scope, document
from imagegen.checks import check_text
from imagegen.errors import Forbidden, NotFound
from imagegen.parsing import parse_as

router = APIRouter(prefix="/api/images/budgets", tags=["money"])


class BudgetDocument(BaseModel):
    """A budget, US dollars. `starts`: first day of the present period, UTC; null for `total`."""

    scope: str
    period: Period
    starts: date | None
    hard: bool
    limit: float
    committed: float
    remaining: float
    currency: str


class RemovedBudgets(BaseModel):
    """How many budgets of the scope are gone."""

    scope: str
    removed: int


Scope = Annotated[str, Query(min_length=1, max_length=MAX_SCOPE, description=SCOPES)]


@router.get(
    "", response_model=None, dependencies=[Depends(known_query("owner"))],
    responses={200: {"model": Page[BudgetDocument]}, **refuses(403)},
)  # fmt: skip
def list_budgets(
    house: TheHouse,
    caller: TheCaller,
    owner: Annotated[
        str | None, Query(min_length=1, max_length=120, description="For service tokens: this owner's own.")
    ] = None,
) -> Response:
    """Budgets by scope and period: an owner's own, or, for a service, all of them."""
    check_text({"owner": owner})
    whose = listed_owner(owner, caller)
    services = house.services
    found = services.budgets.list(at=services.clock.now())
    shown = [document(one) for one in found if whose is None or one.scope == f"owner:{whose}"]
    return JSONResponse({"items": shown, "nextCursor": None})


@router.put(
    "", response_model=None, openapi_extra=takes(BudgetRequest, BUDGET_EXAMPLES),
    responses={200: {"model": BudgetDocument}, **refuses(400, 403, 408, 413, 415)},
)  # fmt: skip
async def set_budget(request: Request, house: TheHouse, caller: TheCaller) -> Response:
    """Sets or changes a budget, for services. What its jobs have committed in the present period counts at once."""
    _only_services(caller)
    return await run_in_threadpool(_set, await json_object(request), house)


def _set(body: dict[str, Any], house: House) -> Response:
    check_text(body)
    asked, services = parse_as(BudgetRequest, body), house.services
    scope = checked_scope(asked.scope, "scope")
    budget = services.budgets.set(scope, asked.period, asked.limit, asked.hard, at=services.clock.now())
    return JSONResponse(document(budget))


@router.delete(
    "", response_model=None, dependencies=[Depends(known_query("scope", "period"))],
    responses={200: {"model": RemovedBudgets}, **refuses(403, 404)},
)  # fmt: skip
def remove_budget(
    house: TheHouse,
    caller: TheCaller,
    scope: Scope,
    period: Annotated[Period | None, Query(description="This one alone; otherwise all of the scope.")] = None,
) -> Response:
    """Removes a scope's budget, or its budgets of all periods, for services."""
    _only_services(caller)
    check_text({"scope": scope})
    name = checked_scope(scope, "scope")
    removed = house.services.budgets.remove(name, period)
    if not removed:
        raise NotFound(f"{name} has no budget{f' per {period}' if period else ''}")
    return JSONResponse({"scope": name, "removed": removed})


def _only_services(caller: Caller) -> None:
    if not caller.service:
        raise Forbidden("budgets are set and removed by service tokens alone: ask whoever runs the service")
