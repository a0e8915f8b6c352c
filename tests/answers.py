"""Servers and addresses that misbehave in one chosen way, on loopback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def a_store_that_answers(
    status: int, code: str = "", *, cut: bool = False, by_method: Mapping[str, tuple[int, str]] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """An HTTP server which gives one answer to everything, but for `by_method`: its address, and what it was asked.

    `cut`: it promises twice the bytes that it sends.
    """
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            seen.append(f"{self.command} {self.path}")
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            own_status, own_code = (by_method or {}).get(self.command, (status, code))
            body = f"<Error><Code>{own_code}</Code><Message>told by the store</Message></Error>".encode()
            self.send_response(own_status)
            self.send_header("Content-Length", str(len(body) * (2 if cut else 1)))
            self.send_header("Content-Type", "application/xml")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
            self.close_connection = True

        do_GET = do_PUT = do_HEAD = do_DELETE = answer

        def log_message(self, format: str, *args: object) -> None:
            """The list of requests is the log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def a_dead_address() -> str:
    """A loopback port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
