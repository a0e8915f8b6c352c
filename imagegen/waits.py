"""How long the other side asks us to wait, in every form that answers have. Pure.

Retry-After: 17                               seconds, also with a fraction (RFC 9110 10.2.3 has whole ones)
Retry-After: Sat, 21 Nov 2026 12:01:30 GMT    a moment
retry-after-ms: 850                           milliseconds, as Google's SDK reads it
{"retryDelay": "12.5s"}                       google.rpc.RetryInfo in an error's details
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST = 7 * 24 * 3600.0
"""Seconds. More than a week is no answer to live by; a number without end would break our arithmetic."""


def asked_by(headers: Mapping[str, str], now: datetime | None) -> float | None:
    """Seconds from `now` that the headers ask for, the longer of several; None where they ask for nothing.

    `headers` are found in any case of letters. Without `now` a moment is counted from the answer's own `Date`.
    """
    after, thousandth = headers.get("Retry-After", ""), _number(headers.get("retry-after-ms", ""))
    asked = [_number(after), None if thousandth is None else thousandth / 1000]
    if asked[0] is None:
        asked.append(_until(after, now or _moment(headers.get("Date", ""))))
    return longest(*asked)


def duration(text: object) -> float | None:
    """A protobuf duration such as "34s" or "600.5s", in seconds; None where it is none."""
    return longest(_number(str(text).removesuffix("s")))


def longest(*asked: float | None) -> float | None:
    """The longest wait asked for, neither negative nor beyond `LONGEST`."""
    known = [wait for wait in asked if wait is not None]
    return min(LONGEST, max(0.0, *known)) if known else None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _until(text: str, now: datetime | None) -> float | None:
    moment = _moment(text)
    return None if moment is None or now is None else (moment - now).total_seconds()


def _moment(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
