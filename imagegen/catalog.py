"""The catalog: models, who sells them, in which sizes, at which price. Facts are in `catalog.toml`, rules elsewhere."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from imagegen.errors import InvalidRequest
from imagegen.settings_values import RateLimit, parse_rates

Pixels = tuple[int, int]
_ROW = {"provider", "model", "tier", "amount", "valid_from", "source"}
_MOST, _EXACT = Decimal(10_000), Decimal("0.000001")
"""A price in US dollars is below the one and a multiple of the other: what the books can hold."""


@dataclass(frozen=True, kw_only=True)
class EndOfLife:
    """From `date` on the provider no longer answers for the model; `replacement` is a canonical name."""

    date: date
    replacement: str
    source: str


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """A model under the name that all providers share here. `pixels[ratio][tier]` is what it really draws."""

    name: str
    title: str
    ratios: tuple[str, ...]
    tiers: tuple[str, ...]
    pixels: Mapping[str, Mapping[str, Pixels]]
    upstream_end: date | None = None
    replacement: str | None = None


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A model at one provider. `id`: the provider's own name or endpoint; `tiers` as sold there.

    `formats`: file formats one may choose (empty: the provider decides); `sends_tier`: whether the size is sent;
    `thinking`: the thinking level to ask for, None where none may be sent; `max_prompt` in characters.
    """

    provider: str
    model: ModelFacts
    id: str
    tiers: tuple[str, ...]
    max_references: int
    max_prompt: int
    formats: tuple[str, ...] = ()
    sends_tier: bool = True
    thinking: str | None = None
    end_of_life: EndOfLife | None = None

    def dead(self, today: date) -> bool:
        """Whether the provider has ended it."""
        return self.end_of_life is not None and self.end_of_life.date <= today


@dataclass(frozen=True, kw_only=True)
class PriceRow:
    """US dollars for one picture from `valid_from` on; `confirmed` false: no price list of the provider says so."""

    provider: str
    model: str
    tier: str
    amount: Decimal
    valid_from: date
    source: str
    confirmed: bool = True

    def frozen(self) -> dict[str, Any]:
        """The row as JSON, kept with the ledger line it priced."""
        return {
            "provider": self.provider,
            "model": self.model,
            "tier": self.tier,
            "amount": str(self.amount),
            "validFrom": self.valid_from.isoformat(),
            "source": self.source,
            "confirmed": self.confirmed,
        }


@dataclass(frozen=True, kw_only=True)
class TokenPrices:
    """US dollars per million tokens; `thoughts`: thinking tokens that an estimate allows for."""

    text_in: Decimal
    text_out: Decimal
    image_out: Decimal
    thoughts: int


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """Everything that can be bought. Made by `load`."""

    dated: date
    models: Mapping[str, ModelFacts]
    offers: tuple[Offer, ...]
    defaults: Mapping[str, Mapping[str, Sequence[str]]]
    prices: tuple[PriceRow, ...]
    own_prices: tuple[PriceRow, ...]
    tokens: Mapping[tuple[str, str], TokenPrices]
    rates: Mapping[str, RateLimit]

    @cached_property
    def providers(self) -> tuple[str, ...]:
        """Ids of the providers that sell anything."""
        return tuple(dict.fromkeys(offer.provider for offer in self.offers))

    @cached_property
    def _by_name(self) -> dict[tuple[str, str], Offer]:
        own = {(offer.provider, offer.id): offer for offer in self.offers}
        return own | {(offer.provider, offer.model.name): offer for offer in self.offers}

    def offer(self, provider: str, model: str) -> Offer | None:
        """What the provider sells under a canonical name or its own id, or None."""
        return self._by_name.get((provider, model))

    def known_models(self) -> list[str]:
        """Canonical names, then the providers' own ids."""
        return [*self.models, *(offer.id for offer in self.offers)]

    def preferred(self, provider: str, job_type: str) -> list[Offer]:
        """The provider's models for a request that names none, the preferred first."""
        lists = self.defaults.get(provider, {})
        names = lists.get(job_type, lists.get("any", ()))
        return [offer for name in names if (offer := self.offer(provider, name)) is not None]

    def price(self, provider: str, model: str, tier: str, today: date) -> PriceRow | None:
        """The newest row in force today; the user's own rows before the shipped ones."""
        for rows in (self.own_prices, self.prices):
            valid = [
                row
                for row in rows
                if (row.provider, row.model, row.tier) == (provider, model, tier) and row.valid_from <= today
            ]
            if valid:
                return max(valid, key=lambda row: row.valid_from)
        return None


