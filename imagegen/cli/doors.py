"""Where requests of the command line go: to the services themselves, or, in a bare wheel, through the broker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

import click

from imagegen.cli.context import NoWorkerApp, admission, join_running, services_of, settings_here
from imagegen.cli.output import Document
from imagegen.client import CeleryClient, Client
from imagegen.clock import SystemClock
from imagegen.contracts import BatchRequest, ImageRequest
from imagegen.errors import NotFound, StillRunning
from imagegen.ports import Clock, Services
from imagegen.records import Admitted, Event


class Door(Protocol):
    """What `submit`, `batch`, `show` and `watch` need."""

    def submit(self, request: ImageRequest) -> Document: ...

    def submit_batch(self, request: BatchRequest) -> Document: ...

    def look(self, wanted: UUID) -> Document | None:
        """The job or batch as it stands; None: this door cannot know yet. Raises `NotFound`."""
        ...

    def history(self, job_id: UUID) -> Sequence[Event]:
        """The moves of a job, oldest first; empty where this door does not know them."""
        ...

    def monotonic(self) -> float: ...

    def rest(self, seconds: float) -> None: ...


class ServicesDoor:
    """Straight to admission and the database: returned means committed."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._batches: set[UUID] = set()

    def submit(self, request: ImageRequest) -> Document:
        admitted: Admitted = admission().admit_image(request, self._services, door="cli")
        return self._services.links.job(admitted.jobs[0])

    def submit_batch(self, request: BatchRequest) -> Document:
        admitted: Admitted = admission().admit_batch(request, self._services, door="cli")
        if admitted.batch is None:
            return self._services.links.job(admitted.jobs[0])
        return self._services.links.batch(admitted.batch, admitted.jobs)

    def look(self, wanted: UUID) -> Document:
        if wanted not in self._batches:
            try:
                return self._services.links.job(self._services.jobs.get(wanted))
            except NotFound:
                self._batches.add(wanted)
        try:
            batch, jobs = self._services.jobs.get_batch(wanted)
        except NotFound:
            raise NotFound(f"no job or batch has the id {wanted}") from None
        return self._services.links.batch(batch, jobs)

    def history(self, job_id: UUID) -> Sequence[Event]:
        return self._services.jobs.history(job_id)

    def monotonic(self) -> float:
        return self._services.clock.monotonic()

    def rest(self, seconds: float) -> None:
        self._services.clock.sleep(seconds)


class CeleryDoor:
    """Through the broker to whichever worker takes it: known again when it has ended."""

    def __init__(self, client: CeleryClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    def submit(self, request: ImageRequest) -> Document:
        return self._client.generate(**request.model_dump(mode="json", by_alias=True, exclude_unset=True))

    def submit_batch(self, request: BatchRequest) -> Document:
        return self._client.batch(**request.model_dump(mode="json", by_alias=True, exclude_unset=True))

    def look(self, wanted: UUID) -> Document | None:
        try:
            return self._client.wait(wanted, timeout=0)
        except StillRunning:
            return None

    def history(self, job_id: UUID) -> Sequence[Event]:
        return ()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def rest(self, seconds: float) -> None:
        self._clock.sleep(seconds)


def door_of(ctx: click.Context) -> Door:
    """The services, or the broker where the worker application is not at hand.

    The broker is that of IMAGEGEN_BROKER_URL or IMAGEGEN_REDIS_URL, or of the running `up` of IMAGEGEN_HOME.
    """
    try:
        return ServicesDoor(services_of(ctx))
    except NoWorkerApp:
        settings = settings_here()
    if settings.broker_url is None and settings.redis_url is None:
        settings = join_running("or set IMAGEGEN_BROKER_URL or IMAGEGEN_REDIS_URL to what its workers read")
    backend = settings.result_backend if settings.redis_url else None
    client = Client.celery(settings.broker, backend, settings.namespace)
    ctx.call_on_close(client.close)
    return CeleryDoor(client, SystemClock())
