"""The figures that are watched from outside, as a protocol: `imagegen.ports.Metrics`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

CREDITS_LIFE = timedelta(minutes=15)
"""How long a provider's balance is told after it was asked for: three rounds of `imagegen.watch_money`."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One figure. `name` is one of those that the methods of `Metrics` list; dollars, seconds or a count."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    value: Decimal


class Metrics(Protocol):
    """What the rows say, for all owners together. `emulated` is `true` or `false`."""

    def figures(self, *, at: datetime) -> Sequence[Sample]:
        """All figures of one moment, by name.

        Counted since the first job, and never less than before:
        `ended` {status, code, emulated}: ends of jobs; `code` is empty but for failures.
        `ledger` {kind, provider, model, emulated}: dollars of the lines of the books of kind settle, waste, uncertain.
        `hits`, `saved` {provider, model, emulated}: jobs that the cache answered, and the dollars that these saved.
        `alerts` {kind}: alerts that were raised.
        `callbacks` {provider, outcome}: providers' callbacks.

        As it stands:
        `spend` {kind, provider, model, emulated}: dollars by the newest line of each attempt.
        `jobs` {status, emulated}: live jobs.
        `oldest_queued`, `oldest_due` {emulated}: seconds that the oldest job has waited which may be bought; seconds
        since the longest overdue row was to be looked at.
        `active_alerts`, `untold_alerts` {kind}: alerts that stand, and those of them that no webhook has taken.
        `deliveries` {state}: those that are due, and those that ended without being taken.
        `credits` {provider, emulated}: the provider's balance in its own unit, asked within `CREDITS_LIFE`.

        What there is none of is left out.
        """
        ...

    def balance(self, provider: str, left: Decimal, *, emulated: bool, at: datetime) -> None:
        """The provider was asked for its balance."""
        ...
