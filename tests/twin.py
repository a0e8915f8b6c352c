"""Either HTTP client behind one face, so that one suite tells the promises of both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import closing
from itertools import islice
from typing import Any, Self

from imagegen.client import AsyncClient, Client

KINDS = {"plain": Client, "async": AsyncClient}


class Twin:
    """The client of this kind, called without `await`."""

    def __init__(self, kind: str, url: str, token: Any, **told: Any) -> None:
        self._client: Any = KINDS[kind](url, token, **told)
        self._runner = asyncio.Runner() if kind == "async" else None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        return method if self._runner is None else lambda *words, **told: self._run(method(*words, **told))

    def first(self, count: int, name: str, *words: Any, **told: Any) -> list[Any]:
        """So many of what this method gives one after the other; then it is left."""
        asked = getattr(self._client, name)(*words, **told)
        if self._runner is not None:
            return self._runner.run(_first(count, asked))
        with closing(asked):
            return [*islice(asked, count)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._runner is None:
            self._client.close()
            return
        self._runner.run(self._client.aclose())
        self._runner.close()

    def _run(self, asked: Any) -> Any:
        assert self._runner is not None
        if isinstance(asked, AsyncIterator):
            return self._runner.run(_all(asked))
        return self._runner.run(_one(asked)) if isinstance(asked, Awaitable) else asked


async def _one(asked: Awaitable[Any]) -> Any:
    return await asked


async def _all(asked: AsyncIterator[Any]) -> list[Any]:
    return [one async for one in asked]


async def _first(count: int, asked: AsyncGenerator[Any]) -> list[Any]:
    found: list[Any] = []
    async for one in asked:
        found.append(one)
        if len(found) == count:
            break
    return found
