"""What each provider may be asked for by the whole cluster, from settings and catalog."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from imagegen import policies
from imagegen.catalog import Catalog
from imagegen.errors import InvalidRequest
from imagegen.records import Limit
from imagegen.settings_values import RateLimit, nearest

EVERY_MODEL = "*"
Key = tuple[str, str]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Limits:
    """Limits by provider and model; a model without one of its own shares its provider's.

    `lifted` are of providers without a limit: whoever was parked under an earlier configuration is released by them.
    """

    by_key: Mapping[Key, Limit] = field(default_factory=dict)
    lifted: tuple[Limit, ...] = ()

    def of(self, provider: str, model: str) -> Limit | None:
        """The limit that a submission to this provider for this model must keep, or None."""
        return self.by_key.get((provider, model)) or self.by_key.get((provider, EVERY_MODEL))

    def __iter__(self) -> Iterator[Limit]:
        """Every limit that jobs may wait for."""
        yield from self.by_key.values()
        yield from self.lifted


def build(rate_limits: Mapping[str, RateLimit], in_flight: Mapping[str, int], catalog: Catalog, real: bool) -> Limits:
    """The limits told by the settings, keyed `provider` or `provider:model` there.

    While pictures are `real`, a provider without a rate of its own keeps the catalog's. A model's own rate replaces
    its provider's; its own number of generations at once is kept besides its provider's. Raises `InvalidRequest` for a
    model that its provider does not sell.
    """
    shipped = catalog.rates if real else {}
    paces = _keyed({**shipped, **rate_limits}, "IMAGEGEN_RATE_LIMITS", catalog)
    bounds = _keyed(in_flight, "IMAGEGEN_IN_FLIGHT", catalog)
    found: dict[Key, Limit] = {}
    for provider in dict.fromkeys(provider for provider, _ in [*paces, *bounds]):
        found |= _of_provider(provider, paces, bounds)
    free = [name for name in catalog.providers if (name, EVERY_MODEL) not in found]
    return Limits(found, tuple(Limit(provider=name, others=_models(name, found)) for name in free))


def _pace(rate: RateLimit | None) -> dict[str, Any]:
    """Slots `HEADROOM` further apart than the rate allows, used that share of its period late, never exceed its count:
    less than `period + slack` holds `count` of them, however some are late and others not."""
    if rate is None:
        return {}
    interval = timedelta(seconds=rate.seconds / rate.count * (1 + policies.HEADROOM))
    return {"interval": interval, "slack": timedelta(seconds=rate.seconds * policies.HEADROOM)}


def _of_provider(provider: str, paces: Mapping[Key, RateLimit], bounds: Mapping[Key, int]) -> dict[Key, Limit]:
    """A model that has no pace of its own shares its provider's slots, so it is bounded within its provider's limit."""
    every = (provider, EVERY_MODEL)
    total, shared = bounds.get(every), every in paces or every in bounds
    own = _models(provider, paces) if shared else _models(provider, [*paces, *bounds])
    limits = {
        (provider, model): Limit(
            provider=provider, model=model, **_pace(paces.get((provider, model))),
            in_flight=bounds.get((provider, model), total), total=total,
        )
        for model in sorted(own)
    }  # fmt: skip
    if shared:
        caps = {model: bounds[provider, model] for model in sorted(_models(provider, bounds) - own)}
        limits[every] = Limit(provider=provider, **_pace(paces.get(every)), in_flight=total, others=own, caps=caps)
    return limits


def _models(provider: str, keys: Iterable[Key]) -> frozenset[str]:
    return frozenset(model for name, model in keys if name == provider and model != EVERY_MODEL)


def _keyed(told: Mapping[str, Value], setting: str, catalog: Catalog) -> dict[Key, Value]:
    found: dict[Key, Value] = {}
    for name, value in told.items():
        provider, _, model = name.partition(":")
        found[provider, _canonical(provider, model, setting, catalog) if model else EVERY_MODEL] = value
    return found


def _canonical(provider: str, model: str, setting: str, catalog: Catalog) -> str:
    offer = catalog.offer(provider, model)
    if offer is not None:
        return offer.model.name
    sold = sorted({one.model.name for one in catalog.offers if one.provider == provider})
    guess = nearest(model, sold)
    remedy = f"Did you mean {provider}:{guess}? " if guess else ""
    raise InvalidRequest.of(
        setting, f"{provider} sells no {model!r}", f"{remedy}It sells {', '.join(sold) or 'nothing'}."
    )
