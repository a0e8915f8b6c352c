"""Several commands at once: each spends most of its second in starting Python."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from tests.acceptance.system import System, Told

AT_ONCE = 3
Key = TypeVar("Key")
Commands = Mapping[Key, Sequence[str]]


def together(system: System, commands: Commands[Key], env: Mapping[str, str] | None = None) -> dict[Key, Told]:
    """What each command told, by its key; they run side by side."""
    return all_of({key: partial(system.cli, *words, env=env) for key, words in commands.items()})


def all_of(calls: Mapping[Key, Callable[[], Told]]) -> dict[Key, Told]:
    """The results of these calls, made side by side."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = {key: pool.submit(call) for key, call in calls.items()}
        return {key: future.result() for key, future in futures.items()}


def written(path: Path, data: Any) -> str:
    """The path of a JSON file with this content."""
    path.write_text(json.dumps(data))
    return str(path)


class Site:
    """A web server on the loopback: paths to (status, type, body); it counts what was asked."""

    def __init__(self, url: str, asked: list[str]) -> None:
        self.url, self.asked = url, asked


@contextmanager
def serving(pages: Mapping[str, tuple[int, str, bytes]]) -> Iterator[Site]:
    """Serves these pages, and 404 for every other path."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, kind, body = pages.get(self.path, (404, "text/plain", b"not here"))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield Site(f"http://127.0.0.1:{server.server_port}", asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
