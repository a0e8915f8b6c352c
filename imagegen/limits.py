"""What each provider may be asked for by the whole cluster, from settings and catalog."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from imagegen.records import Limit

EVERY_MODEL = "*"


@dataclass(frozen=True)
class Limits:
    """Limits by provider and model; a model without one of its own shares its provider's."""

    by_key: Mapping[tuple[str, str], Limit] = field(default_factory=dict)

    def of(self, provider: str, model: str) -> Limit | None:
        """The limit that a submission to this provider for this model must keep, or None."""
        return self.by_key.get((provider, model)) or self.by_key.get((provider, EVERY_MODEL))

    def __iter__(self) -> Iterator[Limit]:
        return iter(self.by_key.values())
