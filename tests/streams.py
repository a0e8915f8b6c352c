"""Streams of server-sent events as tests read them: of an application in this process, and over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import requests

PATIENCE = 20.0


@dataclass(frozen=True)
class Message:
    """What a client is told: the event's name, its data, and the last `id:` so far."""

    event: str
    data: Any
    id: str | None


@dataclass
class Reader:
    """Takes the bytes of a stream apart, as the specification says."""

    messages: list[Message] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    last_id: str | None = None
    _rest: str = ""

    def feed(self, chunk: bytes) -> None:
        """The next bytes."""
        *lines, self._rest = (self._rest + chunk.decode()).split("\n")
        for line in lines:
            self._line(line)

    def _line(self, line: str) -> None:
        name, _, value = line.partition(":")
        if not line:
            self.last_id = self.fields.pop("id", self.last_id)
            if "data" in self.fields:
                self.messages.append(Message(self.fields.pop("event"), json.loads(self.fields["data"]), self.last_id))
            self.fields.clear()
        elif not name:
            self.comments.append(value.strip())
        else:
            self.fields[name] = value.removeprefix(" ")


class Stream:
    """An answer of an application in this process, chunk by chunk."""

    def __init__(self) -> None:
        self.reader = Reader()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.over = False
        self._came = asyncio.Event()
        self._gone = asyncio.Event()
        self._seen = 0
        self.reading = asyncio.Event()
        self.reading.set()
        self.body = b""

    async def send(self, message: Any) -> None:
        await self.reading.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message.get("body", b"")
            self.reader.feed(message.get("body", b""))
            self.over = not message.get("more_body", False)
        self._came.set()

    async def receive(self) -> Any:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    def leave(self) -> None:
        """The client goes away."""
        self._gone.set()

    async def until(self, seen: Any) -> None:
        """Returns once `seen()` holds."""
        async with asyncio.timeout(PATIENCE):
            while not seen():
                self._came.clear()
                await self._came.wait()

    async def next(self) -> Message:
        """The next message."""
        await self.until(lambda: len(self.reader.messages) > self._seen)
        self._seen += 1
        return self.reader.messages[self._seen - 1]

    async def rest(self) -> list[Message]:
        """All that comes until the stream ends."""
        await self.until(lambda: self.over)
        found, self._seen = self.reader.messages[self._seen :], len(self.reader.messages)
        return found


@asynccontextmanager
async def opened(app: Any, path: str, headers: dict[str, str], **query: Any) -> AsyncIterator[Stream]:
    """A GET of the application, its answer begun; left at the end."""
    stream = Stream()
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": path, "raw_path": path.encode(), "root_path": "", "server": ("test", 80),
        "client": ("test", 1), "query_string": urlencode(query).encode(), "state": {},
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    task = asyncio.create_task(app(scope, stream.receive, stream.send))
    try:
        await stream.until(lambda: stream.status)
        yield stream
    finally:
        stream.leave()
        stream.reading.set()
        async with asyncio.timeout(PATIENCE):
            await task


class Followed:
    """A stream over HTTP, read by a thread of its own."""

    def __init__(self, reply: requests.Response) -> None:
        self.reply, self.reader = reply, Reader()
        self.failed: Exception | None = None
        self._connection = socket.socket(fileno=os.dup(reply.raw.fileno()))
        self._news = threading.Condition()
        self.over = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for chunk in self.reply.iter_content(None):
                with self._news:
                    self.reader.feed(chunk)
                    self._news.notify_all()
        except (requests.RequestException, AttributeError, ValueError, OSError) as error:
            self.failed = error
        with self._news:
            self.over = True
            self._news.notify_all()

    def until(self, count: int, seconds: float = PATIENCE) -> list[Message]:
        """The messages once there are so many."""
        with self._news:
            self._news.wait_for(lambda: len(self.reader.messages) >= count or self.over, seconds)
            assert len(self.reader.messages) >= count, (self.reader, self.failed)
            return [*self.reader.messages]

    def rest(self, seconds: float = PATIENCE) -> list[Message]:
        """All messages once the stream has ended."""
        with self._news:
            assert self._news.wait_for(lambda: self.over, seconds), self.reader
            assert self.failed is None, self.failed
            return [*self.reader.messages]

    def close(self) -> None:
        """The client goes away."""
        # A connection that is only closed leaves the thread in its read until the next heartbeat.
        with suppress(OSError), self._connection:
            self._connection.shutdown(socket.SHUT_RDWR)
        self.reply.close()
        self._thread.join(PATIENCE)


@contextmanager
def followed(url: str, headers: dict[str, str], **query: Any) -> Iterator[Followed]:
    """A stream over HTTP."""
    reply = requests.get(url, headers=headers, params=query, stream=True, timeout=PATIENCE)
    assert reply.status_code == 200, reply.text
    stream = Followed(reply)
    try:
        yield stream
    finally:
        stream.close()
