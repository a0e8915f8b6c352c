"""Providers' balances, asked for seldom: estimates may come by the hundred, and providers count our requests."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from imagegen.errors import ImagegenError
from imagegen.ports import Services

LIFE = 10.0
"""Seconds that an answer, or the failure to get one, serves."""

Answer = tuple[Decimal | None, ImagegenError | None]
"""The balance in the provider's own unit, None where it tells none; or why it is not known."""


@dataclass
class _Known:
    lock: threading.Lock = field(default_factory=threading.Lock)
    at: float | None = None
    answer: Answer = (None, None)


class Balances:
    """Remembers them for a process. Thread-safe: whoever asks at the same time waits for one answer."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._known: defaultdict[str, _Known] = defaultdict(_Known)

    def credit(self, provider: str, services: Services) -> Answer:
        """The provider's balance, `LIFE` seconds old at most."""
        known = self._known[provider]
        with known.lock:
            if known.at is None or self._monotonic() - known.at >= LIFE:
                known.answer = _asked(provider, services)
                known.at = self._monotonic()
            return known.answer


def _asked(provider: str, services: Services) -> Answer:
    try:
        return services.provider(provider).credit(), None
    except ImagegenError as error:
        return None, error
