"""What the emulated providers charged and how often each route was asked: the other side's books."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from threading import Lock
from typing import Any

DELIVERED, LOST, REFUSED, FAILED = "delivered", "lost", "refused", "failed"
COUNTED = ("submissions", "polls", "downloads", "callbacks", "callbacksFailed", "limited")


@dataclass(slots=True)
class Charge:
    """One sum of money taken for one paid call. `outcome` says what the caller got for it.

    `ready_at`: when an asynchronous order's picture can be had (seconds since 1970), None where it came at once.
    """

    id: str
    provider: str
    model: str
    amount: Decimal
    prompt: str
    callback_url: str | None
    at: float
    outcome: str = LOST
    ready_at: float | None = None

    def document(self) -> dict[str, Any]:
        """As `/__ledger` tells it; the amount is a string because JSON numbers are not exact."""
        return {
            "id": self.id,
            "provider": self.provider,
            "model": self.model,
            "amount": format(self.amount.normalize(), "f"),
            "prompt": self.prompt,
            "callBackUrl": self.callback_url,
            "at": _moment(self.at),
            "readyAt": None if self.ready_at is None else _moment(self.ready_at),
            "outcome": self.outcome,
        }


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


class Ledger:
    """Charges in the order they were made, and counters. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._charges: list[Charge] = []
        self._totals: dict[str, Decimal] = {}
        self._counts: Counter[str] = Counter()
        self._requests: Counter[str] = Counter()
        self._paced: dict[str, tuple[list[float], list[float]]] = {}

    def charge(self, charge: Charge) -> Charge:
        """Takes the money."""
        with self._lock:
            self._charges.append(charge)
            self._totals[charge.provider] = self._totals.get(charge.provider, Decimal(0)) + charge.amount
        return charge

    def count(self, name: str) -> None:
        """One more of `COUNTED`."""
        with self._lock:
            self._counts[name] += 1

    def asked(self, route: str) -> None:
        """One more request of this route."""
        with self._lock:
            self._requests[route] += 1

    def paced(self, provider: str, at: float, *, taken: bool) -> None:
        """One order to a provider with a limit: let in, or answered 429 (`limited`)."""
        with self._lock:
            self._paced.setdefault(provider, ([], []))[0 if taken else 1].append(at)
            self._counts["limited"] += not taken

    def total(self, provider: str) -> Decimal:
        """All money this provider took, US dollars."""
        with self._lock:
            return self._totals.get(provider, Decimal(0))

    def reset(self) -> None:
        """Empty books."""
        with self._lock:
            self._charges.clear()
            self._totals.clear()
            self._counts.clear()
            self._requests.clear()
            self._paced.clear()

    def document(self) -> dict[str, Any]:
        """The answer of `GET /__ledger`; `limits` has the moments of every order to a provider with a limit."""
        with self._lock:
            charges = [charge.document() for charge in self._charges]
            total = sum(self._totals.values(), Decimal(0))
            counts = {name: self._counts[name] for name in COUNTED}
            requests = dict(sorted(self._requests.items()))
            limits = {
                name: {"taken": [_moment(at) for at in taken], "refused": [_moment(at) for at in refused]}
                for name, (taken, refused) in sorted(self._paced.items())
            }
        return {
            "charges": charges,
            "count": len(charges),
            "total": format(total.normalize(), "f"),
            **counts,
            "requests": requests,
            "limits": limits,
        }
