"""`Prefer: wait` over real sockets: whoever breaks off gives its place in the waiting room back at once."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from imagegen.api.app import create_app
from imagegen.api.setup import Setup
from imagegen.records import JobFilter
from tests.door import RULES, bearer
from tests.listening import Listening
from tests.pipeline_parts import World

pytest_plugins = ["tests.worlds"]
FOX = {"prompt": "a fox", "provider": "gemini", "width": 320, "height": 180}
CREW = {"characters": [{"name": "Mara"}, {"name": "Tom"}], "provider": "gemini", "width": 320, "height": 180}
PATIENCE = 20.0


@dataclass
class Sockets:
    """A served door, and what its callers say to it by hand."""

    world: World
    app: Any
    port: int

    @property
    def waits(self) -> int:
        """How many wait."""
        return len(self.app.state.house.room._waiters)

    def asks(self, method: str, path: str, body: Any = None, owner: str = "ada") -> socket.socket:
        """A request of a caller that would wait for a minute, sent."""
        said = b"" if body is None else json.dumps(body).encode()
        lines = [
            f"{method} {path} HTTP/1.1", "Host: door", "Prefer: wait=60", f"Content-Length: {len(said)}",
            *(f"{name}: {value}" for name, value in bearer(owner, self.world.clock.now()).items()),
            "Content-Type: application/json", "", "",
        ]  # fmt: skip
        connection = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        connection.sendall("\r\n".join(lines).encode() + said)
        return connection

    def order(self, path: str, body: Any) -> str:
        """Where it is found."""
        url = f"http://127.0.0.1:{self.port}/api/images/{path}"
        reply = requests.post(url, json=body, headers=bearer("ada", self.world.clock.now()), timeout=PATIENCE)
        return reply.headers["Location"]


@pytest.fixture
def sockets(world: World) -> Iterator[Sockets]:
    """The door before a world in memory, on a loopback port."""
    app = create_app(lambda: world.services, Setup(tokens=RULES))
    listening = Listening(app)
    with listening:
        yield Sockets(world, app, listening.port)


def until(seen: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not seen():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(("path", "body"), [("generate", FOX), ("batches", CREW)], ids=["job", "batch"])
def test_who_breaks_off_keeps_no_place(sockets: Sockets, path: str, body: dict[str, Any]) -> None:
    """Orders and looks alike: the place is free long before the time is over, and the job is not touched."""
    located = sockets.order(path, body)
    with closing(sockets.asks("POST", f"/api/images/{path}", body)), closing(sockets.asks("GET", located)):
        until(lambda: sockets.waits == 2)
    until(lambda: sockets.waits == 0)
    with closing(sockets.asks("GET", located)) as patient:
        until(lambda: sockets.waits == 1)
        found, _ = sockets.world.store.jobs.list(JobFilter(), limit=10, cursor=None)
        for job in found:
            sockets.world.chain(job)
        assert patient.recv(12) == b"HTTP/1.1 200"


def test_a_full_room_has_room_again(sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner's whole share, broken off, is there for its next caller."""
    monkeypatch.setattr(sockets.app.state.house.room, "_most_of_owner", 3)
    located = sockets.order("generate", FOX)
    crowd = [sockets.asks("GET", located) for _ in range(3)]
    until(lambda: sockets.waits == 3)
    with closing(sockets.asks("GET", located)) as turned_away:
        assert turned_away.recv(12) == b"HTTP/1.1 200"
    for connection in crowd:
        connection.close()
    until(lambda: sockets.waits == 0)
    with closing(sockets.asks("GET", located)):
        until(lambda: sockets.waits == 1)


def test_the_room_is_given_back_whatever_of_a_body_still_comes(sockets: Sockets) -> None:
    """A GET whose body goes on for ever waits its time and no longer than its caller."""
    located = sockets.order("generate", FOX)
    head = "\r\n".join(
        [f"GET {located} HTTP/1.1", "Host: door", "Prefer: wait=60", "Transfer-Encoding: chunked",
         *(f"{name}: {value}" for name, value in bearer("ada", sockets.world.clock.now()).items()), "", ""]
    )  # fmt: skip
    with closing(socket.create_connection(("127.0.0.1", sockets.port), PATIENCE)) as endless:
        endless.sendall(head.encode())
        until(lambda: sockets.waits == 1)
        for _ in range(50):
            endless.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")
        assert sockets.waits == 1
    until(lambda: sockets.waits == 0)
