"""Circuit breakers from `celery control` and `celery inspect`: any worker answers for the whole cluster.

    celery -A tasks inspect breakers
    celery -A tasks control breaker_show | breaker_open PROVIDER [OPERATION] | breaker_reset PROVIDER [OPERATION]

The circuits are in Redis, so every worker that is asked does and tells the same; a second time is harmless.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.worker.control import control_command, inspect_command, nok, ok

from imagegen.circuits import circuits, open_circuits, reset_circuits, told
from imagegen.errors import ImagegenError
from imagegen.ports import Services

Answer = dict[str, Any]


def register() -> None:
    """Makes the commands known to workers and to the `celery` command."""
    which = {"args": [("provider", str), ("operation", str)], "signature": "PROVIDER [submit|poll]"}
    inspect_command()(breakers)
    control_command()(breaker_show)
    control_command(**which)(breaker_open)
    control_command(**which)(breaker_reset)


def breakers(state: Any, **_arguments: Any) -> Answer:
    """Show each circuit breaker's state."""
    return _told(state, circuits)


def breaker_show(state: Any, **_arguments: Any) -> Answer:
    """Show each circuit breaker's state."""
    return _told(state, circuits)


def breaker_open(state: Any, provider: str = "", operation: str | None = None, **_arguments: Any) -> Answer:
    """Open a provider's circuits by hand: nothing is sent until a probe succeeds or they are reset."""
    return _told(state, lambda services: open_circuits(services, provider, operation))


def breaker_reset(state: Any, provider: str = "", operation: str | None = None, **_arguments: Any) -> Answer:
    """Close a provider's circuits and forget their failures."""
    return _told(state, lambda services: reset_circuits(services, provider, operation))


def _told(state: Any, work: Callable[[Services], list[dict[str, Any]]]) -> Answer:
    """One line per circuit; an error becomes the answer, as an exception would only reach this worker's log."""
    try:
        found = work(state.app.services)
    except ImagegenError as error:
        answer: Answer = nok(f"{error.code}: {error}")
    else:
        answer = ok({f"{one['provider']} {one['operation']}": told(one["state"], one["probedIn"]) for one in found})
    return answer
