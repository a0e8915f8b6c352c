"""The sockets: a threading HTTP/1.1 server with keep-alive that can be stopped without leaving anything behind."""

from __future__ import annotations

import logging
import select
import socket
import struct
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any

from imagegen.emulator.ledger import LOST
from imagegen.emulator.wire import Reply, Request
from imagegen.emulator.world import World
from imagegen.errors import PartUnavailable

logger = logging.getLogger(__name__)
MAX_BODY = 64 * 1024 * 1024
JOIN = 20.0
"""Seconds a connection's thread has to end once its socket is gone; drawing a 4K picture takes well under one."""

REASONS = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 429: "Too Many Requests"}


class Handler(BaseHTTPRequestHandler):
    """One connection. Headers are read by hand: the standard parser costs more than all the rest of a poll."""

    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    rbufsize = 64 * 1024

    def handle(self) -> None:
        """Serves requests until one side closes."""
        # A caller that vanishes in mid-request is everyday life for a server.
        with suppress(ConnectionError, TimeoutError, ValueError):
            while self._one():
                pass

    def _one(self) -> bool:
        """One request; whether the connection stays open."""
        line = self.rfile.readline(64 * 1024)
        words = line.split()
        if len(words) != 3:
            return False
        headers = self._headers()
        method, target = words[0].decode("latin-1"), words[1].decode("latin-1")
        if self.server.world.breaks(method, target):
            self._break()
            return False
        request_body = self._body(headers)
        if request_body is None:
            self._write(Reply(413, b"", "text/plain"), keep=False)
            return False
        request = Request.of(method, target, headers, request_body, self.server.address)
        keep = headers.get("connection", "").lower() != "close" and words[2] != b"HTTP/1.0"
        return self._answer(self._reply(request), keep)

    def _break(self) -> None:
        """Ends the connection by a reset instead of an orderly farewell."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        while True:
            line = self.rfile.readline(64 * 1024)
            if line in (b"\r\n", b"\n", b""):
                return headers
            name, _, value = line.partition(b":")
            headers[name.decode("latin-1").strip().lower()] = value.decode("latin-1").strip()

    def _body(self, headers: dict[str, str]) -> bytes | None:
        if headers.get("expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._chunks()
        length = int(headers.get("content-length") or 0)
        return None if length > MAX_BODY else self.rfile.read(length)

    def _chunks(self) -> bytes | None:
        parts: list[bytes] = []
        total = 0
        while size := int(self.rfile.readline(1024).split(b";")[0], 16):
            total += size
            if total > MAX_BODY:
                return None
            parts.append(self.rfile.read(size))
            self.rfile.readline(2)
        self._headers()
        return b"".join(parts)

    def _reply(self, request: Request) -> Reply:
        try:
            return self.server.world.handle(request)
        except Exception:
            logger.exception("the emulator failed on %s %s", request.method, request.path)
            return Reply(500, b'{"error":{"code":500,"message":"the emulator failed; see its log"}}')

    def _answer(self, reply: Reply, keep: bool) -> bool:
        if reply.hold and self.server.stopping.wait(reply.hold):
            return False
        if reply.drop or (reply.hold and self._caller_gone()):
            return False
        # Marked before the bytes leave: whoever has read the answer finds it delivered.
        for charge in reply.charges:
            charge.outcome = reply.outcome
        try:
            self._write(reply, keep)
        except OSError:
            for charge in reply.charges:
                charge.outcome = LOST
            return False
        return keep

    def _write(self, reply: Reply, keep: bool) -> None:
        body = reply.content()
        reason = REASONS.get(reply.status, "Status")
        lines = [f"HTTP/1.1 {reply.status} {reason}", f"Content-Type: {reply.content_type}"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        lines += [f"Content-Length: {len(body)}", f"Connection: {'keep-alive' if keep else 'close'}", "\r\n"]
        head = "\r\n".join(lines).encode("latin-1")
        if len(body) < 64 * 1024:
            self.connection.sendall(head + body)
        else:
            self.connection.sendall(head)
            self.connection.sendall(body)

    def _caller_gone(self) -> bool:
        """Whether the caller hung up while it waited."""
        # poll rather than select: a busy emulator has more than 1,024 open files.
        waiting = select.poll()
        waiting.register(self.connection, select.POLLIN)
        return bool(waiting.poll(0)) and self.connection.recv(1, socket.MSG_PEEK) == b""


class Server(ThreadingHTTPServer):
    """Knows its connections and threads, so that `close` ends them all."""

    request_queue_size = 512
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, world: World) -> None:
        self.world = world
        self.stopping = Event()
        self._lock = Lock()
        self._sockets: set[socket.socket] = set()
        self._handlers: set[Thread] = set()
        try:
            super().__init__((host, port), Handler)
        except OSError as error:
            raise PartUnavailable(
                f"the emulator cannot listen on {host}:{port}: {error.strerror}", {"part": "emulator"}
            ) from error
        self.address = f"{host}:{self.server_address[1]}"
        self._serve_on()

    def _serve_on(self) -> None:
        self._loop = Thread(target=self.serve_forever, args=(0.05,), name="emulator", daemon=True)
        self._loop.start()

    def server_bind(self) -> None:
        """Binds without asking a name server who we are."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread per connection, remembered until it ends."""
        thread = Thread(target=self._serve, args=(request, client_address), name="emulator-connection", daemon=True)
        with self._lock:
            self._sockets.add(request)
            self._handlers.add(thread)
        thread.start()

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        try:
            self.process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._sockets.discard(request)
                self._handlers = {thread for thread in self._handlers if thread.is_alive() or thread.ident is None}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Into the log; the server lives on."""
        logger.exception("a connection to the emulator failed")

    def refuse(self) -> None:
        """Stops listening for a while and breaks every connection."""
        self.shutdown()
        self._loop.join()
        self.socket.close()
        self._hang_up()

    def listen(self) -> None:
        """Listens again on the same port."""
        self.socket = socket.socket(self.address_family, self.socket_type)
        self.server_bind()
        self.server_activate()
        self._serve_on()

    def close(self) -> None:
        """Stops listening, breaks every connection, waits for every thread."""
        self.stopping.set()
        self.shutdown()
        self._loop.join()
        self._hang_up()
        self.server_close()

    def _hang_up(self) -> None:
        with self._lock:
            sockets, handlers = list(self._sockets), list(self._handlers)
        for sock in sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in handlers:
            thread.join(JOIN)
