"""Replicate: Standard Webhooks with the account's one secret; https://replicate.com/docs/reference/webhooks.

`GET /v1/webhooks/default/secret` tells the secret. Their own library leaves the age unchecked unless told; here it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from imagegen.providers.inbound import standard
from imagegen.providers.inbound.base import Checked


def verify(body: bytes, headers: Mapping[str, str], keys: Sequence[Any], now: datetime) -> Checked:
    """See `standard.verify`."""
    return standard.verify(body, headers, keys, now)
