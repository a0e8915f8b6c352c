"""Style capsules over HTTP: an owner's own, beside those that everybody may name."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response

from imagegen.api.access import House, TheCaller, TheHouse, listed_owner
from imagegen.api.bodies import json_object
from imagegen.api.openapi import STYLE_EXAMPLES, Page, refuses, takes
from imagegen.api.paging import known_query
from imagegen.checks import check_text
from imagegen.contracts import Style, parse_style
from imagegen.errors import InvalidRequest
from imagegen.inputs import style_with_stored_inputs
from imagegen.prompts import style_sha256

router = APIRouter(prefix="/api/images/styles", tags=["styles"])

MAX_ID = 120
StyleId = Annotated[str, Path(min_length=1, max_length=MAX_ID, description="As `visualStyleCapsuleId` names it.")]
Owner = Annotated[
    str | None, Query(min_length=1, max_length=MAX_ID, description="For service tokens; without it: everybody's.")
]


class StoredStyle(Style):
    """A stored capsule, and the digest of its content, which job documents name."""

    id: str
    sha256: str


@router.put(
    "/{style_id}", response_model=None, openapi_extra=takes(Style, STYLE_EXAMPLES),
    responses={200: {"model": StoredStyle}, **refuses(400, 403, 408, 413, 415)},
)  # fmt: skip
async def put(style_id: StyleId, request: Request, house: TheHouse, caller: TheCaller, owner: Owner = None) -> Response:
    """Stores a capsule in place of an older one. A service's is everybody's, unless it names an owner."""
    whose = listed_owner(owner, caller)
    return await run_in_threadpool(_put, _checked(style_id), await json_object(request), house, whose)


def _put(style_id: str, body: dict[str, Any], house: House, owner: str | None) -> Response:
    services = house.services
    check_text({**body, "owner": owner} if owner else body)
    style = style_with_stored_inputs(parse_style(body), door="http", blobs=services.blobs)
    services.styles.put(style_id, style, at=services.clock.now(), owner=owner)
    return JSONResponse(_document(style_id, style))


@router.get(
    "",
    response_model=None,
    dependencies=[Depends(known_query("owner"))],
    responses={200: {"model": Page[StoredStyle]}, **refuses(403)},
)
def list_styles(house: TheHouse, caller: TheCaller, owner: Owner = None) -> Response:
    """The capsules that the owner may name, in the order of their ids."""
    check_text({"owner": owner})
    found = house.services.styles.list(owner=listed_owner(owner, caller))
    return JSONResponse({"items": [_document(*entry) for entry in found], "nextCursor": None})


@router.get("/{style_id}", response_model=None, responses={200: {"model": StoredStyle}, **refuses(403, 404)})
def show(style_id: StyleId, house: TheHouse, caller: TheCaller, owner: Owner = None) -> Response:
    """One capsule."""
    check_text({"owner": owner})
    style_id = _checked(style_id)
    return JSONResponse(_document(style_id, house.services.styles.get(style_id, owner=listed_owner(owner, caller))))


def _checked(style_id: str) -> str:
    trimmed = style_id.strip()
    if not trimmed or not trimmed.isprintable():
        raise InvalidRequest.of("style_id", "is empty or not printable", "Name the style in plain characters.")
    return trimmed


def _document(style_id: str, style: Style) -> dict[str, Any]:
    return {"id": style_id, **style.model_dump(mode="json", by_alias=True), "sha256": style_sha256(style)}
