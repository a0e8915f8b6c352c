"""`imagegen.collect`: hands the search for an ended job's paid picture to a collector of this process, and is done.

Collectors are threads of their own: a provider's file server may hang for twenty seconds, an object store for longer,
and after an outage there may be hundreds of pictures to look for, while the sweep shares this queue's worker with them.
"""

from __future__ import annotations

import logging
from uuid import UUID

from imagegen import collecting, policies
from imagegen.ports import Services
from tasks.celery import app
from tasks.hands import Hands, Hired
from tasks.stages import INFRASTRUCTURE

log = logging.getLogger(__name__)

collectors = Hired(lambda: Hands("collect", policies.COLLECTORS, log))


def hand(attempt_id: UUID, services: Services) -> str:
    """Lets a collector look for the picture of this attempt, unless one does already."""

    def look() -> None:
        log.info("attempt %s: %s", attempt_id, collecting.collect(attempt_id, services))

    return "handed to a collector" if collectors().take(attempt_id, look) else "in hand"


@app.task(name="imagegen.collect", **INFRASTRUCTURE)
def collect(attempt_id: str) -> str:
    """Has the picture looked for; the sweep asks again until it is found or given up."""
    return hand(UUID(attempt_id), app.services)
