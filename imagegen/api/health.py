"""Whether the process lives, and whether it could serve: for load balancers and orchestrators."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from imagegen.api.access import TheHouse

router = APIRouter(tags=["health"])
_OBJECT = {"application/json": {"schema": {"type": "object"}}}


@router.head("/health", include_in_schema=False)
@router.get("/health")
def health() -> dict[str, str]:
    """Answers while the process lives; it asks no other part."""
    return {"status": "ok"}


@router.head("/ready", include_in_schema=False)
@router.get(
    "/ready", response_model=None,
    responses={200: {"description": "Every part answers", "content": _OBJECT},
               503: {"description": "`away` names the parts that do not; or it drains", "content": _OBJECT}},
)  # fmt: skip
async def ready(house: TheHouse) -> Response:
    """Whether database, Redis, broker and object store answer; not any more once the process is about to end."""
    if house.draining:
        return JSONResponse({"status": "draining"}, 503, {"Retry-After": "5"})
    away = await house.parts.away()
    if not away:
        return JSONResponse({"status": "ready"})
    return JSONResponse({"status": "not ready", "away": away}, 503, {"Retry-After": "5"})
