"""The breaker in memory, for one process; passes the same contract suite as the one on Redis."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from imagegen.errors import Temporary
from imagegen.policies import BREAKER_FAILURES, BREAKER_RESET
from imagegen.ports import Clock


@dataclass
class _Circuit:
    failures: int = 0
    state: str = "closed"
    opened_at: float = 0.0
    probe: object | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class MemoryBreaker:
    """`ports.Breaker` without Redis."""

    def __init__(self, clock: Clock, *, failures: int = BREAKER_FAILURES, reset_after: float = BREAKER_RESET) -> None:
        """`failures` in a row open a circuit for `reset_after` seconds."""
        self._clock, self._failures, self._reset_after = clock, failures, reset_after
        self._circuits: dict[tuple[str, str], _Circuit] = {}
        self._lock = threading.Lock()

    @contextmanager
    def call(self, provider: str, operation: str) -> Iterator[Callable[[bool], None]]:
        """See `ports.Breaker.call`; the `Temporary` carries `retryAfter` and `reason: breaker`."""
        circuit = self._circuit(provider, operation)
        with circuit.lock:
            token = None if circuit.state == "closed" else self._admit(circuit, provider)
        try:
            yield lambda ok: self._report(circuit, token, ok)
        finally:
            with circuit.lock:
                if token is not None and circuit.probe is token:
                    circuit.probe = None

    def state(self, provider: str, operation: str) -> str:
        """`closed`, `open` or `half-open`."""
        circuit = self._circuit(provider, operation)
        with circuit.lock:
            return "half-open" if circuit.state == "open" and self._rests(circuit) <= 0 else circuit.state

    def rests(self, provider: str, operation: str) -> float:
        """Seconds until an open circuit is probed; 0 for any other."""
        circuit = self._circuit(provider, operation)
        with circuit.lock:
            return max(0.0, self._rests(circuit)) if circuit.state == "open" else 0.0

    def open(self, provider: str, operation: str) -> None:
        """Opens the circuit by hand; a probe under way may no longer decide."""
        circuit = self._circuit(provider, operation)
        with circuit.lock:
            self._open(circuit)

    def reset(self, provider: str, operation: str) -> None:
        """Closes the circuit and forgets its failures; a probe under way may no longer decide."""
        circuit = self._circuit(provider, operation)
        with circuit.lock:
            circuit.failures, circuit.state, circuit.probe = 0, "closed", None

    def _circuit(self, provider: str, operation: str) -> _Circuit:
        with self._lock:
            return self._circuits.setdefault((provider, operation), _Circuit())

    def _rests(self, circuit: _Circuit) -> float:
        return circuit.opened_at + self._reset_after - self._clock.monotonic()

    def _admit(self, circuit: _Circuit, provider: str) -> object:
        rests = self._rests(circuit) if circuit.state == "open" else 0.0
        if rests > 0 or circuit.probe is not None:
            raise Temporary(f"{provider} has failed repeatedly", {"retryAfter": max(0.1, rests), "reason": "breaker"})
        circuit.state, circuit.probe = "half-open", object()
        return circuit.probe

    def _report(self, circuit: _Circuit, token: object | None, ok: bool) -> None:
        with circuit.lock:
            if token is None and circuit.state == "closed":
                circuit.failures = 0 if ok else circuit.failures + 1
                if circuit.failures >= self._failures:
                    self._open(circuit)
            elif token is not None and circuit.probe is token:
                circuit.failures, circuit.state, circuit.probe = 0, "closed", None
                if not ok:
                    self._open(circuit)

    def _open(self, circuit: _Circuit) -> None:
        circuit.state, circuit.failures, circuit.probe = "open", 0, None
        circuit.opened_at = self._clock.monotonic()
