"""What travels between the HTTP server and the emulated APIs: one request, one reply, no sockets."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from imagegen.emulator.ledger import Charge


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. Header names are lower case; `path` is unquoted and without the query."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    base: str = "http://127.0.0.1"
    """Scheme and host as the caller wrote them: result addresses are made from it."""

    @classmethod
    def of(cls, method: str, target: str, headers: Mapping[str, str], body: bytes, address: str) -> Request:
        """From a request line's target; `address` stands in where the caller sent no Host."""
        path, _, query = target.partition("?")
        host = headers.get("host") or address
        return cls(method, unquote(path), dict(parse_qsl(query)) if query else {}, headers, body, f"http://{host}")

    def json(self) -> Any:
        """The body as JSON; ValueError where it is none."""
        return json.loads(self.body)


Body = bytes | Callable[[], bytes]


@dataclass(slots=True)
class Reply:
    """One answer.

    `hold` is how many seconds the answer is kept back; a body given as a function is built only after that, so that
    held answers cost no memory. `drop` closes the connection without a word. A `charge` stays "lost" until the answer
    is handed over; it then becomes `outcome`.
    """

    status: int = 200
    body: Body = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    hold: float = 0.0
    drop: bool = False
    charges: tuple[Charge, ...] = ()
    outcome: str = "delivered"

    def content(self) -> bytes:
        """The body's bytes."""
        return self.body if isinstance(self.body, bytes) else self.body()


def json_reply(document: Any, status: int = 200) -> Reply:
    """A JSON answer."""
    return Reply(status, json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode())


DROP = Reply(drop=True)
"""The connection is closed without an answer."""
