"""The door for providers' callbacks: who does not prove an attempt's token learns nothing at all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from imagegen.callbacks import Verdict, provider_of, receive
from imagegen.errors import AuthError, PartUnavailable, RateLimited, Temporary
from imagegen.ports import Services
from imagegen.providers.registry import MAKERS

log = logging.getLogger(__name__)
MAX_BODY = 1024 * 1024
"""Bytes of a callback's body; theirs have a few kilobytes."""
BODY_TOTAL = 5.0
"""Seconds for the body to arrive. The whole answer has 15 (docs.nanobananaapi.ai, callbacks): the rest is ours."""
TRY_AGAIN = 5
"""Seconds that a provider is asked to wait before it calls again."""

_AWAY = (PartUnavailable, Temporary, RateLimited, AuthError)


def inbound(services: Callable[[], Services]) -> APIRouter:
    """`POST /api/webhooks/{provider}?attempt=UUID&token=…` over services that are built at the first request."""
    router = APIRouter()

    @router.post("/api/webhooks/{provider}")
    async def webhook(provider: str, request: Request, attempt: str = "", token: str = "") -> JSONResponse:
        """A provider says that an order has ended. Repeats are welcome."""
        name, attempt_id = provider_of(provider), _uuid(attempt)
        if name not in MAKERS or attempt_id is None:
            return _said(404, "not found")
        body = await _body(request)
        if isinstance(body, JSONResponse):
            return body
        return await run_in_threadpool(_answer, name, attempt_id, token, body, services)

    return router


def _answer(provider: str, attempt_id: UUID, token: str, body: bytes, services: Callable[[], Services]) -> JSONResponse:
    try:
        verdict = receive(provider, attempt_id, token, body, services())
    except _AWAY as error:
        log.warning("a callback of %s for attempt %s waits: %s", provider, attempt_id, error)
        return _said(503, "try again later", {"Retry-After": str(TRY_AGAIN)})
    if verdict is Verdict.FORGED:
        return _said(404, "not found")
    log.info("callback of %s for attempt %s: %s", provider, attempt_id, verdict)
    return _said(400, "the body names no order") if verdict is Verdict.UNREADABLE else _said(200, "success")


async def _body(request: Request) -> bytes | JSONResponse:
    """The body, or the answer to one that is too large or too slow."""
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TOTAL):
            async for chunk in request.stream():
                size += len(chunk)
                if size > MAX_BODY:
                    return _said(413, "the body is larger than 1 MB")
                chunks.append(chunk)
    except ClientDisconnect:
        return _said(400, "the body broke off")
    except TimeoutError:
        return _said(408, "the body did not arrive in time")
    return b"".join(chunks)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _said(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"code": status, "msg": message}, status, headers)
