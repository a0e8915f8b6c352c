"""The outbox as a protocol: `imagegen.ports.Deliveries`. Its rows are written by the port `Jobs`, with each end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from imagegen.outbox import Delivery, Sending, State, Told


@dataclass(frozen=True)
class Due:
    """A delivery that waits for its attempt of this number, counted from 1."""

    id: UUID
    number: int


@dataclass(frozen=True, kw_only=True)
class DeliveryFilter:
    """Which deliveries to list; None means any."""

    state: State | None = None
    owner: str | None = None
    job_id: UUID | None = None
    batch_id: UUID | None = None


class Deliveries(Protocol):
    """What ends are still to be told, and what became of telling them."""

    def due(self, *, at: datetime, limit: int) -> Sequence[Due]:
        """Those whose time has come, longest due first, each left alone for `policies.DELIVERY_HINT`.

        Never more than `limit` are out at once: handed out by this, or taken, and not settled yet.
        """
        ...

    def take(self, delivery_id: UUID, number: int, *, at: datetime) -> Delivery | None:
        """Begins attempt `number`, for `policies.DELIVERY_LEASE`. None: begun by another, settled, or not due."""
        ...

    def settle(self, delivery: Delivery, sending: Sending, told: Told) -> None:
        """Notes the attempt that `take` began, and what it came to, unless a later one was begun meanwhile."""
        ...

    def get(self, delivery_id: UUID) -> Delivery:
        """Raises `NotFound`."""
        ...

    def list(
        self, where: DeliveryFilter, *, limit: int = 50, cursor: str | None = None
    ) -> tuple[Sequence[Delivery], str | None]:
        """Newest first, and the next page's cursor (None: no more). A bad cursor: `InvalidRequest`."""
        ...

    def redeliver(self, delivery_id: UUID, *, at: datetime) -> Delivery:
        """Due again from now on, under the same event id, for another day. Raises `NotFound`."""
        ...


class DeliveryHints(Protocol):
    """The part of `imagegen.ports.Hints` that the outbox needs."""

    def deliveries(self, due: Sequence[Due]) -> None:
        """These deliveries are to be attempted; a lost hint is sent again by the sweep."""
        ...

    def notify(self, task: Mapping[str, str], task_id: str, document: Mapping[str, Any]) -> None:
        """Sends `{"document": …}` to a caller's task `{name, queue}`.

        Raises `InvalidRequest` where that queue is one of ours, `PartUnavailable`.
        """
        ...
