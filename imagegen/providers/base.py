"""What every provider does, whatever its API looks like: take an order, tell how it stands.

A paid call ends in exactly one of five ways, told apart by the provider's file and the transport:

    Accepted   the provider took the order and gave it an id; the picture comes later
    Delivered  a synchronous provider answered with the picture itself
    Rejected   a definite refusal by status and body: nothing was or will be made
    NotSent    the request never left (name resolution, connection refused): nothing was charged
    Unknown    the request left and no usable answer came: it may have been charged
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol, runtime_checkable

from imagegen.errors import ImagegenError


@dataclass(frozen=True, kw_only=True)
class InputImage:
    """A picture sent along. `url` for providers that fetch, `data` for those that take bytes."""

    content_type: str
    url: str | None = None
    data: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Order:
    """One picture to buy, in provider-independent words.

    `model` is the catalog's canonical name, `ratio` like "16:9", `tier` one of 512, 1K, 2K, 4K, `format` the cheapest
    file format that serves (png or jpeg); `mask` is given together with `source`.
    """

    prompt: str
    model: str
    ratio: str
    tier: str
    format: str
    seed: int | None = None
    references: tuple[InputImage, ...] = ()
    source: InputImage | None = None
    mask: InputImage | None = None


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The order's id at the provider; `actual` where the price is known at once."""

    provider_job_id: str
    actual: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """The picture's bytes as they came, what was used of what (provider's own words), and its price."""

    data: bytes = field(repr=False)
    usage: Mapping[str, Any] = field(default_factory=dict)
    actual: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """Refused. `actual` and `usage` where the refusal itself was charged."""

    error: ImagegenError
    usage: Mapping[str, Any] = field(default_factory=dict)
    actual: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class NotSent:
    """It never left us."""

    error: ImagegenError


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """It left us, and nobody knows."""

    error: ImagegenError


Submission = Accepted | Delivered | Rejected | NotSent | Unknown


@dataclass(frozen=True, kw_only=True)
class Running:
    """Not ready yet."""


@dataclass(frozen=True, kw_only=True)
class Ready:
    """The picture waits at `url`."""

    url: str
    usage: Mapping[str, Any] = field(default_factory=dict)
    actual: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The provider gave up; `error.billed` says whether it charged."""

    error: ImagegenError


Progress = Running | Ready | Failed

UNKNOWN_ORDER = "unknownOrder"
"""Detail of the `Temporary` of a poll whose order the provider does not know (yet)."""


class Provider(Protocol):
    """One provider behind one account. Thread-safe; holds its HTTP sessions for the life of the process."""

    name: str
    synchronous: bool
    takes_bytes: bool
    reconcile_window: float
    """Seconds to wait for proof of a lost answer: 0 where neither a listing nor a callback exists."""

    def submit(self, order: Order, *, callback_url: str | None) -> Submission:
        """The paid call, made once: never repeated inside."""
        ...

    def poll(self, provider_job_id: str) -> Progress:
        """Free. Raises `Temporary`, `RateLimited` or `AuthError` where the question itself failed."""
        ...

    def callback_task(self, body: Any) -> str | None:
        """The order's id that a callback's JSON body names, or None. It is a hint: anybody could have written it."""
        ...

    def credit(self) -> Decimal | None:
        """Credits left in the provider's own unit, or None where it has no such answer."""
        ...


@runtime_checkable
class Forgetful(Protocol):
    """A provider whose API deletes what it keeps of an order. Not every one has that: see `imagegen.erasing.KEPT`."""

    def forget(self, provider_job_id: str) -> None:
        """Deletes the order's inputs and outputs at the provider; nothing there is fine. Raises like `poll`."""
        ...
