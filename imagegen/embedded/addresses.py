"""TCP ports of this machine: which is free, and whether somebody answers."""

from __future__ import annotations

import http.client
import socket
from urllib.parse import urlsplit

from imagegen.errors import PartUnavailable

HOST = "127.0.0.1"
TRIES = 200


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """Any free port."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def choose_port(name: str, told: int | None, default: int) -> int:
    """The port told by the setting `name`, which must be free, else the first free one from `default` on."""
    if told is not None:
        if not is_free(told):
            raise PartUnavailable(f"{name}: port {told} is busy. Free it, or choose another.", {"part": name})
        return told
    for port in range(default, default + TRIES):
        if is_free(port):
            return port
    raise PartUnavailable(f"{name}: no port is free between {default} and {default + TRIES}. Set it.", {"part": name})


def answers(url: str) -> bool:
    """Whether an HTTP server gives this address without an error."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or HOST, parts.port, timeout=2.0)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status < 400
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
