"""How long the emulated providers take: a constant, or a seeded log-normal spread."""

from __future__ import annotations

import math
from random import Random
from threading import Lock

from imagegen.errors import InvalidRequest

_REMEDY = "Give seconds, like 8 or 0.5, or lognormal:MEDIAN:SIGMA, like lognormal:8:0.5."


class Latency:
    """Seconds from the order to the picture. `lognormal:8:0.5` has a median of 8 s; the same seed repeats itself."""

    def __init__(self, spec: str | float = 0, *, seed: int = 0) -> None:
        self.spec = str(spec)
        self._median, self._sigma = _parse(self.spec)
        self._random = Random(seed)
        self._lock = Lock()

    def sample(self) -> float:
        """The next order's seconds."""
        if not self._sigma:
            return self._median
        with self._lock:
            return self._median * math.exp(self._random.gauss(0, self._sigma))


def _parse(spec: str) -> tuple[float, float]:
    parts = spec.split(":")
    try:
        if parts[0] == "lognormal" and len(parts) == 3:
            numbers = (float(parts[1]), float(parts[2]))
        elif len(parts) == 1:
            numbers = (float(parts[0]), 0.0)
        else:
            raise ValueError(spec)
    except ValueError:
        raise InvalidRequest.of("latency", f"{spec!r} is no latency", _REMEDY) from None
    if not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise InvalidRequest.of("latency", f"{spec!r} is not finite and positive", _REMEDY)
    return numbers
