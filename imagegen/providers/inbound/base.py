"""What a callback's signature comes to, whoever signed it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

TOLERANCE = timedelta(minutes=5)
"""How far a callback's time may be from ours, either way (Standard Webhooks, fal.ai, Google; kie.ai names none)."""

_SECONDS = re.compile(r"[0-9]{1,12}")


class Refusal(StrEnum):
    """Why a callback is not listened to."""

    UNSIGNED = "unsigned"
    FORGED = "forged"
    STALE = "stale"


@dataclass(frozen=True)
class Proof:
    """What was proven. `body`: these very bytes are the provider's; `delivery`: its own id of what it tells, the same
    for every repetition."""

    signed: bool = True
    body: bool = False
    delivery: str | None = None


UNPROVEN = Proof(signed=False)
"""There is no signature, or nothing to check it with: the address's token is all there is."""

Checked = Proof | Refusal


def in_time(seconds: str, now: datetime) -> bool:
    """Whether a header's seconds since 1970 are within `TOLERANCE` of now; what is no whole number is not."""
    if _SECONDS.fullmatch(seconds) is None:
        return False
    return abs(now.timestamp() - int(seconds)) <= TOLERANCE.total_seconds()


def found(headers: Mapping[str, str], *names: str) -> list[str] | None:
    """The values of these headers (`headers` in lower case), or None where one is missing or empty."""
    values = [headers.get(name, "") for name in names]
    return values if all(values) else None
