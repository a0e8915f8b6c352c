"""imagegen from another Python service: typed, validated before anything is sent, reading no environment.

from imagegen.client import Client

with Client.celery("redis://localhost:6379/0") as client:
    job = client.wait(client.generate("a fox in a red coat", width=1024, height=1024), timeout=300)
    print(job.public_url if job.ok else job.error)
"""

from __future__ import annotations

from urllib.parse import urlsplit

from imagegen.client_celery import CeleryClient
from imagegen.client_results import Batch, Job
from imagegen.client_webhooks import Secret
from imagegen.client_wire import CeleryWire
from imagegen.clock import SystemClock
from imagegen.errors import (
    Conflict,
    ImagegenError,
    InvalidRequest,
    NotFound,
    NotServed,
    PartUnavailable,
    PurchaseNeeded,
    StillRunning,
)
from imagegen.estimates import EstimateDocument as Estimate
from imagegen.webhooks import WebhookEvent

__all__ = [
    "Batch", "CeleryClient", "Client", "Conflict", "Estimate", "ImagegenError", "InvalidRequest", "Job", "NotFound",
    "NotServed", "PartUnavailable", "PurchaseNeeded", "StillRunning", "WebhookEvent",
]  # fmt: skip

_REDIS = {"redis", "rediss", "unix", "redis+socket"}


class Client:
    """Where a service enters; `Client.celery` opens the door."""

    @staticmethod
    def celery(
        broker: str, backend: str | None = None, namespace: str = "imagegen", *, webhook_secret: Secret = None
    ) -> CeleryClient:
        """The door over Celery.

        `broker`: `redis://`, `rediss://`, `redis+socket:///path`, `amqp://`. `backend`: where the workers publish
        results; the broker itself when that is a Redis. `namespace`: the workers' IMAGEGEN_NAMESPACE.
        `webhook_secret`: their IMAGEGEN_WEBHOOK_SECRET, for `verify_webhook`.
        Nothing is connected until the first call.
        """
        if backend is None and urlsplit(broker).scheme not in _REDIS:
            raise InvalidRequest.of("backend", "is missing", "Name the workers' Redis (IMAGEGEN_REDIS_URL).")
        return CeleryClient(CeleryWire(broker, backend or broker, namespace), SystemClock(), webhook_secret)
