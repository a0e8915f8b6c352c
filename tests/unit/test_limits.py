"""Limits from settings and catalog."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from imagegen import catalog, policies
from imagegen.errors import InvalidRequest
from imagegen.limits import Limits, build
from imagegen.settings import Settings

CATALOG = catalog.load()
MODEL, OTHER = "nano-banana-2", "nano-banana-pro"


def limits(tmp_path: Path, rates: str = "", in_flight: str = "", *, real: bool = False) -> Limits:
    """What the settings say."""
    told = Settings.load({"IMAGEGEN_RATE_LIMITS": rates, "IMAGEGEN_IN_FLIGHT": in_flight}, tmp_path)
    return build(told.rate_limits, told.in_flight, CATALOG, real)


def apart(seconds: float) -> timedelta:
    """The time between two slots of a rate that allows one in so many seconds."""
    return timedelta(seconds=seconds * (1 + policies.HEADROOM))


def test_emulated_providers_have_none(tmp_path: Path) -> None:
    """Nothing is limited unless it is set; what was parked under earlier settings is released."""
    found = limits(tmp_path)
    assert not found.by_key
    assert found.of("gemini", MODEL) is None
    assert {limit.provider for limit in found} == set(CATALOG.providers)
    assert all((limit.interval, limit.in_flight) == (None, None) for limit in found)


def test_real_providers_have_the_catalogs(tmp_path: Path) -> None:
    """Documented rates hold where no other is set."""
    found = limits(tmp_path, "nanobanana=2/s", real=True)
    shipped = {name: found.by_key[name, "*"].interval for name in CATALOG.rates}
    assert shipped == {"gemini": apart(1), "nanobanana": apart(0.5)}
    assert found.lifted == tuple(limit for limit in found if limit.provider not in CATALOG.rates)


def test_slots_never_exceed_the_rate(tmp_path: Path) -> None:
    """However late submissions are within the slack, no window holds more than the rate's count."""
    for text, count, period in [("60/m", 60, 60), ("20/10s", 20, 10), ("1/s", 1, 1), ("7/h", 7, 3600)]:
        limit = limits(tmp_path, f"gemini={text}").of("gemini", MODEL)
        assert limit is not None
        assert limit.interval is not None
        assert count * limit.interval >= timedelta(seconds=period) + limit.slack


def test_the_most_specific_rate_wins(tmp_path: Path) -> None:
    """A model with a rate has slots of its own; the others share their provider's; the providers' ids are known."""
    own = next(offer.id for offer in CATALOG.offers if (offer.provider, offer.model.name) == ("gemini", OTHER))
    found = limits(tmp_path, f"gemini=60/m,gemini:{own}=6/m", "gemini=40")
    pro, every = found.of("gemini", OTHER), found.of("gemini", MODEL)
    assert pro is not None
    assert every is not None
    assert (pro.model, pro.interval, pro.in_flight, pro.total) == (OTHER, apart(10), 40, 40)
    assert (every.model, every.interval, every.in_flight, every.others) == ("*", apart(1), 40, frozenset({OTHER}))


def test_a_bounded_model_shares_its_providers_slots(tmp_path: Path) -> None:
    """Its number of generations at once is a cap within the provider's limit, so both go by one order."""
    found = limits(tmp_path, "gemini=60/m", f"gemini:{OTHER}=3")
    assert found.of("gemini", OTHER) is found.of("gemini", MODEL)
    limit = found.by_key["gemini", "*"]
    assert (limit.interval, limit.in_flight, limit.caps) == (apart(1), None, {OTHER: 3})
    alone = limits(tmp_path, in_flight=f"gemini:{OTHER}=3")
    assert alone.of("gemini", MODEL) is None
    pro = alone.of("gemini", OTHER)
    assert pro is not None
    assert (pro.in_flight, pro.interval, pro.total) == (3, None, None)
    assert [limit.others for limit in alone.lifted if limit.provider == "gemini"] == [{OTHER}]


@pytest.mark.parametrize("setting", ["IMAGEGEN_RATE_LIMITS", "IMAGEGEN_IN_FLIGHT"])
def test_a_model_nobody_sells(tmp_path: Path, setting: str) -> None:
    """The error names the setting, the model and the nearest one."""
    value = "gemini:nano-bananna-pro=3" + ("/m" if setting.endswith("LIMITS") else "")
    told = Settings.load({setting: value}, tmp_path)
    with pytest.raises(InvalidRequest) as caught:
        build(told.rate_limits, told.in_flight, CATALOG, False)
    problem = caught.value.details["problems"][0]
    assert problem["field"] == setting
    assert "gemini sells no 'nano-bananna-pro'" in problem["reason"]
    assert "Did you mean gemini:nano-banana-pro?" in problem["remedy"]


@pytest.mark.parametrize("value", ["gemini=0", "gemini=-1", "gemini=many", "gemini", "gemni=3", "gemini=1.5"])
def test_in_flight_that_is_no_number(tmp_path: Path, value: str) -> None:
    """Whole numbers from 1 on, for a provider that exists."""
    with pytest.raises(InvalidRequest, match="IMAGEGEN_IN_FLIGHT"):
        Settings.load({"IMAGEGEN_IN_FLIGHT": value}, tmp_path)


def test_config_shows_both(tmp_path: Path) -> None:
    """`imagegen config` prints them as they are written."""
    told = Settings.load({"IMAGEGEN_IN_FLIGHT": "gemini=40,nanobanana:nano-banana-pro=10"}, tmp_path)
    shown = {row.name: row.value for row in told.describe()}
    assert shown["IMAGEGEN_IN_FLIGHT"] == "gemini=40,nanobanana:nano-banana-pro=10"
