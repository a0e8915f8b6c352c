"""One caller's stream: where it begins, what it is told, when it ends."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, assert_never

from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from imagegen.api.frames import ERASED, HEARTBEAT, MEDIA_TYPE, Closed, Gone, Message, Told, comment, frame, opening
from imagegen.api.listener import Listener
from imagegen.errors import PartUnavailable
from imagegen.policies import STREAM_HEARTBEAT, STREAM_LIFE, STREAM_RECONNECT, STREAM_STALL
from imagegen.ports_events import Place

log = logging.getLogger(__name__)

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
RENEWED = "an hour is over: connect again"
EXPIRED = "the token has expired: connect again with another"


@dataclass(frozen=True)
class Start:
    """How a stream begins for a reader that stands at `place`.

    `told` of what is behind the listener's place, or `page` by page (each from a place on; an empty one is the last);
    `ended`: nothing follows. `run`: the batch's run whose end the reader knows.
    """

    place: Place
    snapshot: bytes | None = None
    told: Sequence[Told] = ()
    page: Callable[[Place], Sequence[Told]] | None = None
    ended: bool = False
    run: int | None = None


@dataclass
class Following:
    """What one caller is told, chunk by chunk, for `holds` seconds at most: then its token holds no longer."""

    listener: Listener
    start: Start
    holds: float = math.inf
    _place: Place = field(init=False)

    def __post_init__(self) -> None:
        self._place = self.start.place

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The stream's bytes. It ends by itself; where it does not end with what was followed, a comment says why."""
        until = asyncio.get_running_loop().time() + min(STREAM_LIFE, self.holds)
        yield opening(self._mark)
        if self.start.snapshot is not None:
            yield self.start.snapshot
        for told in self.start.told:
            yield self._line(told)
        if self.start.ended:
            return
        if self.start.page is not None:
            async for chunk in self._pages(self.start.page, until):
                yield chunk
        async for chunk in self._live(until):
            yield chunk

    async def _pages(self, read: Callable[[Place], Sequence[Told]], until: float) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        while self.listener.over is None and loop.time() < until:
            try:
                page = await run_in_threadpool(read, self._place)
            except PartUnavailable as error:
                log.warning("a stream waits: %s", error)
                yield HEARTBEAT
                await asyncio.sleep(STREAM_RECONNECT)
                continue
            for told in page:
                yield self._line(told)
            if not page:
                return
        # What waits for the listener comes after pages that were not read: the reader goes on from its own place.
        self.listener.clear()

    async def _live(self, until: float) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        while (rest := until - loop.time()) > 0:
            message = await self.listener.next(min(STREAM_HEARTBEAT, rest))
            if message is not None:
                chunk, last = self._said(message)
                if chunk:
                    yield chunk
                if last:
                    return
            elif self.listener.over is not None:
                yield comment(self.listener.over)
                return
            else:
                yield HEARTBEAT
        yield comment(EXPIRED if self.holds < STREAM_LIFE else RENEWED)

    def _said(self, message: Message) -> tuple[bytes, bool]:
        """The bytes for this message, none where the reader knows it, and whether it is the last."""
        match message:
            case Told():
                last = message.ends and self.listener.scope.job_id is not None
                return (b"" if self._place.passed(message.line.id) else self._line(message)), last
            case Closed():
                return (b"" if message.run == self.start.run else message.frame(self._place)), True
            case Gone():
                kind = "jobId" if self.listener.scope.job_id is not None else "batchId"
                return frame(ERASED, {kind: str(message.id)}), True
            case _:
                assert_never(message)

    def _line(self, told: Told) -> bytes:
        self._place = self._place.told(told.line.id, told.log)
        return told.frame(self._mark)

    @property
    def _mark(self) -> str:
        """The `id:` from which the reader goes on. Who knew of a batch's end goes on knowing it."""
        return str(self._place) if self.start.run is None else f"{self._place}e{self.start.run}"


class EventStream(StreamingResponse):
    """The answer that goes on. `leave` is called once it is over, however it ends."""

    def __init__(self, following: Following, leave: Callable[[], Any]) -> None:
        self._chunks, self._leave = following.chunks(), leave
        super().__init__(self._chunks, headers=HEADERS, media_type=MEDIA_TYPE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves it."""

        async def patient(message: Any) -> None:
            async with asyncio.timeout(STREAM_STALL):
                await send(message)

        try:
            async with aclosing(self._chunks):
                await super().__call__(scope, receive, patient)
        except TimeoutError:
            # Unfinished as it is, the server closes the connection.
            log.info("a client left a stream unread for %.0f s", STREAM_STALL)
        finally:
            self._leave()
