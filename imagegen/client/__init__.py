"""imagegen from another Python service: typed, validated before anything is sent, reading no environment.

from imagegen.client import Client

with Client("http://localhost:8000", token) as client:
    job = client.wait(client.generate("a fox in a red coat", width=1024, height=1024), timeout=300)
    print(job.public_url if job.ok else job.error)
"""

from __future__ import annotations

from imagegen.client.asynchronous import AsyncClient
from imagegen.client.celery import CeleryClient
from imagegen.client.following import Event
from imagegen.client.synchronous import Client
from imagegen.costs import CostReport
from imagegen.errors import (
    BudgetExceeded,
    Conflict,
    Forbidden,
    IdempotencyConflict,
    ImagegenError,
    InvalidRequest,
    NotFound,
    NotServed,
    PartUnavailable,
    PurchaseNeeded,
    StillRunning,
    TooManyRequests,
    Unauthenticated,
)
from imagegen.estimates import EstimateDocument as Estimate
from imagegen.results import Batch, Job
from imagegen.webhooks import WebhookEvent

__all__ = [
    "AsyncClient", "Batch", "BudgetExceeded", "CeleryClient", "Client", "Conflict", "CostReport", "Estimate",
    "Event", "Forbidden", "IdempotencyConflict", "ImagegenError", "InvalidRequest", "Job", "NotFound", "NotServed",
    "PartUnavailable", "PurchaseNeeded", "StillRunning", "TooManyRequests", "Unauthenticated", "WebhookEvent",
]  # fmt: skip
