"""nanobananaapi.ai signs nothing (https://docs.nanobananaapi.ai, callbacks): the address's token is all there is."""

from __future__ import annotations

from imagegen.providers.inbound.base import UNPROVEN, Checked


def verify() -> Checked:
    """Nothing is proven, so the record is read again with our key before anything moves."""
    return UNPROVEN
