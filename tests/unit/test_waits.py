"""Waits that another side asks for, in each of their forms."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from imagegen import waits

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DATE, LATER = "Sat, 21 Nov 2026 12:00:10 GMT", "Sat, 21 Nov 2026 12:01:30 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": LATER}, 90.0),
        ({"Retry-After": "Sat, 21 Nov 2026 12:01:30 -0000"}, 90.0),
        ({"retry-after-ms": "850"}, 0.85),
        ({"retry-after-ms": "850", "Retry-After": "2"}, 2.0),
        ({"retry-after-ms": "2500", "Retry-After": "2"}, 2.5),
        ({"retry-after-ms": "soon", "Retry-After": "2"}, 2.0),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "1e300"}, waits.LONGEST),
        ({"Retry-After": "Sat, 21 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"Retry-After": "Sat, 21 Nov 2026 12:01:30 +99999999999999999999"}, None),
        ({"Retry-After": f"Sat, 21 Nov 2026 {'9' * 30}:01:30 GMT"}, None),
    ],
)
def test_headers_ask_for_a_wait(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, a moment and milliseconds are read, the longest counts, and no number breaks our arithmetic."""
    assert waits.asked_by(headers, NOW) == seconds


def test_a_moment_is_counted_from_the_answer_s_own_date() -> None:
    """Where no clock is given the server's is used; without its `Date` a moment says nothing."""
    assert waits.asked_by({"Retry-After": LATER, "Date": DATE}, None) == 80.0
    assert waits.asked_by({"Retry-After": LATER}, None) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("34s", 34.0), ("12.5s", 12.5), ("0.000000001s", 1e-9), ("-1s", 0.0), ("soon", None), (None, None), ({}, None)],
)
def test_a_duration_is_seconds_with_an_s(text: Any, seconds: float | None) -> None:
    """Fractions count; what is no duration is no wait."""
    assert waits.duration(text) == seconds
