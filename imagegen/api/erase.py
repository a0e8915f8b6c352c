"""Erasing a job over HTTP: what was asked for and drawn goes, the books stay."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import Response

from imagegen import erasing
from imagegen.api.access import TheCaller, TheHouse
from imagegen.api.answers import answer
from imagegen.api.openapi import refuses
from imagegen.contracts import JobDocument

router = APIRouter(prefix="/api/images", tags=["jobs"])


@router.delete(
    "/jobs/{job_id}", status_code=204, response_model=None,
    responses={204: {"description": "Erased: picture, prompt, references; ids, times and costs stay"},
               202: {"model": JobDocument, "description": "It is going to be erased: something is still under way"},
               **refuses(404, 409)},
)  # fmt: skip
def erase(job_id: UUID, house: TheHouse, caller: TheCaller) -> Response:
    """Erases an ended job, its picture first. Its document stays, without content and with `erasedAt`."""
    services = house.services
    erasing.erase_job(job_id, services, owner=caller.sees)
    job = services.jobs.get(job_id)
    return Response(status_code=204) if job.erased_at else answer(services.links.job(job), 202)
