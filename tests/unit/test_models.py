"""Which model, ratio, tier and format a request gets, and which requests are refused with what remedy."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen.catalog import Catalog, load
from imagegen.errors import InvalidRequest
from imagegen.models import Choice, select

TODAY = date(2026, 11, 21)
CATALOG = load()


def choose(catalog: Catalog = CATALOG, **wanted: Any) -> Choice:
    """`select` with everyday values for what a test does not care about."""
    usual: dict[str, Any] = {
        "request_model": None,
        "request_provider": None,
        "job_type": "master_asset",
        "width": 1024,
        "height": 1024,
        "references": 0,
        "providers": ("nanobanana", "gemini"),
        "today": TODAY,
    }
    return select(catalog, **{**usual, **wanted})


@pytest.mark.parametrize(
    ("size", "ratio", "tier", "pixels"),
    [
        ((1920, 1080), "16:9", "2K", (2752, 1536)),
        ((1280, 720), "16:9", "1K", (1376, 768)),
        ((1080, 1920), "9:16", "2K", (1536, 2752)),
        ((3840, 2160), "16:9", "4K", (5504, 3072)),
        ((1024, 1024), "1:1", "1K", (1024, 1024)),
        ((1025, 1024), "1:1", "2K", (2048, 2048)),
        ((2560, 1080), "21:9", "2K", (3168, 1344)),
        ((4000, 500), "8:1", "2K", (6144, 768)),
    ],
)
def test_a_size_maps_to_ratio_and_tier(size: tuple[int, int], ratio: str, tier: str, pixels: tuple[int, int]) -> None:
    """The nearest ratio, then the smallest tier whose real pixels cover the size: full HD needs 2K, not 1K."""
    choice = choose(width=size[0], height=size[1])
    assert (choice.ratio, choice.tier, choice.pixels) == (ratio, tier, pixels)


@given(st.integers(64, 8192), st.integers(64, 8192), st.sampled_from(["nanobanana", "gemini"]))
def test_every_size_finds_a_model(width: int, height: int, provider: str) -> None:
    """Any size a request may have gets a choice, and one that must be enlarged says so."""
    choice = choose(width=width, height=height, request_provider=provider)
    covers = choice.pixels[0] >= width and choice.pixels[1] >= height
    assert covers or any("enlarged" in warning for warning in choice.warnings)
    assert choice.estimate > 0


def test_the_first_configured_provider_serves() -> None:
    """The user's order of providers decides where a request names none."""
    assert choose().provider == "nanobanana"
    first = choose(providers=("gemini", "nanobanana"))
    assert (first.provider, first.model, first.provider_model) == (
        "gemini",
        "nano-banana-2.1",
        "gemini-nano-banana-2.1",
    )


def test_a_provider_that_cannot_is_passed_over() -> None:
    """A model that only the second provider sells is bought there."""
    choice = choose(request_model="nano-banana-2.1")
    assert (choice.provider, choice.estimate > Decimal("0.0336")) == ("gemini", True)


@pytest.mark.parametrize("name", ["nano-banana-pro", "gemini-3-pro-image"])
def test_a_model_may_be_named_either_way(name: str) -> None:
    """The canonical name and the provider's own id choose the same."""
    choice = choose(request_model=name, request_provider="gemini")
    assert (choice.model, choice.provider_model) == ("nano-banana-pro", "gemini-3-pro-image")


def test_a_list_price_is_the_estimate() -> None:
    """Where pictures are sold by the piece, the upper price is the row, which is kept with it."""
    choice = choose(width=1920, height=1080)
    assert choice.estimate == Decimal("0.06")
    assert choice.price["amount"] == "0.06"
    assert choice.price["confirmed"] is False


def test_a_default_reaches_the_size() -> None:
    """Among the preferred models the first that needs no enlarging is taken, even if it is not the first."""
    defaults = {"gemini": {"any": ["nano-banana-2-lite", "nano-banana-pro"]}}
    catalog = replace(CATALOG, defaults=defaults)
    assert choose(catalog, providers=("gemini",), width=1920, height=1080).model == "nano-banana-pro"
    assert choose(catalog, providers=("gemini",), width=800, height=800).model == "nano-banana-2-lite"
    assert choose(catalog, providers=("gemini",), width=6000, height=6000).tier == "4K"


