"""Everybody who follows events in this process, and the one look at the log that serves them all.

Nobody looks while nobody listens. Where PostgreSQL is away, the look is repeated until it is back; the log itself says
what was missed meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from imagegen.api.frames import Closed, Gone, Message, Told
from imagegen.api.listener import Key, Listener
from imagegen.api.tail import Handed, Tail
from imagegen.api.tokens import Caller
from imagegen.errors import PartUnavailable, TooManyRequests
from imagegen.policies import (
    STREAM_HEARTBEAT,
    STREAM_LOOK,
    STREAM_RECONNECT,
    STREAMS,
    STREAMS_OF_OWNER,
)
from imagegen.ports import Services
from imagegen.ports_events import EventLog, Line, News, Scope
from imagegen.states import TERMINAL, BatchStatus

log = logging.getLogger(__name__)

PAGE = 1000
"""Lines that one look reads at most; with more it looks again at once."""
SETTLE_TRIES, SETTLE_EVERY = 5, 0.02
"""How often, and after how many seconds, the end of the log is read again while numbers below it are not settled."""
AGAIN = {"part": "api", "retryAfter": STREAM_RECONNECT}
DRAINING, FAULT = "draining: connect again", "a fault of ours: connect again"

_OPEN = {BatchStatus.QUEUED, BatchStatus.RUNNING}
_Read = TypeVar("_Read")


@dataclass(frozen=True)
class _Standing:
    """A batch as it was read: whether a member lives, and its end where it has one."""

    live: bool
    closed: Closed | None


class Live:
    """All listeners of one process. It belongs to one event loop; reads have a thread of their own."""

    def __init__(self, services: Callable[[], Services]) -> None:
        self._services = services
        self._listeners: dict[Key, set[Listener]] = defaultdict(set)
        self._owners: Counter[str] = Counter()
        self._tail: Tail | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._unrouted: list[Handed] = []
        self._closed = False
        self._away = False
        self._checked = 0.0

    async def listen(self, scope: Scope, caller: Caller) -> Listener:
        """A listener from the end of the log on. Raises `TooManyRequests`, `PartUnavailable`; see `leave`."""
        self._admit(caller)
        self._owners[caller.owner] += 1
        try:
            async with self._starting:
                if self._tail is None or self._watcher is None or self._watcher.done():
                    self._tail, self._unrouted = await self._begin(), []
                    self._checked = self._services().clock.monotonic()
                    self._watcher = None
                listener = Listener(scope, caller, self._tail.place)
                self._listeners[listener.key].add(listener)
                if self._watcher is None:
                    self._watcher = asyncio.create_task(self._watch())
        except BaseException:
            self._forget(caller)
            raise
        if self._closed:
            listener.end(DRAINING)
        return listener

    def leave(self, listener: Listener) -> None:
        """It listens no more; once is enough."""
        key = listener.key
        if listener not in self._listeners.get(key, ()):
            return
        self._listeners[key].discard(listener)
        if not self._listeners[key]:
            del self._listeners[key]
        self._forget(listener.caller)

    def drain(self) -> None:
        """Ends all streams; from now on there are none."""
        self._closed = True
        for listener in self._everybody():
            listener.end(DRAINING)

    def close(self) -> None:
        """Lets the thread go."""
        if self._threads is not None:
            self._threads.shutdown(wait=True)

    @property
    def _events(self) -> EventLog:
        return self._services().event_log

    def _admit(self, caller: Caller) -> None:
        if self._closed:
            raise PartUnavailable("this process is about to end: connect again", AGAIN)
        if self._owners.total() >= STREAMS:
            raise PartUnavailable(f"this process has its {STREAMS} streams: connect again", AGAIN)
        if not caller.service and self._owners[caller.owner] >= STREAMS_OF_OWNER:
            raise TooManyRequests(
                f"{caller.owner} follows {STREAMS_OF_OWNER} streams: close one, or follow all jobs at once",
                {"retryAfter": STREAM_RECONNECT},
            )

    def _forget(self, caller: Caller) -> None:
        self._owners[caller.owner] -= 1
        if self._owners[caller.owner] <= 0:
            del self._owners[caller.owner]

    def _everybody(self) -> list[Listener]:
        return [listener for found in self._listeners.values() for listener in found]

    async def _read(self, read: Callable[..., _Read], *args: Any) -> _Read:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(1, "events")
        return await asyncio.get_running_loop().run_in_executor(self._threads, read, *args)

    async def _begin(self) -> Tail:
        """The log's end, at best at a moment when nothing below it may still turn up."""
        for _ in range(SETTLE_TRIES):
            newest = await self._read(self._events.newest)
            if not newest.missing or newest.horizon.ended >= newest.horizon.begun:
                break
            await asyncio.sleep(SETTLE_EVERY)
        return Tail(newest, self._services().clock.monotonic())

    async def _watch(self) -> None:
        while self._listeners:
            more = False
            try:
                more = await self._look()
                self._away = False
            except PartUnavailable as error:
                if not self._away:
                    log.warning("%d streams wait: %s", self._owners.total(), error)
                self._away = True
            except Exception:
                log.exception("events cannot be followed")
                for listener in self._everybody():
                    listener.end(FAULT)
                return
            if not more:
                await asyncio.sleep(STREAM_LOOK)

    async def _look(self) -> bool:
        """Tells everybody what is new. Whether there is more to read at once."""
        assert self._tail is not None
        ripe = sorted({one.scope.batch_id for one in self._everybody() if one.ripe and one.scope.batch_id})
        found, news = await self._read(self._ask, ripe, self._tail.last, self._tail.missing)
        handed = self._tail.take(news, self._services().clock.monotonic())
        self._unripen(found)
        self._unrouted += handed
        documents = await self._documents([one.line for one in self._unrouted])
        for one in self._unrouted:
            self._route(Told(one.line, one.log, documents.get(one.line.job_id)))
        self._unrouted = []
        full = len(news.lines) >= PAGE
        if not full:
            held = {line.batch_id for line in news.lines if line.id > self._tail.last}
            self._close_batches(ripe, found, held)
        await self._miss()
        return full and bool(handed)

    def _ask(self, ripe: Sequence[UUID], last: int, missing: Sequence[int]) -> tuple[dict[UUID, _Standing], News]:
        # Batches first: the ends of all members of a closed one are then among the news.
        links = self._services().links
        found = {
            batch.id: _Standing(
                live=any(not job.terminal for job in jobs),
                closed=None if batch.status in _OPEN else Closed(batch.run, links.batch(batch, jobs)),
            )
            for batch, jobs in (self._events.batches(ripe) if ripe else ())
        }
        return found, self._events.after(last, missing, limit=PAGE)

    async def _documents(self, lines: Iterable[Line]) -> dict[UUID, dict[str, Any]]:
        """Of the jobs whose end somebody follows."""
        ended = {line.job_id for line in lines if line.status in TERMINAL and self._concerned(line)}
        return await self._read(documents, self._services(), sorted(ended)) if ended else {}

    def _concerned(self, line: Line) -> list[Listener]:
        keys: list[Key] = [("job", line.job_id), ("owner", line.owner), ("owner", None)]
        if line.batch_id is not None:
            keys.append(("batch", line.batch_id))
        found = [listener for key in keys for listener in self._listeners.get(key, ())]
        return [listener for listener in found if listener.scope.holds(line)]

    def _route(self, told: Told) -> None:
        for listener in self._concerned(told.line):
            listener.tell(told)
            listener.ripe = listener.ripe or told.line.status in TERMINAL

    def _unripen(self, found: Mapping[UUID, _Standing]) -> None:
        """A batch with a live member is asked for again when another one has ended."""
        for batch_id in (one for one, standing in found.items() if standing.live):
            for listener in self._listeners.get(("batch", batch_id), ()):
                listener.ripe = False

    def _close_batches(self, asked: Sequence[UUID], found: Mapping[UUID, _Standing], held: set[UUID | None]) -> None:
        """Tells of batches that are closed, once all that happened in them was told, and of those erased."""
        for batch_id in asked:
            listeners = [one for one in self._listeners.get(("batch", batch_id), ()) if one.ripe]
            if batch_id not in found:
                _tell(listeners, Gone(batch_id))
            elif (closed := found[batch_id].closed) is not None and batch_id not in held:
                _tell(listeners, closed)

    async def _miss(self) -> None:
        """Tells, now and then, who follows what was erased."""
        now = self._services().clock.monotonic()
        if now - self._checked < STREAM_HEARTBEAT:
            return
        followed = {listener.subject for listener in self._everybody() if listener.subject is not None}
        gone = await self._read(self._events.gone, sorted(followed)) if followed else frozenset()
        self._checked = now
        for listener in self._everybody():
            if listener.subject in gone:
                _tell([listener], Gone(listener.subject))


def _tell(listeners: Iterable[Listener], message: Message) -> None:
    for listener in listeners:
        listener.ripe = False
        listener.tell(message)


def documents(services: Services, job_ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
    """The documents of those jobs that exist."""
    found = services.event_log.jobs(job_ids) if job_ids else ()
    return {job.id: services.links.job(job).json_document() for job in found}
