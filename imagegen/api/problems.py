"""Every refusal over HTTP as `application/problem+json` (RFC 9457), with what callers need to decide.

| code | status |
|---|---|
| INVALID_REQUEST | 422; 400 for malformed JSON, 413 too large, 415 another media type, 405 another method |
| UNAUTHENTICATED, FORBIDDEN, NOT_FOUND | 401 (WWW-Authenticate), 403, 404 |
| CONFLICT, IDEMPOTENCY_CONFLICT | 409 |
| PURCHASE_NEEDED, BUDGET_EXCEEDED | 402 |
| TOO_MANY_REQUESTS, QUOTA_EXHAUSTED | 429 (Retry-After) |
| PART_UNAVAILABLE, STORAGE_ERROR, TEMPORARY | 503 (Retry-After) |
| INTERNAL | 500: a fault of ours; it stands in the log, never in the answer |
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from http import HTTPMethod, HTTPStatus
from typing import Any, Literal
from uuid import UUID

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from imagegen.api.tokens import Caller
from imagegen.budgets import discreet
from imagegen.errors import (
    BudgetExceeded,
    Conflict,
    Forbidden,
    IdempotencyConflict,
    ImagegenError,
    InvalidRequest,
    NotFound,
    PartUnavailable,
    PurchaseNeeded,
    QuotaExhausted,
    StorageError,
    Temporary,
    TooManyRequests,
    Unauthenticated,
)
from imagegen.parsing import problem_of

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
INTERNAL = "INTERNAL"
TRY_AGAIN = 5
"""Seconds that a caller is asked to wait where a part is away."""

STATUS: dict[type[ImagegenError], int] = {
    InvalidRequest: 422,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    IdempotencyConflict: 409,
    PurchaseNeeded: 402,
    BudgetExceeded: 402,
    TooManyRequests: 429,
    QuotaExhausted: 429,
    PartUnavailable: 503,
    StorageError: 503,
    Temporary: 503,
}
_PARTS = (PartUnavailable, StorageError)
"""Where one has a cause, it names hosts, users and folders of ours: for the log alone."""
_TOLD = (PurchaseNeeded, QuotaExhausted)
_IDS = {"job_id": "jobId", "batch_id": "batchId"}


class Finding(BaseModel):
    """One thing wrong with a request."""

    field: str
    reason: str
    remedy: str


class Problem(BaseModel):
    """Why a request was refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="allow")

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    retryable: bool = False
    billed: Literal["yes", "no", "unknown"] = "no"
    job_id: UUID | None = None
    batch_id: UUID | None = None
    problems: list[Finding] = Field(default_factory=list)


class Refused(Exception):
    """An error whose status HTTP itself decides."""

    def __init__(self, status: int, error: ImagegenError, headers: Mapping[str, str] | None = None) -> None:
        self.status, self.error, self.headers = status, error, dict(headers or {})
        super().__init__(status, error)


def answer_problems(app: FastAPI) -> None:
    """Lets the application answer every error in this form."""
    app.add_exception_handler(ImagegenError, _on_error)
    app.add_exception_handler(Refused, _on_refused)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_fault)


def status_of(error: ImagegenError) -> int:
    """The status that an error of ours is answered with."""
    return next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)


def problem(
    request: Request, error: ImagegenError, status: int | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """The answer to an error of ours."""
    status = status or status_of(error)
    if status >= 500:
        log.warning("%s %s: %s", request.method, request.url.path, error)
    told = {"code": error.code, "detail": error.message, "retryable": error.retryable, "billed": error.billed}
    more: dict[str, Any] = {}
    if isinstance(error, InvalidRequest):
        more["problems"] = error.problems
    elif isinstance(error, _PARTS) and error.__cause__ is not None:
        told["detail"] = f"{error.details.get('part', 'object store')} cannot be used just now"
    elif isinstance(error, BudgetExceeded):
        more, told["detail"] = _refusal(error, getattr(request.state, "caller", None))
    elif isinstance(error, _TOLD):
        more = dict(error.details)
    return _response(request, status, {**more, **told}, {**_headers(error, status), **(headers or {})})


def _refusal(error: BudgetExceeded, caller: Caller | None) -> tuple[dict[str, Any], str]:
    """What this caller is told of a budget without room: of one that it shares, not what others have committed."""
    whole = caller is not None and caller.reads_budget(str(error.details.get("scope")))
    told = error if whole else discreet(error, "")
    return dict(told.details), told.message


def _headers(error: ImagegenError, status: int) -> dict[str, str]:
    if status == 401:
        return {"WWW-Authenticate": 'Bearer realm="imagegen", error="invalid_token"'}
    if status in {429, 503}:
        return {"Retry-After": str(math.ceil(error.retry_after or TRY_AGAIN))}
    return {}


def _response(request: Request, status: int, told: Mapping[str, Any], headers: Mapping[str, str]) -> Response:
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, **told, **_ids(request)}
    return JSONResponse(document, status, dict(headers), media_type=MEDIA_TYPE)


def _ids(request: Request) -> dict[str, str | None]:
    """The job or batch that the path names, spelt as we do."""
    found: dict[str, str | None] = {"jobId": None}
    for parameter, name in _IDS.items():
        try:
            found[name] = str(UUID(str(request.path_params[parameter])))
        except (KeyError, ValueError):
            continue
    return found


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ImagegenError)
    return problem(request, error)


async def _on_refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return problem(request, error.error, error.status, error.headers)


async def _on_invalid(request: Request, error: Exception) -> Response:
    """A path, query or header that is not as the route says."""
    assert isinstance(error, RequestValidationError)
    found = [problem_of({**one, "loc": one["loc"][1:]}) for one in error.errors()]
    return problem(request, InvalidRequest.from_problems(found))


async def _on_http(request: Request, error: Exception) -> Response:
    """No such route, or not with this method."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 404:
        return problem(request, NotFound("there is nothing at this address"), 404, headers)
    wrong = InvalidRequest.of("request", str(error.detail), "See /docs for what is served.")
    if error.status_code == 405:
        allowed = methods_at(request.app, request.scope)
        headers["Allow"] = ", ".join(allowed)
        wrong = InvalidRequest.of("request", f"{request.method} is not served here", f"Use {' or '.join(allowed)}.")
    return problem(request, wrong, error.status_code, headers)


async def _on_fault(request: Request, error: Exception) -> Response:
    """What nobody foresaw: the server that runs the application logs it with its trace."""
    told = {"code": INTERNAL, "detail": "a fault of the service", "retryable": True, "billed": "no"}
    return _response(request, 500, told, {})


def methods_at(app: FastAPI, scope: Scope) -> list[str]:
    """Every method that is served at this path, whichever route has it."""
    asked = ((method, {**scope, "method": method}) for method in HTTPMethod)
    return [method for method, one in asked if any(route.matches(one)[0] is Match.FULL for route in app.routes)]