def test_a_default_takes_the_references() -> None:
    """Nine references pass over a default that takes eight."""
    catalog = replace(CATALOG, defaults={"nanobanana": {"any": ["nano-banana-pro", "nano-banana-2"]}})
    assert choose(catalog, references=8).model == "nano-banana-pro"
    assert choose(catalog, references=9).model == "nano-banana-2"


def test_too_many_references_are_refused() -> None:
    """More pictures than the model takes: refused before money is spent, with both numbers."""
    with pytest.raises(InvalidRequest, match=r"referenceImages: 9 .*takes 8"):
        choose(request_model="nano-banana-pro", request_provider="nanobanana", references=9)


def test_a_dead_model_is_refused_by_name_and_replacement() -> None:
    """From its last day on a model is refused, never silently replaced; the refusal names what to use."""
    for name in ("nano-banana-2", "gemini-3.1-flash-image"):
        with pytest.raises(InvalidRequest, match=r"ended at gemini on 2026-10-29\. Use nano-banana-2\.1 instead"):
            choose(request_model=name, request_provider="gemini")
    assert choose(request_model="nano-banana-2", request_provider="gemini", today=date(2026, 10, 28)).warnings


def test_a_model_near_its_end_warns() -> None:
    """Sixty days before the end the warning begins."""
    wanted: dict[str, Any] = {"request_model": "nano-banana-2", "request_provider": "gemini"}
    assert "2026-10-29" in choose(**wanted, today=date(2026, 8, 30)).warnings[0]
    assert not choose(**wanted, today=date(2026, 8, 29)).warnings


def test_a_reseller_s_model_that_google_ended_warns() -> None:
    """The reseller has published no end, so the job goes on, and its owner learns of the risk."""
    choice = choose(request_model="nano-banana", request_provider="nanobanana")
    assert "Google's own Nano Banana ended on 2026-10-02" in choice.warnings[0]


def test_an_unknown_model_names_the_known_ones() -> None:
    """The refusal of a misspelt model lists what there is."""
    with pytest.raises(InvalidRequest, match=r"model: 'nano-bananna' is not known.*nano-banana-2\.1") as caught:
        choose(request_model="nano-bananna")
    assert caught.value.problems[0]["field"] == "model"


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"request_provider": "openai"}, "provider: 'openai' is not known. Use one of nanobanana, gemini"),
        ({"request_provider": "gemini", "providers": ("nanobanana",)}, "provider: 'gemini' is not configured"),
        ({"providers": ()}, "no provider is configured"),
        ({"request_model": "nano-banana-2.1", "request_provider": "nanobanana"}, "Ask gemini for it"),
    ],
)
def test_an_impossible_provider_is_refused_with_a_remedy(wanted: dict[str, Any], told: str) -> None:
    """Unknown, not configured and not selling are told apart."""
    with pytest.raises(InvalidRequest, match=told):
        choose(**wanted)


def test_a_model_without_a_price_is_refused_with_the_remedy() -> None:
    """Nothing is bought at an unknown price; the refusal says where to write it down."""
    catalog = replace(CATALOG, prices=())
    with pytest.raises(InvalidRequest, match="IMAGEGEN_PRICES_FILE"):
        choose(catalog)


def test_the_cheapest_format_is_asked_for() -> None:
    """JPEG for everything but an edit published as PNG."""
    assert choose().format == "jpeg"
    assert choose(job_type="inpaint").format == "png"
    assert choose(job_type="inpaint", published="jpeg").format == "jpeg"


def test_a_longer_prompt_raises_the_upper_price() -> None:
    """Where tokens are billed, prompt, references and thinking are allowed for; an unknown prompt counts as longest."""
    wanted: dict[str, Any] = {"providers": ("gemini",)}
    short, long = choose(**wanted, prompt_length=100), choose(**wanted, prompt_length=10_000)
    assert Decimal("0.0336") < short.estimate < long.estimate < choose(**wanted).estimate
    assert choose(**wanted, prompt_length=100, references=2).estimate > short.estimate


def test_a_dead_model_is_refused_by_who_sold_it() -> None:
    """A provider's own id of a dead model names its replacement, whichever provider comes first."""
    with pytest.raises(InvalidRequest) as caught:
        choose(request_model="gemini-2.5-flash-image")
    assert "nano-banana-2.1" in str(caught.value)
