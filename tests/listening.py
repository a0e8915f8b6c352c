"""An ASGI application on a real loopback port, and one in front of it whose answers get lost as a test says."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import uvicorn


class Listening:
    """The application on a loopback port (0: a free one), from `__enter__`, which tells its address, to `__exit__`."""

    def __init__(self, app: Any, port: int = 0) -> None:
        config = uvicorn.Config(app, log_level="critical", access_log=False, ws="none", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))

    def __enter__(self) -> str:
        self._thread.start()
        end = time.monotonic() + 10
        while not self._server.started:
            assert time.monotonic() < end, "the door did not open"
            time.sleep(0.01)
        return f"http://127.0.0.1:{self.port}"

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()


class Faulty:
    """In front of an application. `faults` befall requests in turn; without any left, all goes well.

    `cut`: the request is done, and the connection ends within the answer. `lost`: it ends before anything is done. A
    number is a gateway's answer of this status. None: nothing befalls this one.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self.faults: list[str | int | None] = []
        self.seen: list[tuple[str, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self.seen.append((scope["method"], scope["path"]))
        fault = self.faults.pop(0) if self.faults else None
        if fault is None:
            await self._app(scope, receive, send)
            return
        if fault == "cut":
            await self._app(scope, receive, _unheard)
        status, length = (fault, b"0") if isinstance(fault, int) else (200, b"99")
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", length)]})
        if isinstance(fault, int):
            await send({"type": "http.response.body", "body": b""})


async def _unheard(message: Any) -> None:
    """Nobody hears it."""
