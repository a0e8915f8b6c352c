"""The shipped facts fit together, and a user's price file is read with care."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from imagegen.catalog import Catalog, load
from imagegen.errors import InvalidRequest

TODAY = date(2026, 11, 21)
ROW = """
[[prices]]
provider = "nanobanana"
model = "nano-banana-2"
tier = "2K"
amount = "0.055"
valid_from = 2026-11-01
source = "my contract"
"""


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    """The shipped catalog."""
    return load()


def test_every_offer_can_be_drawn_and_paid(catalog: Catalog) -> None:
    """Each ratio and tier of each offer has its pixels and a price in force."""
    for offer in catalog.offers:
        assert set(offer.tiers) <= set(offer.model.tiers)
        for tier in offer.tiers:
            assert catalog.price(offer.provider, offer.model.name, tier, TODAY), (offer.provider, offer.id, tier)
            for ratio in offer.model.ratios:
                width, height = offer.model.pixels[ratio][tier]
                across, down = (int(part) for part in ratio.split(":"))
                assert width / height == pytest.approx(across / down, rel=0.05), (ratio, tier)


def test_tiers_are_listed_from_small_to_large(catalog: Catalog) -> None:
    """Selection takes the first tier that covers, so the order carries meaning."""
    for offer in catalog.offers:
        areas = [offer.model.pixels["1:1"][tier][0] for tier in offer.tiers]
        assert areas == sorted(areas)


def test_every_name_leads_somewhere(catalog: Catalog) -> None:
    """Defaults and replacements name models that exist, and every provider has its defaults and its rate."""
    for provider in catalog.providers:
        assert catalog.preferred(provider, "master_asset")
        assert catalog.preferred(provider, "inpaint")
        assert catalog.rates[provider].per_second > 0
    for lists in catalog.defaults.values():
        assert {name for names in lists.values() for name in names} <= set(catalog.models)
    ends = [offer.end_of_life.replacement for offer in catalog.offers if offer.end_of_life]
    assert set(ends) <= set(catalog.models)


def test_google_s_models_have_token_prices(catalog: Catalog) -> None:
    """What Google bills by token can be computed for each of its models."""
    for offer in catalog.offers:
        assert ((offer.provider, offer.model.name) in catalog.tokens) == (offer.provider == "gemini")


def test_money_is_exact(catalog: Catalog) -> None:
    """Amounts are decimals as written, never floats."""
    row = catalog.price("nanobanana", "nano-banana-pro", "4K", TODAY)
    assert row is not None
    assert (row.amount, row.confirmed) == (Decimal("0.18"), False)
    assert row.frozen() == {
        "provider": "nanobanana",
        "model": "nano-banana-pro",
        "tier": "4K",
        "amount": "0.18",
        "validFrom": "2026-01-01",
        "source": row.source,
        "confirmed": False,
    }


def test_a_model_is_found_by_either_name(catalog: Catalog) -> None:
    """The canonical name and the provider's own id mean the same offer."""
    assert catalog.offer("gemini", "gemini-3-pro-image") is catalog.offer("gemini", "nano-banana-pro") is not None
    assert catalog.offer("nanobanana", "gemini-3-pro-image") is None


def test_a_user_s_price_wins_from_its_day_on(tmp_path: Path) -> None:
    """The newest own row in force beats the shipped ones; before its day the shipped row holds."""
    path = tmp_path / "prices.toml"
    path.write_text(ROW + ROW.replace("0.055", "0.05").replace("2026-11-01", "2026-11-20"))
    catalog = load(path)

    def amount(day: date) -> Decimal:
        row = catalog.price("nanobanana", "nano-banana-2", "2K", day)
        assert row is not None
        return row.amount

    assert amount(TODAY) == Decimal("0.05")
    assert amount(date(2026, 11, 5)) == Decimal("0.055")
    assert amount(date(2026, 10, 31)) == Decimal("0.06")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('amount = "0.055"', "amount = 0.055"), "not a positive number in quotes"),
        (('amount = "0.055"', 'amount = "-1"'), "not a positive number"),
        (('amount = "0.055"', 'amount = "NaN"'), "not a positive number"),
        (('amount = "0.055"', 'amount = "Infinity"'), "not a positive number"),
        (('amount = "0.055"', 'amount = "cheap"'), "not a positive number"),
        (('tier = "2K"', 'tier = "8K"'), "which nobody sells"),
        (('model = "nano-banana-2"', 'model = "generate-2"'), "which nobody sells"),
        (("valid_from = 2026-11-01", 'valid_from = "today"'), "no date"),
        (("valid_from = 2026-11-01", "valid_from = 2026-11-01T00:00:00Z"), "no date"),
        (('source = "my contract"', ""), "lacks source"),
        (('source = "my contract"', 'source = "x"\ncurrency = "EUR"'), "unknown currency"),
        (("[[prices]]", "[[prices"), "cannot be read"),
        (('amount = "0.055"', 'amount = "0.0000001"'), "at most six decimals"),
        (('amount = "0.055"', 'amount = "1e9"'), "not a positive number"),
        (('provider = "nanobanana"', 'provider = ["nanobanana"]'), "no text as provider"),
        (('source = "my contract"', "source = 5"), "no text as source"),
        (("[[prices]]", "[[price]]"), "has price, and not"),
        (("[[prices]]", "[prices]"), "has one"),
        ((ROW, ROW + ROW), "row 2 .* an earlier row once more"),
    ],
)
def test_a_wrong_price_file_is_refused(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    """The file, the row and the reason are named, so that no price is silently ignored."""
    path = tmp_path / "prices.toml"
    path.write_text(ROW.replace(*change))
    with pytest.raises(InvalidRequest, match=told) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert caught.value.problems[0]["field"] == "IMAGEGEN_PRICES_FILE"


def test_a_missing_price_file_is_refused(tmp_path: Path) -> None:
    """A file that is named must be there."""
    with pytest.raises(InvalidRequest, match="cannot be read"):
        load(tmp_path / "none.toml")
