"""Circuit breakers in an operator's hands: what they are at, opened and reset by name, for every door that has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from imagegen.errors import InvalidRequest
from imagegen.ports import Services

OPERATIONS = ("submit", "poll")
"""The calls of a provider that have a circuit of their own."""


def circuits(services: Services, providers: Sequence[str] = (), operations: Sequence[str] = ()) -> list[dict[str, Any]]:
    """`{provider, operation, state, probedIn}` of each circuit; all where none are named.

    `probedIn`: seconds until an open circuit is probed, else null.
    """
    return [
        circuit(services, provider, operation)
        for provider in providers or sorted(services.providers)
        for operation in operations or OPERATIONS
    ]


def circuit(services: Services, provider: str, operation: str) -> dict[str, Any]:
    """One circuit, as told by `circuits`."""
    state = services.breaker.state(provider, operation)
    rests = round(services.breaker.rests(provider, operation), 1) if state == "open" else None
    return {"provider": provider, "operation": operation, "state": state, "probedIn": rests}


def open_circuits(services: Services, provider: str, operation: str | None = None) -> list[dict[str, Any]]:
    """Opens a provider's circuit (None: all of them) as if it had failed too often; it is probed after the usual time.

    Raises `InvalidRequest` for a provider or operation that there is none of, `PartUnavailable` without Redis.
    """
    operations = _named(services, provider, operation)
    for one in operations:
        services.breaker.open(provider, one)
    return circuits(services, (provider,), operations)


def reset_circuits(services: Services, provider: str, operation: str | None = None) -> list[dict[str, Any]]:
    """Closes a provider's circuit (None: all of them) and forgets its failures; raises as `open_circuits` does."""
    operations = _named(services, provider, operation)
    for one in operations:
        services.breaker.reset(provider, one)
    return circuits(services, (provider,), operations)


def told(state: str, probed_in: float | None) -> str:
    """A circuit's state for people: `closed`, or `open, probed in 12 s`."""
    return state if probed_in is None else f"{state}, probed in {probed_in:.0f} s"


def _named(services: Services, provider: str, operation: str | None) -> Sequence[str]:
    if provider not in services.providers:
        raise InvalidRequest.of(
            "provider", f"{provider!r} is no provider in use", f"Use one of {', '.join(sorted(services.providers))}."
        )
    if operation is None:
        return OPERATIONS
    if operation not in OPERATIONS:
        raise InvalidRequest.of(
            "operation", f"{operation!r} has no circuit", f"Use one of {', '.join(OPERATIONS)}, or none for all."
        )
    return (operation,)
