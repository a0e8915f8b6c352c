"""The paid call's way through its circuit: where a provider has a free question, a probe asks that before it pays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from imagegen.errors import ImagegenError, Temporary
from imagegen.ports import Services
from imagegen.providers.base import Provider


@contextmanager
def submitting(provider: str, services: Services) -> Iterator[Callable[[bool], None]]:
    """`Breaker.call` for a paid call; raises what it raises, or the provider's own `Temporary`, with nothing paid.

    While the circuit is half-open the one probe asks for the balance first: without an answer the circuit opens anew.
    With one the paid call goes on as the probe and decides, for a provider may answer and yet draw nothing.
    """
    probing = services.breaker.state(provider, "submit") == "half-open"
    with services.breaker.call(provider, "submit") as report:
        if probing:
            _knock(services.provider(provider), report)
        yield report


def _knock(provider: Provider, report: Callable[[bool], None]) -> None:
    try:
        provider.credit()
    except Temporary:
        report(False)
        raise
    except ImagegenError:
        # Somebody is there: what is wrong with the account is for the paid call to tell.
        return
