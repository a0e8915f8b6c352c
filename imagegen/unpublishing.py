"""Taking back what was published of a job that ended without its picture."""

from __future__ import annotations

import logging

from imagegen import layout
from imagegen.errors import ImagegenError
from imagegen.jobs import Job
from imagegen.ports import Services
from imagegen.recording import patiently
from imagegen.states import Status

log = logging.getLogger(__name__)


def unpublish(job: Job, services: Services) -> None:
    """Deletes the job's published picture and thumbnail, where there are any.

    An object store that refuses or is away is only logged: nobody was told the address.
    """
    keys = layout.picture_keys(job)
    for key in (keys.picture, keys.thumbnail):
        try:
            services.blobs.delete(key)
        except ImagegenError as error:
            log.warning("job %s ended without its picture, of which %s stays: %s", job.id, key, error)


def unpublish_if_cancelled(job: Job, services: Services) -> None:
    """For whoever published a picture and found its job gone: nothing else deletes what came after the cancelling."""
    found = patiently(lambda: services.jobs.get(job.id), services.clock)
    if found.status is Status.CANCELLED:
        unpublish(job, services)
