"""Running something in forked children: of this process, for tests of what must survive a fork, or of a clean one."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Callable
from functools import cache
from multiprocessing.context import ForkServerContext

BEFOREHAND = ["tests.budget_workers", "tests.flight_workers", "tests.pace_workers"]


@cache
def clean_processes() -> ForkServerContext:
    """Starts processes that share nothing with this one, forked from one that has only done their imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(BEFOREHAND)
    return context


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
