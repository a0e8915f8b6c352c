"""Whether the parts behind the door answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from imagegen.errors import PartUnavailable, StorageError

log = logging.getLogger(__name__)

PART_TOTAL = 2.0
"""Seconds that a part has to answer; all are asked at once."""


class Parts:
    """Asks the parts. One that does not answer is asked again only when its last question has ended."""

    def __init__(self, checks: Mapping[str, Callable[[], None]]) -> None:
        self._checks = checks
        self._asked: dict[str, Future[None]] = {}
        self._threads: ThreadPoolExecutor | None = None

    async def away(self) -> dict[str, str]:
        """The parts that cannot be used, each with the reason."""
        found = await asyncio.gather(*(self._ask(name, check) for name, check in self._checks.items()))
        return {name: reason for name, reason in zip(self._checks, found, strict=True) if reason is not None}

    async def _ask(self, name: str, check: Callable[[], None]) -> str | None:
        asked = self._asked.get(name)
        if asked is None or asked.done():
            if self._threads is None:
                self._threads = ThreadPoolExecutor(len(self._checks), "ready")
            asked = self._asked[name] = self._threads.submit(check)
        try:
            await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(asked)), PART_TOTAL)
        except TimeoutError:
            return f"does not answer within {PART_TOTAL:.0f} s"
        except (PartUnavailable, StorageError) as error:
            log.warning("not ready: %s: %s", name, error)
            return "cannot be used"
        return None
