"""The rules by which tokens are checked, while the file of the shared secret may be replaced at any time.

The file is read again when the secret is `LIFE` old, so that a withdrawn one ends, and when a signature does not hold,
so that a new one serves at once; then at most every `PAUSE`, however many bad tokens come.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import SecretStr

from imagegen.errors import InvalidRequest

log = logging.getLogger(__name__)

LIFE, PAUSE = 60.0, 1.0
"""Seconds that a secret from a file serves before it is read again; and at least between two readings."""


@dataclass(frozen=True)
class TokenRules:
    """With what tokens are checked. Neither secret nor address: none holds."""

    secret: SecretStr | None = None
    jwks_url: str | None = None
    audience: str | None = None


Reread = Callable[[], TokenRules]
"""Reads the rules once more; raises `InvalidRequest` where there are none to be had, or none that may serve."""


class Rotating:
    """The rules of the moment. Thread-safe. `reread` None: they never change. `monotonic` counts seconds."""

    def __init__(self, rules: TokenRules, reread: Reread | None, monotonic: Callable[[], float]) -> None:
        self._rules, self._reread, self._monotonic = rules, reread, monotonic
        self._read_at = monotonic()
        self._looked_at: float | None = None
        self._told: str | None = None
        self._lock = threading.Lock()

    def rules(self) -> TokenRules:
        """Those to check a token with."""
        if self._reread is not None and self._monotonic() - self._read_at > LIFE:
            self._look(self._reread)
        return self._rules

    def again(self, used: TokenRules) -> TokenRules | None:
        """Others than those `used`, where there are any by now."""
        if self._reread is not None:
            self._look(self._reread)
        return self._rules if self._rules != used else None

    def _look(self, reread: Reread) -> None:
        """Reads, but not twice within `PAUSE`. What cannot be used leaves the rules as they are."""
        with self._lock:
            now = self._monotonic()
            if self._looked_at is not None and now - self._looked_at < PAUSE:
                return
            self._looked_at = self._read_at = now
            try:
                self._rules, self._told = reread(), None
            except InvalidRequest as error:
                if str(error) != self._told:
                    log.warning("the secret of the tokens stays as it is: %s", error)
                self._told = str(error)
