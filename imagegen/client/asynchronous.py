"""`AsyncClient`: imagegen over HTTP for a service on asyncio; no call blocks the loop or takes a thread."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any, Self, TypeVar, Unpack, overload
from uuid import UUID

import httpx2

from imagegen.client.calls import Briefs, Named
from imagegen.client.following import Event, Following
from imagegen.client.protocol import Answer, Ended, Lost, Pause, Reply, Step, Talk, Token, advanced
from imagegen.client.session import HttpClient, lost, pool_options, reply_of, request_options, source, unread
from imagegen.client.talks import PATIENCE, CostFilters, ListFilters, Page
from imagegen.client.webhooks import Secret
from imagegen.costs import CostReport
from imagegen.estimates import EstimateDocument
from imagegen.results import Batch, Job

Result = TypeVar("Result")
Known = TypeVar("Known", Job, Batch)


class AsyncClient(HttpClient):
    """`Client` with coroutines: the same methods, results and errors. One per event loop; `await aclose()`, or use it
    with `async with`."""

    def __init__(self, url: str, token: Token, *, webhook_secret: Secret = None, patience: float = PATIENCE) -> None:
        """As `Client`."""
        super().__init__(url, token, webhook_secret=webhook_secret, patience=patience)
        self._http = httpx2.AsyncClient(**pool_options(self._site))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Gives the connections back; jobs go on."""
        await self._http.aclose()

    async def generate(self, prompt: str | None = None, **fields: Any) -> Job:
        """See `Client.generate`."""
        return await self._run(self._talks.generate(prompt, fields))

    async def batch(self, characters: Briefs | None = None, **fields: Any) -> Batch:
        """See `Client.batch`."""
        return await self._run(self._talks.batch(characters, fields))

    @overload
    async def get(self, id: Known) -> Known: ...
    @overload
    async def get(self, id: UUID | str) -> Job | Batch: ...
    async def get(self, id: Named) -> Job | Batch:
        """See `Client.get`."""
        return await self._run(self._talks.get(id))

    @overload
    async def wait(self, id: Known, timeout: float | None = None) -> Known: ...
    @overload
    async def wait(self, id: UUID | str, timeout: float | None = None) -> Job | Batch: ...
    async def wait(self, id: Named, timeout: float | None = None) -> Job | Batch:
        """See `Client.wait`."""
        return await self._run(self._talks.wait(id, timeout))

    @overload
    async def cancel(self, id: Known) -> Known: ...
    @overload
    async def cancel(self, id: UUID | str) -> Job | Batch: ...
    async def cancel(self, id: Named) -> Job | Batch:
        """See `Client.cancel`."""
        return await self._run(self._talks.cancel(id))

    @overload
    async def retry(self, id: Known, *, buy: bool = False, idempotency_key: str | None = None) -> Known: ...
    @overload
    async def retry(self, id: UUID | str, *, buy: bool = False, idempotency_key: str | None = None) -> Job | Batch: ...
    async def retry(self, id: Named, *, buy: bool = False, idempotency_key: str | None = None) -> Job | Batch:
        """See `Client.retry`."""
        return await self._run(self._talks.retry(id, buy, idempotency_key))

    async def estimate(self, prompt: str | None = None, **fields: Any) -> EstimateDocument:
        """See `Client.estimate`."""
        return await self._run(self._talks.estimate(prompt, fields))

    async def costs(self, by: str = "day", **filters: Unpack[CostFilters]) -> CostReport:
        """See `Client.costs`."""
        return await self._run(self._talks.costs(by, filters))

    def list(self, **filters: Unpack[ListFilters]) -> AsyncIterator[Job]:
        """See `Client.list`; `async for job in client.list()`."""
        return self._pages(lambda cursor: self._talks.page(Job, filters, cursor))

    def batches(self, **filters: Unpack[ListFilters]) -> AsyncIterator[Batch]:
        """See `Client.batches`."""
        return self._pages(lambda cursor: self._talks.page(Batch, filters, cursor))

    def events(self, id: Named | None = None, *, last: str | None = None) -> AsyncGenerator[Event]:
        """See `Client.events`; `async for event in client.events(job)`."""
        return self._follow(Following(self._talks, id, last))

    async def upload_input(self, picture: bytes | str | os.PathLike[str]) -> str:
        """See `Client.upload_input`; a file is read on a thread."""
        data = picture if isinstance(picture, bytes) else await asyncio.to_thread(Path(picture).read_bytes)
        return await self._run(self._talks.upload(data))

    async def _follow(self, following: Following) -> AsyncGenerator[Event]:
        while (step := following.next()) is not None:
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                continue
            try:
                async with self._http.stream(**request_options(step, self._site)) as response:
                    if following.opened(*unread(response)):
                        async for block in source(response):
                            if (event := following.told(block.id, block.event, block.data, block.retry)) is not None:
                                yield event
                        following.closed()
                        continue
                    await response.aread()
                    answer: Reply | Lost = reply_of(response)
            except httpx2.RequestError as error:
                answer = lost(error)
            if (event := following.answered(answer)) is not None:
                yield event

    async def _pages(self, page: Callable[[str | None], Talk[Page[Known]]]) -> AsyncIterator[Known]:
        found = await self._run(page(None))
        while True:
            for item in found.items:
                yield item
            if found.cursor is None:
                return
            found = await self._run(page(found.cursor))

    async def _run(self, talk: Talk[Result]) -> Result:
        step = advanced(talk, None)
        while not isinstance(step, Ended):
            step = advanced(talk, await self._take(step))
        return step.value

    async def _take(self, step: Step) -> Answer:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        try:
            return reply_of(await self._http.request(**request_options(step, self._site)))
        except httpx2.RequestError as error:
            return lost(error)
