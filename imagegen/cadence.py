"""When to ask a provider: learnt from what its model took before, then backing off."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from imagegen import policies
from imagegen.errors import PartUnavailable
from imagegen.jobs import Job

if TYPE_CHECKING:
    from imagegen.ports import Services

log = logging.getLogger(__name__)

LEARN_EVERY = 20.0
"""Seconds between two looks at a model's latencies."""

EARLY, EARLIER = 0.15, 0.6
"""The first poll comes at this share of this quantile of the known latencies: these were measured when a poll saw the
picture, so whoever polled no earlier than that would never learn that a model became faster."""

PATIENCE = 0.07
"""The next poll comes after this share of the time already waited: about 7 % of lag at most."""


@dataclass
class Learnt:
    """One process's memory of latencies; losing it costs one query."""

    at: dict[tuple[str, str], float] = field(default_factory=dict)
    first: dict[tuple[str, str], timedelta] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


def first_poll(job: Job, services: Services) -> timedelta:
    """How long after its submission the first poll of this job is worth its call."""
    key, now, learnt = (job.provider, job.model), services.clock.monotonic(), services.learnt
    with learnt.lock:
        if now - learnt.at.get(key, float("-inf")) < LEARN_EVERY:
            return learnt.first[key]
    try:
        latencies = sorted(services.jobs.latencies(job.provider, job.model))
    except PartUnavailable as error:
        # The order is paid: it is written down, whatever else cannot be looked up.
        log.warning("no latencies of %s: %s", job.model, error)
        return policies.POLL_UNKNOWN
    if not latencies:
        return policies.POLL_UNKNOWN
    first = timedelta(seconds=max(0.0, latencies[int(len(latencies) * EARLY)] * EARLIER))
    with learnt.lock:
        learnt.first[key], learnt.at[key] = first, now
    return first


def next_poll(job: Job, services: Services) -> timedelta:
    """How long until the next poll of a job that was still running."""
    waited = services.clock.now() - (job.submitted_at or job.updated_at)
    return min(max(waited * PATIENCE, policies.POLL_SHORTEST), policies.POLL_LONGEST)