def load(prices_file: Path | str | None = None) -> Catalog:
    """The shipped catalog with the price rows of `prices_file` (IMAGEGEN_PRICES_FILE) before its own.

    Raises `InvalidRequest` naming the file, the row and what is wrong with it.
    """
    data = tomllib.loads(resources.files("imagegen").joinpath("catalog.toml").read_text(encoding="utf-8"))
    models = {name: _model(name, facts, data["pixels"]) for name, facts in data["models"].items()}
    catalog = Catalog(
        dated=data["dated"],
        models=models,
        offers=tuple(_offer(row, models) for row in data["offers"]),
        defaults=data["defaults"],
        prices=tuple(_price(row) for row in data["prices"]),
        own_prices=(),
        tokens={(row["provider"], row["model"]): _tokens(row) for row in data["tokens"]},
        rates={name: parse_rates(f"{name}={row['limit']}")[name] for name, row in data["rates"].items()},
    )
    if prices_file is None:
        return catalog
    return replace(catalog, own_prices=_own_prices(Path(prices_file), catalog))


def _model(name: str, facts: Mapping[str, Any], tables: Mapping[str, Any]) -> ModelFacts:
    table = {
        ratio: {tier: _pixels(size) for tier, size in sizes.items() if tier in facts["tiers"]}
        for ratio, sizes in tables[facts["pixels"]].items()
        if ratio in facts["ratios"]
    }
    return ModelFacts(
        name=name,
        title=facts["title"],
        ratios=tuple(facts["ratios"]),
        tiers=tuple(facts["tiers"]),
        pixels=table,
        upstream_end=facts.get("upstream_end"),
        replacement=facts.get("replacement"),
    )


def _pixels(text: str) -> Pixels:
    width, height = text.split("x")
    return int(width), int(height)


def _offer(row: Mapping[str, Any], models: Mapping[str, ModelFacts]) -> Offer:
    model = models[row["model"]]
    end = row.get("end_of_life")
    return Offer(
        provider=row["provider"],
        model=model,
        id=row["id"],
        tiers=tuple(row.get("tiers", model.tiers)),
        max_references=row["max_references"],
        max_prompt=row["max_prompt"],
        formats=tuple(row.get("formats", ())),
        sends_tier=row.get("sends_tier", True),
        thinking=row.get("thinking"),
        end_of_life=EndOfLife(**end) if end else None,
    )


def _price(row: Mapping[str, Any]) -> PriceRow:
    return PriceRow(**{**row, "amount": Decimal(row["amount"])})


def _tokens(row: Mapping[str, Any]) -> TokenPrices:
    prices = {name: Decimal(row[name]) for name in ("text_in", "text_out", "image_out")}
    return TokenPrices(**prices, thoughts=row["thoughts"])


def _own_prices(path: Path, catalog: Catalog) -> tuple[PriceRow, ...]:
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidRequest.of(
            "IMAGEGEN_PRICES_FILE", f"{path} cannot be read: {error}", "Give a TOML file of [[prices]] rows."
        ) from None
    rows = told.pop("prices", [])
    if told or not isinstance(rows, list):
        raise _unusable(f"{path} has {', '.join(told) or 'one [prices]'}, and not a list of [[prices]] alone")
    found: dict[tuple[Any, ...], PriceRow] = {}
    for number, row in enumerate(rows, start=1):
        reason = _row_problem(row, catalog)
        key = () if reason else (row["provider"], row["model"], row["tier"], row["valid_from"])
        if key in found:
            reason = "tells the price of an earlier row once more"
        if reason:
            raise _unusable(f"row {number} of {path} {reason}")
        found[key] = _price(row)
    return tuple(found.values())


def _unusable(reason: str) -> InvalidRequest:
    return InvalidRequest.of(
        "IMAGEGEN_PRICES_FILE", reason,
        'Write [[prices]] rows of provider, model, tier, amount = "0.04", valid_from = 2026-11-21 and source.',
    )  # fmt: skip


def _row_problem(row: Any, catalog: Catalog) -> str | None:
    """What is wrong with a user's price row, or None."""
    if not isinstance(row, Mapping):
        return "is no table"
    missing, unknown = _ROW - set(row), set(row) - _ROW - {"confirmed"}
    if missing or unknown:
        return f"lacks {', '.join(sorted(missing))}" if missing else f"has the unknown {', '.join(sorted(unknown))}"
    words = [name for name in ("provider", "model", "tier", "source") if not isinstance(row[name], str)]
    if words:
        return f"has no text as {', '.join(words)}"
    offer = catalog.offer(row["provider"], row["model"])
    if offer is None or offer.model.name != row["model"] or row["tier"] not in offer.tiers:
        return f"names {row['provider']} {row['model']} {row['tier']}, which nobody sells"
    if type(row["valid_from"]) is not date:
        return "has a valid_from that is no date"
    try:
        amount = Decimal(row["amount"]) if isinstance(row["amount"], str) else Decimal(0)
    except InvalidOperation:
        amount = Decimal(0)
    if amount.is_finite() and 0 < amount < _MOST and amount == amount.quantize(_EXACT):
        return None
    return f"has the amount {row['amount']!r}, not a positive number in quotes with at most six decimals"
