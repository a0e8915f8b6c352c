"""What is kept of a paid answer before anything else: its bytes with their price, in one object of the store.

Two objects, or an object and a row, could be parted by a kill; then the books would settle an estimate for a picture
whose price was known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

_END = b"\n"


@dataclass(frozen=True, kw_only=True)
class Keepsake:
    """The bytes of a paid answer as they came, its price (None where untold) and what was used of what.

    `order`: the answer was no picture, but the provider's number for one.
    """

    data: bytes = field(default=b"", repr=False)
    actual: Decimal | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    order: str | None = None

    def packed(self) -> bytes:
        """One line of JSON, then the bytes."""
        actual = None if self.actual is None else str(self.actual)
        told = {"actual": actual, "usage": self.usage} | ({} if self.order is None else {"order": self.order})
        return json.dumps(told, default=str).encode() + _END + self.data

    @classmethod
    def unpacked(cls, kept: bytes) -> Keepsake:
        """What `packed` made; bytes alone, as earlier versions kept them, come back without a price."""
        if not kept.startswith(b'{"actual"'):
            return cls(data=kept)
        head, _, data = kept.partition(_END)
        told = json.loads(head)
        actual = None if told["actual"] is None else Decimal(told["actual"])
        return cls(data=data, actual=actual, usage=told["usage"], order=told.get("order"))
