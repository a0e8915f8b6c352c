"""The gate before every route of `/api/images`: who calls, how often, and whose things it may touch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from imagegen.api.exposition import Scrapes
from imagegen.api.lanes import Lanes
from imagegen.api.live import Live
from imagegen.api.problems import Refused
from imagegen.api.readiness import Parts
from imagegen.api.setup import Setup
from imagegen.api.tokens import Caller, Tokens
from imagegen.api.waiting import Afterwards, WaitingRoom
from imagegen.balances import Balances
from imagegen.errors import Forbidden, TooManyRequests, Unauthenticated
from imagegen.ports import Services
from imagegen.transport import Reply

_BEARER = HTTPBearer(
    auto_error=False,
    bearerFormat="JWT",
    description="`sub` is the owner, `role: service` acts for all; `exp` is needed.",
)


class House:
    """What the routes work with; services are built at the first request."""

    def __init__(self, services: Callable[[], Services], setup: Setup) -> None:
        self._services, self.setup = services, setup
        self.afterwards = Afterwards()
        self.open()

    @property
    def services(self) -> Services:
        """This process's services."""
        return self._services()

    @cached_property
    def tokens(self) -> Tokens:
        """Who reads tokens."""

        def fetch(method: str, url: str, *, total: float, max_bytes: int) -> Reply:
            return self.services.transport.call(method, url, total=total, max_bytes=max_bytes)

        return Tokens(self.setup.tokens, fetch, self.services.clock.monotonic, self.setup.reread)

    @cached_property
    def balances(self) -> Balances:
        """What providers said of their balances."""
        return Balances(self.services.clock.monotonic)

    @cached_property
    def scrapes(self) -> Scrapes:
        """Who makes the page of metrics."""
        return Scrapes(lambda: self.services)

    @cached_property
    def parts(self) -> Parts:
        """Who asks the parts whether they answer."""
        return Parts(self.setup.checks)

    def open(self) -> None:
        """Callers may wait for their pictures (`room`) and follow events (`live`)."""
        self.draining = False
        self.room = WaitingRoom(lambda job_ids: self.services.jobs.ended(job_ids))
        self.live = Live(lambda: self.services)
        self.lanes = Lanes()

    def drain(self) -> None:
        """The process is about to end: callers who wait are answered, streams end, readiness says so."""
        self.draining = True
        self.room.close()
        self.live.drain()

    def close(self) -> None:
        """Returns when all that was left for afterwards is done."""
        self.live.close()
        self.afterwards.close()

    def admitted(self, token: str) -> Caller:
        """Whose token it is, its request counted. Raises `Unauthenticated`, `TooManyRequests`, `PartUnavailable`."""
        caller = self.tokens.caller(token, self.services.clock.now())
        limiter = self.setup.limiter
        seconds = None if limiter is None else limiter.over(caller.owner)
        if seconds is not None:
            raise TooManyRequests(
                f"{caller.owner} has sent too many requests; there is room again in {seconds:.0f} s",
                {"retryAfter": seconds},
            )
        return caller


def house_of(request: Request) -> House:
    """The house that this application serves."""
    house: House = request.app.state.house
    return house


TheHouse = Annotated[House, Depends(house_of)]


async def caller_of(
    request: Request, house: TheHouse, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]
) -> Caller:
    """Whoever sent the request; `request.state.caller` tells it to those who answer errors."""
    if credentials is None:
        error = Unauthenticated("there is no bearer token: send Authorization: Bearer TOKEN")
        raise Refused(401, error, {"WWW-Authenticate": 'Bearer realm="imagegen"'})
    caller = await run_in_threadpool(house.admitted, credentials.credentials)
    request.state.caller = caller
    return caller


TheCaller = Annotated[Caller, Depends(caller_of)]


def owned(body: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
    """The body with its owner: the caller, unless a service names another. Raises `Forbidden`."""
    named = body.get("owner", caller.owner)
    if not caller.service and named != caller.owner:
        raise _not_yours(caller)
    return {**body, "owner": named}


def listed_owner(asked: str | None, caller: Caller) -> str | None:
    """Whose things a list shows; None: everybody's. Raises `Forbidden`."""
    if not caller.service and asked not in {None, caller.owner}:
        raise _not_yours(caller)
    return asked if caller.service else caller.owner


def _not_yours(caller: Caller) -> Forbidden:
    return Forbidden(f"this token acts for owner {caller.owner} alone: leave `owner` out, or use a service token")
