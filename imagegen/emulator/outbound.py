"""What the emulator itself asks for over HTTP: reference pictures and webhooks, on this machine alone."""

from __future__ import annotations

import http.client
import ipaddress
import socket
from collections.abc import Collection
from threading import Lock
from urllib.parse import SplitResult, urlsplit

TIMEOUT = 15.0
"""Seconds a webhook's receiver has to answer (docs.nanobananaapi.ai, callbacks)."""

MAX_REFERENCE = 30 * 1024 * 1024
"""Bytes of one reference picture (kie's limit for the same models)."""


class NotReachable(Exception):
    """The address is not ours to ask, or does not answer well; the message says which."""


class Outbound:
    """Calls to loopback addresses and to `allow_hosts`; anything else is refused before a packet leaves."""

    def __init__(self, allow_hosts: Collection[str] = ()) -> None:
        self._allowed = frozenset(allow_hosts)
        self._lock = Lock()
        self._open: set[http.client.HTTPConnection] = set()
        self._closed = False

    def get(self, url: str) -> bytes:
        """The file at `url`, at most `MAX_REFERENCE` bytes; redirects are not followed."""
        status, body = self._call("GET", url, None)
        if status != 200:
            raise NotReachable(f"{url} answered {status}")
        if len(body) > MAX_REFERENCE:
            raise NotReachable(f"{url} is larger than {MAX_REFERENCE} bytes")
        return body

    def post(self, url: str, body: bytes) -> int:
        """Posts JSON and gives the status."""
        return self._call("POST", url, body)[0]

    def close(self) -> None:
        """Breaks every call on its way, and refuses further ones."""
        with self._lock:
            self._closed = True
            opened = list(self._open)
        for connection in opened:
            sock = connection.sock
            if sock is not None:
                _hang_up(sock)

    def _call(self, method: str, url: str, body: bytes | None) -> tuple[int, bytes]:
        parts = urlsplit(url)
        connection = self._connection(parts)
        with self._lock:
            if self._closed:
                raise NotReachable("the emulator is stopping")
            self._open.add(connection)
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            headers = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, target, body=body, headers=headers)
            with connection.getresponse() as response:
                return response.status, response.read(MAX_REFERENCE + 1)
        except (OSError, http.client.HTTPException) as error:
            raise NotReachable(f"{url}: {error}") from error
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _connection(self, parts: SplitResult) -> http.client.HTTPConnection:
        try:
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise NotReachable(f"{parts.geturl()!r} is no address: {error}") from error
        if parts.scheme != "http" or not host:
            raise NotReachable(f"{parts.geturl()!r} is not an http address on this machine")
        if host not in self._allowed and not is_loopback(host):
            raise NotReachable(f"{host} is not on this machine")
        return http.client.HTTPConnection(host, port or 80, timeout=TIMEOUT)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by number or by the name localhost; no name is looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


def _hang_up(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        # The other side was quicker: there is nothing left to break.
        return
