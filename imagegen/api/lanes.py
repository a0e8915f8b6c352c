"""Where work that takes long runs, so that whoever asks for much of it holds up nobody else.

    admission that names no address    with everything else, at once
    admission that names one           `far`: it waits for servers of others, as every estimate does
    stored picture                     `uploads`: megabytes that arrive slowly, and are decoded

A lane has threads of its own, so many of one owner at a time; more wait, and still more are told to come again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi.concurrency import run_in_threadpool

from imagegen.errors import TooManyRequests

FAR = {"threads": 32, "of_owner": 8, "pending": 64}
UPLOADS = {"threads": 8, "of_owner": 2, "pending": 8}
"""The sizes of the lanes; see `Lane`."""
COME_AGAIN = 5
"""Seconds after which an owner with too much pending is asked to come again."""
NAMES = {"visualStyleCapsuleId", "visual_style_capsule_id"}
"""Fields that name what may name addresses."""

_Done = TypeVar("_Done")
Run = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs work, and gives what it comes to."""


class Lane:
    """`threads` of one process, `of_owner` at a time, `pending` of an owner's. It belongs to one event loop."""

    def __init__(self, *, threads: int, of_owner: int, pending: int) -> None:
        self._threads, self._of_owner, self._most = CapacityLimiter(threads), of_owner, pending
        self._pending: Counter[str] = Counter()
        self._turns: dict[str, asyncio.Semaphore] = {}

    @asynccontextmanager
    async def place(self, owner: str) -> AsyncIterator[Run]:
        """Inside, what it gives runs the owner's work when it is its turn. Raises `TooManyRequests`."""
        if self._pending[owner] >= self._most:
            raise TooManyRequests(
                f"{owner} has {self._most} such requests under way: wait for their answers", {"retryAfter": COME_AGAIN}
            )
        self._pending[owner] += 1
        turn = self._turns.setdefault(owner, asyncio.Semaphore(self._of_owner))

        async def run(work: Callable[[], Any]) -> Any:
            async with turn:
                return await to_thread.run_sync(work, limiter=self._threads)

        try:
            yield run
        finally:
            self._pending[owner] -= 1
            if not self._pending[owner]:
                del self._pending[owner], self._turns[owner]


class Lanes:
    """The lanes of one process."""

    def __init__(self) -> None:
        self.far, self.uploads = Lane(**FAR), Lane(**UPLOADS)

    async def admit(self, work: Callable[[], _Done], body: Mapping[str, Any]) -> _Done:
        """What `work` comes to for this body, which names its owner. Raises `TooManyRequests`."""
        if not names_addresses(body):
            return await run_in_threadpool(work)
        async with self.far.place(str(body.get("owner"))) as run:
            done: _Done = await run(work)
            return done


def names_addresses(body: Mapping[str, Any]) -> bool:
    """Whether any text in the body looks like an address, or names a style, which may hold one."""
    left: list[Any] = [body]
    while left:
        one = left.pop()
        if isinstance(one, Mapping):
            if not NAMES.isdisjoint(one):
                return True
            left += one.values()
        elif isinstance(one, list):
            left += one
        elif isinstance(one, str) and one.lstrip()[:4].lower() == "http":
            return True
    return False
