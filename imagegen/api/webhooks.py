"""The door for providers' callbacks: who proves neither signature nor token learns nothing at all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from uuid import UUID

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from imagegen.api.bodies import TooLarge, whole
from imagegen.api.setup import Inbound
from imagegen.callbacks import REFUSED, Callback, Verdict, count, provider_of, take
from imagegen.errors import AuthError, PartUnavailable, RateLimited, Temporary
from imagegen.ports import Services
from imagegen.providers.inbound.verifiers import Verifiers
from imagegen.settings_values import PROVIDERS
from imagegen.transport import Reply

log = logging.getLogger(__name__)
MAX_BODY = 1024 * 1024
"""Bytes of a callback's body; theirs have a few kilobytes."""
BODY_TOTAL = 5.0
"""Seconds for the body to arrive. The whole answer has 15 (docs.nanobananaapi.ai, callbacks): the rest is ours."""
TRY_AGAIN = 5
"""Seconds that a provider is asked to wait before it calls again."""

THREADS = 16
"""Callbacks of one process that are looked at together. Anybody may call: callers with tokens have other threads."""

NOBODY = UUID(int=0)

_AWAY = (PartUnavailable, Temporary, RateLimited, AuthError)


def inbound(services: Callable[[], Services], setup: Inbound) -> APIRouter:
    """`POST /api/webhooks/{provider}?attempt=UUID&token=…` over services that are built at the first request."""
    router = APIRouter()
    desk, threads = _Desk(services, setup), CapacityLimiter(THREADS)

    @router.post("/api/webhooks/{provider}")
    async def webhook(provider: str, request: Request, attempt: str | None = None, token: str = "") -> JSONResponse:
        """A provider says that an order has ended. Repeats are welcome."""
        name, attempt_id = provider_of(provider), _uuid(attempt)
        if name not in PROVIDERS:
            return _said(404, "not found")
        body = await _body(request)
        if isinstance(body, JSONResponse):
            await to_thread.run_sync(desk.unread, name, limiter=threads)
            return body
        told = Callback(provider=name, attempt_id=attempt_id, token=token, body=body)
        return await to_thread.run_sync(desk.answer, told, dict(request.headers), limiter=threads)

    return router


class _Desk:
    """Who checks callbacks and takes them."""

    def __init__(self, services: Callable[[], Services], setup: Inbound) -> None:
        self._services, self._setup = services, setup

    @cached_property
    def _verifiers(self) -> Verifiers:
        def fetch(method: str, url: str, *, total: float, max_bytes: int) -> Reply:
            return self._services().transport.call(method, url, total=total, max_bytes=max_bytes)

        return Verifiers(self._setup.rules, fetch, self._services().clock.monotonic, self._setup.reread)

    def answer(self, told: Callback, headers: Mapping[str, str]) -> JSONResponse:
        """What the provider hears. Whoever is refused hears the same, for whatever reason."""
        try:
            verdict = self._taken(told, headers)
        except _AWAY as error:
            log.warning("a callback of %s for attempt %s waits: %s", told.provider, told.attempt_id, error)
            return _said(503, "try again later", {"Retry-After": str(TRY_AGAIN)})
        if verdict in REFUSED:
            return _said(404, "not found")
        log.info("callback of %s for attempt %s: %s", told.provider, told.attempt_id, verdict)
        return _said(400, "the body names no order") if verdict is Verdict.UNREADABLE else _said(200, "success")

    def unread(self, provider: str) -> None:
        """A body that was not read to its end is counted."""
        try:
            count(provider, Verdict.UNREADABLE, self._services())
        except _AWAY as error:
            log.warning("a callback of %s is not counted: %s", provider, error)

    def _taken(self, told: Callback, headers: Mapping[str, str]) -> Verdict:
        services = self._services()
        try:
            proof = self._verifiers.check(told.provider, told.body, headers, services.clock.now())
        except PartUnavailable:
            count(told.provider, Verdict.DEFERRED, services)
            raise
        return take(replace(told, proof=proof), services)


async def _body(request: Request) -> bytes | JSONResponse:
    """The body, or the answer to one that is too large or too slow."""
    try:
        return await whole(request, MAX_BODY, BODY_TOTAL)
    except TooLarge:
        return _said(413, "the body is larger than 1 MB")
    except ClientDisconnect:
        return _said(400, "the body broke off")
    except TimeoutError:
        return _said(408, "the body did not arrive in time")


def _uuid(text: str | None) -> UUID | None:
    """The attempt that an address names; one that is no id is nobody's."""
    if text is None:
        return None
    try:
        return UUID(text)
    except ValueError:
        return NOBODY


def _said(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"code": status, "msg": message}, status, headers)
