"""The end of a process that serves: callers are let go before the door is closed.

A server closes its connections first and ends the application last, so open streams would hold it up until they are
cut. Here the first SIGTERM or SIGINT tells the application; the server hears it `policies.DRAIN_NOTICE` later.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn

from imagegen.policies import DRAIN_NOTICE

_Handler = Callable[[int, FrameType | None], Any]


@contextmanager
def hearing(drain: Callable[[], None]) -> Iterator[None]:
    """Inside, `drain` is called in this event loop when a signal asks the server to end.

    Signals reach the main thread alone; elsewhere nothing is heard.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {int(number): signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    ending = _Ending(drain, asyncio.get_running_loop())
    ours: dict[int, _Handler] = {}
    for number, handler in before.items():
        if callable(handler):
            ours[number] = ending.instead_of(handler)
            signal.signal(number, ours[number])
    try:
        yield
    finally:
        for number, our in ours.items():
            if signal.getsignal(number) is our:
                signal.signal(number, before[number])


class _Ending:
    def __init__(self, drain: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        self._drain, self._loop, self._begun = drain, loop, False

    def instead_of(self, server: _Handler) -> _Handler:
        def heard(number: int, frame: FrameType | None) -> None:
            if self._begun:
                server(number, frame)
                return
            self._begun = True
            self._loop.call_soon_threadsafe(self._begin, number, server)

        return heard

    def _begin(self, number: int, server: _Handler) -> None:
        self._drain()
        self._loop.call_later(DRAIN_NOTICE, _pass_on, number, server)


def _pass_on(number: int, server: _Handler) -> None:
    served_by = getattr(server, "__self__", None)
    if number == signal.SIGTERM and isinstance(served_by, uvicorn.Server):
        # Its own handler sends the signal to itself once all is done: whoever asked would see a process that was
        # killed, not one that ended.
        served_by.should_exit = True
    else:
        server(number, None)
