"""Things that threads may share and forks may not."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

_Made = TypeVar("_Made")
_locks = {"making": threading.Lock()}
# A thread of the parent may hold the lock at the fork; the child would wait for it forever.
os.register_at_fork(after_in_child=lambda: _locks.update(making=threading.Lock()))


class PerProcess(Generic[_Made]):
    """Something made once per process, again after a fork, by whichever thread comes first."""

    def __init__(self, make: Callable[[], _Made]) -> None:
        self._make = make
        self._held: tuple[int, _Made] | None = None

    def get(self) -> _Made:
        """The one of this process."""
        held = self._held
        if held is not None and held[0] == os.getpid():
            return held[1]
        with _locks["making"]:
            if self._held is None or self._held[0] != os.getpid():
                self._held = os.getpid(), self._make()
            return self._held[1]

    def drop(self) -> _Made | None:
        """Takes this process's one out, to be closed; the next `get` makes another."""
        with _locks["making"]:
            held, self._held = self._held, None
        return held[1] if held is not None and held[0] == os.getpid() else None
