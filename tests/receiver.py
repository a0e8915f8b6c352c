"""A real receiver of webhooks on the loopback, whose answers a test decides."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Got:
    """One request as it came."""

    path: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Inbox:
    """What came, and what is answered: `answers` by path, each in turn and the last for ever; else 204.

    An answer is a status, a status with a `Location`, or None: no answer until the test ends.
    """

    def __init__(self, port: int = 0) -> None:
        self.got: list[Got] = []
        self.answers: dict[str, list[int | tuple[int, str] | None]] = {}
        self.ended = threading.Event()
        self._lock = threading.Lock()
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                inbox.receive(self)

            def do_GET(self) -> None:
                inbox.receive(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        class Server(ThreadingHTTPServer):
            block_on_close = True
            daemon_threads = False

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A sender that hung up."""

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def at(self, path: str) -> list[Got]:
        """What came to this path."""
        with self._lock:
            return [one for one in self.got if one.path.partition("?")[0] == path]

    def receive(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        path = handler.path.partition("?")[0]
        with self._lock:
            self.got.append(Got(handler.path, {k.lower(): v for k, v in handler.headers.items()}, body))
            answers = self.answers.get(path) or [204]
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer is None:
            self.ended.wait(60)
            handler.close_connection = True
            return
        status, location = answer if isinstance(answer, tuple) else (answer, None)
        handler.send_response(status)
        if location is not None:
            handler.send_header("Location", location)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def close(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._thread.join(10)
        with suppress(OSError):
            self._server.socket.shutdown(socket.SHUT_RDWR)
        self._server.server_close()


@contextmanager
def receiving(port: int = 0) -> Iterator[Inbox]:
    """An inbox, closed after the block."""
    inbox = Inbox(port)
    try:
        yield inbox
    finally:
        inbox.close()
