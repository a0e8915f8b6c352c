"""Which model at which provider draws a request, in which ratio and size, and for how much at most.

Rules, in order:
1. The provider: the one asked for, else the first configured one that can serve.
2. The model: the one asked for (canonical name or the provider's own id), else the provider's preferred ones for the
   job type, those first that reach the size without enlarging. A model that has ended is refused, never replaced.
3. The ratio: the smallest |ln(w/h) - ln(rw/rh)| among those the model draws.
4. The tier: the smallest whose real pixels cover width and height; none does: the largest, with a warning.
5. The file format: JPEG, which decodes in a fifth of PNG's time and is scaled down and encoded anew anyway. PNG only
   for an inpaint job to be published as PNG, whose untouched parts must not gather JPEG noise edit after edit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from math import log
from typing import Any

from imagegen.catalog import Catalog, Offer, Pixels
from imagegen.contracts import Format, JobType
from imagegen.errors import InvalidRequest
from imagegen.pricing import estimate, price_row

SOON = timedelta(days=60)
"""How long before a model's end its users are warned."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What will be ordered. `model` canonical, `provider_model` the provider's own id, `pixels` what the tier gives.

    `format` to ask for (`jpeg` or `png`); `estimate` the upper price in US dollars; `price` the row behind it, frozen;
    `max_prompt` in characters; `warnings` for people.
    """

    provider: str
    model: str
    provider_model: str
    ratio: str
    tier: str
    pixels: Pixels
    format: str
    estimate: Decimal
    price: Mapping[str, Any]
    max_prompt: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    job_type: str
    width: int
    height: int
    references: int
    published: str
    prompt_length: int | None
    today: date


def select(
    catalog: Catalog,
    *,
    request_model: str | None,
    request_provider: str | None,
    job_type: str,
    width: int,
    height: int,
    references: int,
    providers: Sequence[str],
    today: date,
    published: str = Format.PNG,
    prompt_length: int | None = None,
) -> Choice:
    """The model, size and upper price for a request; raises `InvalidRequest` naming field, reason and remedy.

    `references` counts every picture sent along, source and mask of an edit included. `providers` are the configured
    ones, the preferred first. `published`: the format the user gets. `prompt_length`: characters of the prompt as sent
    (None: the longest the model takes, for the upper price).
    """
    wanted = _Wanted(
        job_type=job_type,
        width=width,
        height=height,
        references=references,
        published=published,
        prompt_length=prompt_length,
        today=today,
    )
    asked = _providers(catalog, request_provider, providers)
    if request_model is not None and not any(catalog.offer(name, request_model) for name in catalog.providers):
        raise InvalidRequest.of(
            "model", f"{request_model!r} is not known", f"Use one of {', '.join(catalog.known_models())}."
        )
    # Where one of them sells the model, what the others say of it is of no use.
    sellers = [name for name in asked if request_model is None or catalog.offer(name, request_model)]
    refusals: list[InvalidRequest] = []
    for provider in sellers or asked:
        try:
            return _at(catalog, provider, request_model, wanted)
        except InvalidRequest as refusal:
            refusals.append(refusal)
    raise refusals[0]


def cheaper(
    catalog: Catalog,
    *,
    than: Decimal,
    model: str,
    tier: str,
    ratio: str,
    request_provider: str | None,
    job_type: str,
    width: int,
    height: int,
    references: int,
    providers: Sequence[str],
    today: date,
    published: str,
    prompt_length: int,
) -> list[Choice]:
    """What else draws the picture for less `than` this upper price (US dollars), the dearest first.

    `model`, `tier` and `ratio` are those that cost as much: nothing that would be enlarged more takes their place. The
    rest is as in `select`, except that the model is free.
    """
    wanted = _Wanted(
        job_type=job_type, width=width, height=height, references=references, published=published,
        prompt_length=prompt_length, today=today,
    )  # fmt: skip
    enough = _enlargement(catalog.models[model].pixels[ratio][tier], wanted)
    found: list[Choice] = []
    for provider in _providers(catalog, request_provider, providers):
        for offer in catalog.offers:
            if offer.provider != provider or prompt_length > offer.max_prompt:
                continue
            try:
                choice = _choice(catalog, offer, wanted)
            except InvalidRequest:
                continue
            if choice.estimate < than and _enlargement(choice.pixels, wanted) <= enough:
                found.append(choice)
    return sorted(found, key=lambda choice: choice.estimate, reverse=True)


def _providers(catalog: Catalog, asked: str | None, configured: Sequence[str]) -> Sequence[str]:
    if asked is not None and asked not in catalog.providers:
        known = ", ".join(catalog.providers)
        raise InvalidRequest.of("provider", f"{asked!r} is not known", f"Use one of {known}.")
    if asked is not None and asked not in configured:
        ready = ", ".join(configured) or "none"
        raise InvalidRequest.of("provider", f"{asked!r} is not configured", f"Set its key, or use one of: {ready}.")
    usable = [asked] if asked is not None else [name for name in configured if name in catalog.providers]
    if not usable:
        raise InvalidRequest.of("provider", "no provider is configured", "Set a provider's key, or IMAGEGEN_PROVIDERS.")
    return usable


def _at(catalog: Catalog, provider: str, model: str | None, wanted: _Wanted) -> Choice:
    if model is None:
        return _preferred(catalog, provider, wanted)
    offer = catalog.offer(provider, model)
    if offer is None:
        sellers = [name for name in catalog.providers if catalog.offer(name, model)]
        raise InvalidRequest.of("model", f"{model!r} is not sold by {provider}", f"Ask {' or '.join(sellers)} for it.")
    return _choice(catalog, offer, wanted)


def _preferred(catalog: Catalog, provider: str, wanted: _Wanted) -> Choice:
    """The first preferred model that serves the size as it is; else the one that comes nearest to it."""
    choices: list[Choice] = []
    refusals: list[InvalidRequest] = []
    for offer in catalog.preferred(provider, wanted.job_type):
        try:
            choices.append(_choice(catalog, offer, wanted))
        except InvalidRequest as refusal:
            refusals.append(refusal)
    if not choices:
        raise refusals[0] if refusals else InvalidRequest.of(
            "model", f"{provider} has no default model", f"Name one of {', '.join(catalog.known_models())}."
        )  # fmt: skip
    return min(choices, key=lambda choice: _enlargement(choice.pixels, wanted))


def _choice(catalog: Catalog, offer: Offer, wanted: _Wanted) -> Choice:
    _refuse_dead(offer, wanted.today)
    if wanted.references > offer.max_references:
        raise InvalidRequest.of(
            "referenceImages",
            f"{wanted.references} pictures are sent along, {offer.model.name} at {offer.provider} takes "
            f"{offer.max_references}",
            "Send fewer (source image and mask count too), or choose another model.",
        )
    ratio = nearest_ratio(offer.model.ratios, wanted.width, wanted.height)
    tier = _tier(offer, ratio, wanted)
    row = price_row(catalog, offer, tier, wanted.today)
    length = offer.max_prompt if wanted.prompt_length is None else wanted.prompt_length
    pixels = offer.model.pixels[ratio][tier]
    return Choice(
        provider=offer.provider,
        model=offer.model.name,
        provider_model=offer.id,
        ratio=ratio,
        tier=tier,
        pixels=pixels,
        format=_format(wanted),
        estimate=estimate(catalog, offer, row, references=wanted.references, prompt_length=length),
        price=row.frozen(),
        max_prompt=offer.max_prompt,
        warnings=tuple(warning for check in _WARNINGS if (warning := check(offer, pixels, wanted))),
    )


def nearest_ratio(ratios: Sequence[str], width: int, height: int) -> str:
    """The ratio that loses least when width x height is cut from it; the first of equals."""

    def distance(ratio: str) -> float:
        across, down = ratio.split(":")
        return abs(log(width / height) - log(int(across) / int(down)))

    return min(ratios, key=distance)


def _tier(offer: Offer, ratio: str, wanted: _Wanted) -> str:
    sizes = [(tier, offer.model.pixels[ratio][tier]) for tier in offer.tiers]
    return next((tier for tier, pixels in sizes if _enlargement(pixels, wanted) <= 1.0), sizes[-1][0])


def _enlargement(pixels: Pixels, wanted: _Wanted) -> float:
    """By how much the picture must grow to cover the size asked for; 1.0 where it need not."""
    return max(1.0, wanted.width / pixels[0], wanted.height / pixels[1])


def _format(wanted: _Wanted) -> str:
    lossless = wanted.job_type == JobType.INPAINT and wanted.published == Format.PNG
    return "png" if lossless else "jpeg"


def _refuse_dead(offer: Offer, today: date) -> None:
    end = offer.end_of_life
    if end is not None and offer.dead(today):
        raise InvalidRequest.of(
            "model",
            f"{offer.model.name} ({offer.id}) ended at {offer.provider} on {end.date}",
            f"Use {end.replacement} instead.",
        )


def _warn_end(offer: Offer, _pixels: Pixels, wanted: _Wanted) -> str | None:
    end = offer.end_of_life
    if end is not None and end.date - wanted.today <= SOON:
        return f"{offer.model.name} ends at {offer.provider} on {end.date}: move to {end.replacement}"
    return None


def _warn_upstream(offer: Offer, _pixels: Pixels, wanted: _Wanted) -> str | None:
    end = offer.model.upstream_end
    if offer.end_of_life is None and end is not None and end - wanted.today <= SOON:
        ends = "ended" if end <= wanted.today else "ends"
        return (
            f"Google's own {offer.model.title} {ends} on {end}; {offer.provider} has published no date: "
            f"{offer.model.replacement} follows it"
        )
    return None


def _warn_size(offer: Offer, pixels: Pixels, wanted: _Wanted) -> str | None:
    if _enlargement(pixels, wanted) > 1.0:
        return (
            f"{offer.model.name} draws at most {pixels[0]}x{pixels[1]} in this shape; it is enlarged to "
            f"{wanted.width}x{wanted.height}"
        )
    return None


_WARNINGS: tuple[Callable[[Offer, Pixels, _Wanted], str | None], ...] = (_warn_end, _warn_upstream, _warn_size)
