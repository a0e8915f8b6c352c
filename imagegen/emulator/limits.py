"""Rate limits as providers enforce them: a sliding window over the orders that were let in, exact to the clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from threading import Lock

from imagegen.emulator.ledger import Ledger
from imagegen.errors import InvalidRequest
from imagegen.settings_values import BadValue, RateLimit, parse_rates


@dataclass(frozen=True)
class Excess:
    """One order too many: the limit it met, and seconds until the window has room again."""

    limit: RateLimit
    wait: float


@dataclass
class _Window:
    limit: RateLimit
    taken: deque[float] = field(default_factory=deque)

    def wait(self, now: float) -> float:
        """Seconds until there is room; 0 where there is."""
        while self.taken and self.taken[0] <= now - self.limit.seconds:
            self.taken.popleft()
        full = len(self.taken) >= self.limit.count
        return self.taken[0] + self.limit.seconds - now if full else 0.0


class Limits:
    """How many orders each provider lets in. Thread-safe.

    `told` is like `gemini=60/m,nanobanana=20/10s`; `gemini:gemini-3-pro-image=5/m` limits one model by the provider's
    own name for it, beside the provider's limit. Orders that were refused do not count.
    """

    def __init__(self, told: str, providers: Collection[str], ledger: Ledger, clock: Callable[[], float]) -> None:
        self._windows = {name: _Window(limit) for name, limit in _read(told, providers).items()}
        self._ledger, self._clock = ledger, clock
        self._lock = Lock()

    def take(self, provider: str, model: str) -> Excess | None:
        """Lets one order in, None, or says by how much it comes too early. The books keep both."""
        windows = [self._windows[name] for name in (provider, f"{provider}:{model}") if name in self._windows]
        if not windows:
            return None
        with self._lock:
            now = self._clock()
            late = max(windows, key=lambda window: window.wait(now))
            wait = late.wait(now)
            self._ledger.paced(provider, now, taken=wait <= 0)
            if wait > 0:
                return Excess(late.limit, wait)
            for window in windows:
                window.taken.append(now)
        return None

    def reset(self) -> None:
        """Empty windows."""
        with self._lock:
            for window in self._windows.values():
                window.taken.clear()


def _read(told: str, providers: Collection[str]) -> Mapping[str, RateLimit]:
    try:
        limits: dict[str, RateLimit] = parse_rates(told)
    except BadValue as error:
        raise InvalidRequest.of("limits", error.reason, error.remedy) from None
    for name in limits:
        if name.partition(":")[0] not in providers:
            raise InvalidRequest.of("limits", f"{name!r} is not emulated", f"Use {', '.join(providers)}.")
    return limits
