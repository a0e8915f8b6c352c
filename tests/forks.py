"""Running something in a forked child, for tests of what must survive a fork."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable


def in_a_fork(work: Callable[[], str]) -> str:
    """What `work` returns in a child of this process, or `ErrorName: message` of what it raised there."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of forks beside threads: that is what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            try:
                told = work()
            except BaseException as error:
                told = f"{type(error).__name__}: {error}"
            os.write(writer, told.encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer
