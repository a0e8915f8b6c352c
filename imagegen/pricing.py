"""What a picture costs: the upper price before it is bought, the actual one after. US dollars as `Decimal`.

A provider that sells pictures at a list price costs its price row, before and after. Google bills tokens: the estimate
adds to the picture's row what prompt, references and thinking may cost at most; the actual price is computed from
`usageMetadata`, because the published tables of tokens per picture contradict each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import ROUND_HALF_UP, ROUND_UP, Decimal
from typing import Any

from imagegen.catalog import Catalog, Offer, PriceRow, TokenPrices
from imagegen.errors import InvalidRequest

MILLION = Decimal(1_000_000)
CENT_FRACTION = Decimal("0.000001")
CHARACTERS_PER_TOKEN = 2
"""A careful figure: English has about four, Chinese one to two."""
REFERENCE_TOKENS = 1_120
"""Tokens of one picture sent along, at most (ai.google.dev/gemini-api/docs/image-generation)."""


def price_row(catalog: Catalog, offer: Offer, tier: str, today: date) -> PriceRow:
    """The row in force; raises `InvalidRequest` with the remedy where there is none: nothing is bought blindly."""
    row = catalog.price(offer.provider, offer.model.name, tier, today)
    if row is None:
        raise InvalidRequest.of(
            "model",
            f"{offer.model.name} at {offer.provider} has no price for {tier} on {today}",
            "Add a [[prices]] row for it to the file that IMAGEGEN_PRICES_FILE names, or ask for another model.",
        )
    return row


def estimate(catalog: Catalog, offer: Offer, row: PriceRow, *, references: int, prompt_length: int) -> Decimal:
    """The upper price of one picture: what admission reserves. `prompt_length` in characters, as sent."""
    tokens = catalog.tokens.get((offer.provider, offer.model.name))
    if tokens is None:
        return row.amount
    words = prompt_length // CHARACTERS_PER_TOKEN + 1 + references * REFERENCE_TOKENS
    extra = words * tokens.text_in + tokens.thoughts * tokens.text_out
    return row.amount + (extra / MILLION).quantize(CENT_FRACTION, ROUND_UP)


def actual_gemini(usage: Mapping[str, Any], tokens: TokenPrices) -> Decimal | None:
    """What Google bills for an answer's `usageMetadata`; None where it counts nothing.

    Output tokens that no detail calls text are taken as picture tokens, the dearer kind.
    """
    said, drawn = _output(usage)
    prompt, thoughts = _count(usage, "promptTokenCount"), _count(usage, "thoughtsTokenCount")
    if not prompt + said + drawn + thoughts:
        return None
    total = prompt * tokens.text_in + (said + thoughts) * tokens.text_out + drawn * tokens.image_out
    return (total / MILLION).quantize(CENT_FRACTION, ROUND_HALF_UP)


def produced(usage: Mapping[str, Any]) -> bool:
    """Whether the model gave out anything that is billed, thinking included."""
    return sum(_output(usage)) + _count(usage, "thoughtsTokenCount") > 0


def _output(usage: Mapping[str, Any]) -> tuple[int, int]:
    """Text and picture tokens of the candidates."""
    total = _count(usage, "candidatesTokenCount")
    details = usage.get("candidatesTokensDetails")
    rows = [row for row in details if isinstance(row, Mapping)] if isinstance(details, list) else []
    said = sum(_count(row, "tokenCount") for row in rows if row.get("modality") == "TEXT")
    drawn = sum(_count(row, "tokenCount") for row in rows if row.get("modality") == "IMAGE")
    if not drawn and not said:
        return 0, total
    return max(said, total - drawn) if drawn else said, drawn or max(0, total - said)


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
