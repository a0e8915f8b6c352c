"""Callers who wait for their pictures, and hints that nobody waits for.

However many wait, one look at the database per `LOOK_EVERY` serves them all, and a waiting caller holds no thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from fastapi.concurrency import run_in_threadpool

from imagegen.errors import PartUnavailable

log = logging.getLogger(__name__)

LOOK_EVERY = 0.25
"""Seconds between two looks at what is waited for."""
MOST_WAITING, MOST_OF_OWNER = 1000, 200
"""Callers that may wait in one process, and of one owner in it; the next one is answered at once."""


@dataclass(eq=False)
class _Waiter:
    open: set[UUID]
    owner: str | None
    done: asyncio.Event = field(default_factory=asyncio.Event)


class WaitingRoom:
    """Waits for jobs to end. `ended` says which of the jobs have (one statement, any thread)."""

    def __init__(
        self,
        ended: Callable[[Sequence[UUID]], Sequence[UUID]],
        most: int = MOST_WAITING,
        most_of_owner: int = MOST_OF_OWNER,
    ) -> None:
        self._ended, self._most, self._most_of_owner = ended, most, most_of_owner
        self._waiters: set[_Waiter] = set()
        self._watcher: asyncio.Task[None] | None = None
        self._closed = False

    async def wait(self, job_ids: Sequence[UUID], seconds: float, owner: str | None = None) -> bool:
        """Whether all of the jobs ended within these seconds; False at once where there is no room, or it is closed.

        `owner`: who waits, and has a share of the room; None: a service, which waits for many.
        """
        if self._closed or not self._room_for(owner):
            return False
        waiter = _Waiter(set(job_ids), owner)
        self._waiters.add(waiter)
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch())
        try:
            async with asyncio.timeout(seconds):
                await waiter.done.wait()
        except TimeoutError:
            return False
        finally:
            self._waiters.discard(waiter)
        return not waiter.open

    def close(self) -> None:
        """Whoever waits is let go, and nobody waits any more."""
        self._closed = True
        for waiter in self._waiters:
            waiter.done.set()

    def _room_for(self, owner: str | None) -> bool:
        share = owner is None or sum(one.owner == owner for one in self._waiters) < self._most_of_owner
        return share and len(self._waiters) < self._most

    async def _watch(self) -> None:
        while self._waiters:
            wanted = sorted({job_id for waiter in self._waiters for job_id in waiter.open})
            try:
                self._tell(set(await run_in_threadpool(self._ended, wanted)))
            except PartUnavailable as error:
                log.warning("%d callers wait on: %s", len(self._waiters), error)
            await asyncio.sleep(LOOK_EVERY)

    def _tell(self, ended: set[UUID]) -> None:
        for waiter in self._waiters:
            waiter.open -= ended
            if not waiter.open:
                waiter.done.set()


async def unless(given_up: Coroutine[Any, Any, None], waiting: Coroutine[Any, Any, bool]) -> bool:
    """What the wait comes to; False as soon as it is given up. Neither of them goes on afterwards."""
    tasks = asyncio.create_task(given_up), asyncio.create_task(waiting)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return tasks[1].done() and tasks[1].result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Afterwards:
    """Work that is done after the answer: nobody waits for it but the end of the process."""

    def __init__(self) -> None:
        self._workers: ThreadPoolExecutor | None = None

    async def do(self, work: Callable[[], None]) -> None:
        """Leaves the work to a thread of its own."""
        if self._workers is None:
            self._workers = ThreadPoolExecutor(2, "afterwards")
        self._workers.submit(_logged, work)

    def close(self) -> None:
        """Returns when all of it is done."""
        if self._workers is not None:
            self._workers.shutdown(wait=True)
            self._workers = None


def _logged(work: Callable[[], None]) -> None:
    try:
        work()
    except Exception:
        # A lost hint costs time and no job: the sweep sends it.
        log.exception("work after an answer failed")
