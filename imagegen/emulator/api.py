"""What an emulated API is made of: its routes, its books, its pictures. One file per API builds on this."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import ClassVar, Protocol

from imagegen.emulator.callbacks import Callbacks
from imagegen.emulator.faults import CATALOGUE, Faults, Moment
from imagegen.emulator.files import Files
from imagegen.emulator.latency import Latency
from imagegen.emulator.ledger import Charge, Ledger
from imagegen.emulator.limits import Limits
from imagegen.emulator.outbound import Outbound
from imagegen.emulator.picture.studio import Studio
from imagegen.emulator.references import References
from imagegen.emulator.wire import Reply, Request

Handler = Callable[[Request], Reply]

ANYWHERE = frozenset(name for name, kind in CATALOGUE.items() if kind.anywhere)
PICTURES = frozenset(name for name, kind in CATALOGUE.items() if kind.moment is Moment.PICTURE)
WEBHOOKS = frozenset(name for name, kind in CATALOGUE.items() if kind.moment is Moment.WEBHOOK)


@dataclass(frozen=True, slots=True)
class Route:
    """One method and path; a path that ends in `*` takes everything below it. `role` is how faults name it."""

    method: str
    path: str
    handler: Handler
    role: str = ""


def new_id() -> str:
    """An id that no other run of the emulator ever gave."""
    return uuid.uuid4().hex


@dataclass(frozen=True)
class Bench:
    """What every API works with. `clock` gives seconds since 1970; `key` None takes any key that is not empty."""

    ledger: Ledger
    faults: Faults
    files: Files
    studio: Studio
    latency: Latency
    callbacks: Callbacks
    outbound: Outbound
    references: References
    limits: Limits
    key: str | None = None
    funds: Decimal = Decimal(0)
    clock: Callable[[], float] = time.time
    ids: Callable[[], str] = field(default=new_id)

    def accepts(self, key: str) -> bool:
        """Whether a caller with this key is let in."""
        return bool(key) and (self.key is None or key == self.key)

    def charge(
        self, name: str, provider: str, model: str, amount: Decimal, prompt: str, callback: str | None
    ) -> Charge:
        """Takes the money for one paid call; it counts as lost until the answer is handed over."""
        return self.ledger.charge(Charge(name, provider, model, amount, prompt, callback, self.clock()))


class Api(Protocol):
    """One emulated provider."""

    name: ClassVar[str]
    faults: ClassVar[frozenset[str]]

    def routes(self) -> Iterable[Route]:
        """Its doors."""
        ...

    def reset(self) -> None:
        """Forgets every task."""
        ...
