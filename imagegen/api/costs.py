"""Cost reports over HTTP: what was paid, for what, and what the cache saved."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse, Response

from imagegen.api.access import TheCaller, TheHouse, listed_owner
from imagegen.api.openapi import refuses
from imagegen.api.paging import Moment, known_query
from imagegen.api.tokens import Caller
from imagegen.checks import check_text
from imagegen.costs import GROUPS, MAX_KEY, METADATA, CostReport, report
from imagegen.records import CostFilter

router = APIRouter(prefix="/api/images", tags=["money"])

BY = f"{', '.join(GROUPS)}, or {METADATA}KEY."


@dataclass(frozen=True)
class Asked:
    """Query parameters of a report."""

    by: Annotated[str, Query(min_length=1, max_length=len(METADATA) + MAX_KEY, description=BY)] = "day"
    project: Annotated[str | None, Query(min_length=1, max_length=120)] = None
    since: Annotated[Moment | None, Query(description="Made at or after this time, RFC 3339.")] = None
    until: Annotated[Moment | None, Query(description="Made before this time, RFC 3339.")] = None
    owner: Annotated[str | None, Query(min_length=1, max_length=120, description="For service tokens.")] = None
    emulated: Annotated[
        Literal["true", "false"], Query(description="Emulated pictures, which are never among the real ones.")
    ] = "false"

    def filter(self, caller: Caller) -> CostFilter:
        """Which jobs it is about. Raises `InvalidRequest`, `Forbidden`."""
        check_text({"by": self.by, "project": self.project, "owner": self.owner})
        return CostFilter(
            since=self.since, until=self.until, project_id=self.project, owner=listed_owner(self.owner, caller),
            emulated=self.emulated == "true",
        )  # fmt: skip


@router.get(
    "/costs", response_model=None, dependencies=[Depends(known_query(*(field.name for field in fields(Asked))))],
    responses={200: {"model": CostReport}, **refuses(403)},
)  # fmt: skip
def costs(house: TheHouse, caller: TheCaller, asked: Annotated[Asked, Depends()]) -> Response:
    """What jobs cost, group by group. An owner sees its own jobs' money, a service everybody's."""
    where = asked.filter(caller)
    told: dict[str, Any] = report(asked.by, house.services.costs.by(asked.by, where), emulated=where.emulated)
    return JSONResponse(told)
