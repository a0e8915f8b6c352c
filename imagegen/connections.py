"""HTTP connections that obey one total deadline and know whether a request's bytes ever left.

urllib3's own timeouts bound each socket operation, so a peer that drips one byte a second holds a caller for ever, in
the headers as well as in the body. Here every connect, send and receive gets what is left of the call's total.
"""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from http.client import HTTPResponse
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError


class Call(threading.local):
    """The one call under way in this thread.

    `deadline` on the scale of `monotonic` (seconds); `max_idle`: seconds a kept connection may have rested to be used
    again; `addresses`: where alone its host may be reached (none: where its name leads); `watched`: a connection of
    ours took part; `left`: bytes of the request were given to its socket.
    """

    monotonic: Callable[[], float] = staticmethod(time.monotonic)
    deadline: float = float("inf")
    max_idle: float = 0.0
    addresses: Sequence[str] = ()
    watched: bool = False
    left: bool = False

    def begin(
        self, monotonic: Callable[[], float], deadline: float, max_idle: float, addresses: Sequence[str] = ()
    ) -> None:
        """Starts a call: nothing left yet."""
        self.monotonic, self.deadline, self.max_idle, self.addresses = monotonic, deadline, max_idle, addresses
        self.watched = self.left = False

    def remaining(self) -> float:
        """Seconds left, more than 0; raises `TimeoutError` when there are none."""
        left = self.deadline - self.monotonic()
        if left <= 0:
            raise TimeoutError("total deadline passed")
        return left


CURRENT = Call()


class _Incoming(io.RawIOBase):
    """The receiving half of a socket, each read bounded by the call's deadline."""

    def __init__(self, connection: Watched, sock: socket.socket) -> None:
        self._connection, self._sock = connection, sock
        # The raw file keeps the socket open until it is closed itself, which http.client relies on.
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(CURRENT.remaining())
        count = self._raw.readinto(buffer)
        self._connection.touched = CURRENT.monotonic()
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Source:
    """What `http.client.HTTPResponse` needs of a socket."""

    def __init__(self, connection: Watched, sock: socket.socket) -> None:
        self._connection, self._sock = connection, sock

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Incoming(self._connection, self._sock), 64 * 1024)


def _answer(connection: Watched, sock: socket.socket, **options: Any) -> HTTPResponse:
    source: Any = _Source(connection, sock)
    return HTTPResponse(source, **options)


class Watched(HTTPConnection):
    """A plain connection that tells `CURRENT` what it does."""

    touched = 0.0
    connecting = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        reader: Any = partial(_answer, self)
        self.response_class = reader

    @property
    def is_connected(self) -> bool:
        return CURRENT.monotonic() - self.touched <= CURRENT.max_idle and super().is_connected

    def connect(self) -> None:
        CURRENT.watched = self.connecting = True
        try:
            super().connect()
        finally:
            self.connecting = False

    def _new_conn(self) -> socket.socket:
        """To the call's addresses, where it has some. TLS and the Host header keep the name."""
        name, limit = self._dns_host, self.timeout
        left = len(CURRENT.addresses)
        for address in CURRENT.addresses:
            left -= 1
            self._dns_host, self.timeout = address, CURRENT.remaining()
            try:
                return super()._new_conn()
            except (NewConnectionError, ConnectTimeoutError):
                if not left:
                    raise
            finally:
                self._dns_host, self.timeout = name, limit
        return super()._new_conn()

    def send(self, data: Any) -> None:
        CURRENT.watched = True
        if self.sock is None:
            self.connect()
        self.sock.settimeout(CURRENT.remaining())
        # What a proxy is told while connecting (CONNECT) is not the request.
        CURRENT.left = CURRENT.left or not self.connecting
        super().send(data)


class WatchedTLS(Watched, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = Watched


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = WatchedTLS


POOLS: dict[str, type[HTTPConnectionPool]] = {"http": _Pool, "https": _TLSPool}
