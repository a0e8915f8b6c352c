"""`imagegen.deliver`: hands due deliveries to the couriers of this process, and is done.

Couriers are threads of their own, because a receiver may hang for ten seconds and the sweep shares this queue's worker
with them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from uuid import UUID

from imagegen import policies
from imagegen.delivering import deliver
from imagegen.ports import Services
from tasks.celery import app
from tasks.hands import Hands, Hired
from tasks.stages import INFRASTRUCTURE


class Couriers(Hands):
    """Those who carry deliveries."""

    def __init__(self) -> None:
        super().__init__("deliver", policies.DELIVERY_THREADS, logging.getLogger(__name__))

    def hand(self, delivery_id: UUID, number: int, services: Services) -> bool:
        """Lets a courier make this attempt; False: the delivery is in hand."""
        return self.take(delivery_id, lambda: deliver(delivery_id, number, services))


couriers = Hired(Couriers)


@app.task(name="imagegen.deliver", **INFRASTRUCTURE)
def deliver_due(handed: Sequence[tuple[str, int]]) -> str:
    """Hands out deliveries: `[[id, number of the attempt], …]`; the sweep asks again for what is lost."""
    services, mine = app.services, couriers()
    taken = sum(mine.hand(UUID(key), number, services) for key, number in handed)
    return f"{taken} of {len(handed)} handed to couriers"
