"""Providers' public keys, read from their own address and kept for a while."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from imagegen.errors import ImagegenError, PartUnavailable
from imagegen.transport import Reply

FRESH, LIFE = 6 * 3600.0, 24 * 3600.0
"""Seconds after which keys are read again, and after which they serve no more (fal.ai: at most 24 hours)."""
PAUSE, PAUSE_WITHOUT = 60.0, 5.0
"""Seconds at least between two readings, however many false signatures come; and where there are no keys at all."""
TOTAL = 3.0
"""Seconds for one reading: a callback waits for it."""
MAX_BYTES, MAX_KEYS = 256 * 1024, 50


class Fetch(Protocol):
    """One bounded HTTP call: `imagegen.transport.Transport.call`."""

    def __call__(self, method: str, url: str, *, total: float, max_bytes: int) -> Reply: ...


class KeySet:
    """The keys at one address (RFC 7517). Thread-safe; one reader at a time, and nobody with keys waits for it."""

    def __init__(self, url: str, fetch: Fetch, monotonic: Callable[[], float]) -> None:
        self._url, self._fetch, self._monotonic = url, fetch, monotonic
        self._keys: Sequence[Mapping[str, Any]] = ()
        self._read_at = self._tried_at = float("-inf")
        self._lock = threading.Lock()

    def keys(self) -> Sequence[Mapping[str, Any]]:
        """Those known. Raises `PartUnavailable` where none can be had."""
        if self._monotonic() - self._read_at > FRESH:
            self._read(self._keys)
        if self._monotonic() - self._read_at > LIFE:
            raise PartUnavailable("a provider's public keys cannot be read", {"part": "jwks"})
        return self._keys

    def others(self, used: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]] | None:
        """Others than those `used`, where there are any by now: a new key serves at once."""
        self._read(used)
        return self._keys if self._keys != used else None

    def _read(self, used: Sequence[Mapping[str, Any]]) -> None:
        """Reads, but not twice within `PAUSE`. Keys that were read before stay while their address is away."""
        if not self._lock.acquire(blocking=not self._keys):
            return
        try:
            now = self._monotonic()
            pause = PAUSE if self._keys else PAUSE_WITHOUT
            if now - self._tried_at < pause or self._keys is not used:
                return
            self._tried_at = now
            read = self._document()
            if read is not None:
                self._keys, self._read_at = read, now
        finally:
            self._lock.release()

    def _document(self) -> Sequence[Mapping[str, Any]] | None:
        try:
            reply = self._fetch("GET", self._url, total=TOTAL, max_bytes=MAX_BYTES)
            told = reply.json() if reply.status == 200 else None
        except (ImagegenError, ValueError):
            return None
        keys = told.get("keys") if isinstance(told, Mapping) else None
        if not isinstance(keys, list):
            return None
        return tuple(key for key in keys[:MAX_KEYS] if isinstance(key, Mapping))
