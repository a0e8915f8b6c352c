"""Bytes that are paid must be kept, so nothing that comes as bytes is bought while they cannot be.

Each process remembers the last answer that the object store gave to paid bytes. After a refusal no picture of a
provider that answers with bytes is bought here until the store has taken as much again: of a store that fails for an
hour, only the pictures that were being bought when it began are at risk.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from imagegen import layout
from imagegen.errors import ImagegenError, PartUnavailable, StorageError

if TYPE_CHECKING:
    from imagegen.ports import Services

log = logging.getLogger(__name__)

LOOK = timedelta(seconds=15)
"""Between two looks at a store that did not keep what was paid."""

PROBE = layout.attempt_key(UUID(int=0))
"""Where a look puts its bytes: the key of no attempt, so that what a killed process leaves there is cleared away."""

STORAGE = "storage"
"""What a job waits for that is not bought meanwhile."""


class Keeping:
    """Whether paid bytes can be kept. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refused: tuple[int, float] | None = None

    def put(self, key: str, data: bytes, content_type: str, services: Services) -> None:
        """`Blobs.put`, whose answer is remembered."""
        try:
            services.blobs.put(key, data, content_type)
        except (PartUnavailable, StorageError):
            self._refused = (len(data), services.clock.monotonic() + LOOK.total_seconds())
            raise
        self._refused = None

    def check(self, services: Services) -> None:
        """Raises `PartUnavailable` while the store does not keep what is paid; one caller at a time looks again."""
        with self._lock:
            refused = self._refused
            if refused is None:
                return
            size, look_at = refused
            rests = look_at - services.clock.monotonic()
            if rests > 0:
                raise _closed(rests)
            self._look(size, services)

    def _look(self, size: int, services: Services) -> None:
        try:
            self.put(PROBE, bytes(size), "application/octet-stream", services)
        except (PartUnavailable, StorageError) as error:
            log.warning("nothing that comes as bytes is bought: the object store does not keep them: %s", error)
            raise _closed(LOOK.total_seconds()) from error
        with suppress(ImagegenError):
            services.blobs.delete(PROBE)


def _closed(rests: float) -> PartUnavailable:
    return PartUnavailable(
        "the object store did not keep the last picture that was paid: nothing is bought until it does",
        {"part": "object store", "reason": STORAGE, "retryAfter": rests},
    )
