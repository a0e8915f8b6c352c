"""Metrics over HTTP, for services alone: they show everybody's jobs and money."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from imagegen.api.access import TheCaller, TheHouse
from imagegen.api.exposition import CONTENT_TYPE
from imagegen.api.openapi import METRICS_EXAMPLE, refuses
from imagegen.errors import Forbidden

router = APIRouter(tags=["health"])


@router.get(
    "/metrics", response_model=None,
    responses={
        200: {
            "description": "Prometheus text format",
            "content": {"text/plain": {"schema": {"type": "string"}, "example": METRICS_EXAMPLE}},
        },
        **refuses(403),
    },
)  # fmt: skip
def metrics(house: TheHouse, caller: TheCaller) -> Response:
    """Jobs, money, alerts, circuits and deliveries as figures for Prometheus. Needs a service token."""
    if not caller.service:
        raise Forbidden("metrics are read by service tokens alone: they show everybody's money")
    return Response(house.scrapes.page(), media_type=CONTENT_TYPE)
