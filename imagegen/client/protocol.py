"""The HTTP door from the caller's side, without a socket: calls, answers, and what an answer means.

A conversation with the service is a generator (`Talk`): it yields a `Call` or a `Pause` and gets the answer, until it
returns its result. Whoever drives it (`synchronous`, `asynchronous`) sends and sleeps, and decides nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar
from urllib.parse import urlsplit

from imagegen.errors import (
    BY_CODE,
    ImagegenError,
    InvalidRequest,
    PartUnavailable,
    QuotaExhausted,
    TooManyRequests,
    rebuild,
)

Result = TypeVar("Result")
Token = str | Callable[[], str]
"""A bearer token (JWT), or what gives one before each request: tokens expire."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request: `path` below the service's address, and the seconds that its answer may take."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)
    seconds: float


@dataclass(frozen=True)
class Reply:
    """An answer; the names of its headers in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class Lost:
    """No answer. `sent`: the service may have done what it was asked."""

    reason: str
    sent: bool


@dataclass(frozen=True)
class Pause:
    """Seconds in which nothing happens."""

    seconds: float


Step: TypeAlias = Call | Pause
Answer: TypeAlias = Reply | Lost | None
Talk: TypeAlias = Generator[Step, Answer, Result]


@dataclass(frozen=True)
class Ended(Generic[Result]):
    """What a conversation came to."""

    value: Result


def advanced(talk: Talk[Result], answer: Answer) -> Step | Ended[Result]:
    """What comes next in a conversation after this answer (None: it begins, or a pause is over)."""
    try:
        return talk.send(answer)
    except StopIteration as ended:
        return Ended(ended.value)


@dataclass(frozen=True)
class Trouble:
    """Why a call may be sent again: its `error`, the seconds that the service asked for, whether it may have acted."""

    error: ImagegenError
    after: float | None = None
    sent: bool = True


@dataclass(frozen=True)
class Site:
    """Where the service is, and how its caller proves itself."""

    url: str
    token: Token = field(repr=False)

    @classmethod
    def of(cls, url: str, token: Token) -> Site:
        """Raises `InvalidRequest` for what is no address or no token, which is never repeated in the message."""
        if isinstance(token, str):
            _checked(token)
        return cls(_address(url), token)

    def headers(self) -> dict[str, str]:
        """The proof of this moment."""
        token = self.token if isinstance(self.token, str) else _checked(self.token())
        return {"Authorization": f"Bearer {token}"}


def _address(url: str) -> str:
    def wrong(reason: str) -> InvalidRequest:
        return InvalidRequest.of("url", reason, "Write it as https://images.example.com or http://localhost:8000.")

    try:
        parts = urlsplit(url)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise wrong("is no address") from None
    if not whole:
        raise wrong("is no http:// or https:// address")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise wrong("holds more than scheme, host, port and path")
    return url.rstrip("/")


def _checked(token: str) -> str:
    if not token.isascii() or not token.isprintable() or not token or " " in token:
        raise InvalidRequest.of("token", "is no bearer token", "Give the JWT alone, without the word Bearer.")
    return token


def trouble_of(answer: Reply | Lost, url: str) -> Trouble | None:
    """What passes by itself; None for an answer that will be no other when it is asked for again."""
    if isinstance(answer, Lost):
        message = f"imagegen at {url} cannot be reached: {answer.reason}"
        return Trouble(PartUnavailable(message, {"part": "api"}), sent=answer.sent)
    error = error_of(answer, url) if answer.status == 429 or answer.status >= 500 else None
    # A fault of imagegen's own says so; a bare 500 is what a server answers that is being stopped.
    if error is None or isinstance(error, QuotaExhausted) or type(error) is ImagegenError:
        return None
    return Trouble(error, error.retry_after, sent=answer.status != 429)


def error_of(reply: Reply, url: str) -> ImagegenError:
    """The error that a refusal tells (RFC 9457), as its own class, with everything else it says in `details`."""
    told = _object(reply)
    if told.get("code") in BY_CODE and isinstance(told.get("detail"), str):
        error = rebuild({"retryable": False, "billed": "no", **told, "message": told["detail"]})
        known = {"type", "title", "status", "detail", "code"}
        error.details |= {name: value for name, value in told.items() if name not in known and value is not None}
    else:
        error = _strange(reply, told, url)
    after = reply.headers.get("retry-after", "")
    if after.isdecimal():
        error.details["retryAfter"] = float(after)
    return error


def _strange(reply: Reply, told: Mapping[str, Any], url: str) -> ImagegenError:
    """A refusal that is not imagegen's own: a gateway's, or that of something else at this address."""
    if reply.status == 429:
        return TooManyRequests(f"{url} answers that it gets too many requests")
    if isinstance(told.get("detail"), str) and "code" in told:
        details = {"code": told["code"], "retryable": bool(told.get("retryable"))}
        return ImagegenError(f"imagegen at {url} answers {reply.status}: {told['detail']}", details)
    if reply.status >= 500:
        return PartUnavailable(f"{url} answers {reply.status}: imagegen is not there", {"part": "api"})
    return ImagegenError(f"{url} answers {reply.status}, and not as imagegen does: is the address right?")


def document_of(reply: Reply, url: str) -> dict[str, Any]:
    """The JSON object of an answer. Raises the error of a refusal."""
    if not 200 <= reply.status < 300:
        raise error_of(reply, url)
    found = _object(reply)
    if not found:
        raise ImagegenError(f"{url} answers with what is no document of imagegen: is the address right?")
    return found


def _object(reply: Reply) -> dict[str, Any]:
    try:
        found = json.loads(reply.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
