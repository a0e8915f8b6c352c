"""A provider that can be taken away and brought back: what lies behind it goes on meanwhile."""

from __future__ import annotations

import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

_OWN = {"connection", "transfer-encoding", "content-length", "date", "server"}


class Relay:
    """Passes requests on to `target` from an address of its own; while it is `down`, connections are refused.

    Every answer ends its connection, so that no idle one outlives the moment of going down.
    """

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target).netloc
        self._address: tuple[str, int] = ("127.0.0.1", 0)
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self.up()

    @property
    def url(self) -> str:
        """Where it listens when it is up."""
        return f"http://127.0.0.1:{self._address[1]}"

    def up(self) -> None:
        """Listens, on the same address as before."""
        target = self._target

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                _pass_on(self, target)

            def do_POST(self) -> None:
                _pass_on(self, target)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing on standard error."""

        self._server = ThreadingHTTPServer(self._address, Handler)
        self._address = ("127.0.0.1", int(self._server.server_address[1]))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def down(self) -> None:
        """Refuses connections once the requests inside are answered."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()


def _pass_on(request: BaseHTTPRequestHandler, target: str) -> None:
    length = int(request.headers.get("Content-Length") or 0)
    behind = HTTPConnection(target, timeout=60)
    try:
        headers = {name: value for name, value in request.headers.items() if name.lower() != "connection"}
        behind.request(request.command, request.path, request.rfile.read(length) or None, headers)
        answer = behind.getresponse()
        body = answer.read()
    finally:
        behind.close()
    request.send_response(answer.status)
    for name, value in answer.getheaders():
        if name.lower() not in _OWN:
            request.send_header(name, value)
    request.send_header("Content-Length", str(len(body)))
    request.send_header("Connection", "close")
    request.end_headers()
    request.wfile.write(body)
