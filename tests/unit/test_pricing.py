"""What Google's token counts cost, with all their gaps."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from imagegen.catalog import load
from imagegen.pricing import actual_gemini, produced

TOKENS = load().tokens["gemini", "nano-banana-2.1"]
IMAGE = [{"modality": "IMAGE", "tokenCount": 1120}]


@pytest.mark.parametrize(
    ("usage", "dollars"),
    [
        (
            {
                "promptTokenCount": 9,
                "candidatesTokenCount": 1120,
                "thoughtsTokenCount": 200,
                "candidatesTokensDetails": IMAGE,
            },
            "0.035114",
        ),
        ({"promptTokenCount": 9, "candidatesTokenCount": 1120}, "0.033614"),
        ({"candidatesTokenCount": 1220, "candidatesTokensDetails": IMAGE}, "0.034350"),
        (
            {
                "candidatesTokenCount": 1220,
                "candidatesTokensDetails": [*IMAGE, {"modality": "TEXT", "tokenCount": 100}],
            },
            "0.034350",
        ),
        (
            {"candidatesTokenCount": 40, "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 40}]},
            "0.000300",
        ),
        ({"promptTokenCount": 1000}, "0.001500"),
        ({"promptTokenCount": 9, "thoughtsTokenCount": 100}, "0.000764"),
        ({"candidatesTokensDetails": IMAGE}, "0.033600"),
    ],
)
def test_usage_is_priced_by_kind(usage: dict[str, Any], dollars: str) -> None:
    """Prompt, text with thinking, and picture tokens each have their price; undetailed output is a picture's."""
    assert actual_gemini(usage, TOKENS) == Decimal(dollars)


@pytest.mark.parametrize(
    "usage", [{}, {"promptTokenCount": 0}, {"promptTokenCount": "9"}, {"candidatesTokensDetails": "no list"}]
)
def test_no_count_is_no_price(usage: dict[str, Any]) -> None:
    """Where nothing usable is counted the price is unknown, not zero."""
    assert actual_gemini(usage, TOKENS) is None
    assert not produced(usage)


def test_thinking_alone_is_billed_output() -> None:
    """A call blocked after thinking produced something that costs."""
    assert produced({"promptTokenCount": 9, "thoughtsTokenCount": 5})
    assert not produced({"promptTokenCount": 9})
