"""Pictures that callers store first and name in their requests."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from imagegen.api.access import House, TheCaller, TheHouse
from imagegen.api.bodies import picture
from imagegen.api.openapi import refuses
from imagegen.inputs import input_ref, store_input
from imagegen.layout import input_key

router = APIRouter(prefix="/api/images", tags=["inputs"])

_BINARY = {"type": "string", "format": "binary"}
_FORM = {"type": "object", "required": ["file"], "properties": {"file": _BINARY}}
_KINDS = ("image/png", "image/jpeg", "image/webp", "application/octet-stream")


class StoredInput(BaseModel):
    """A stored picture; `input` is what `referenceImages`, `sourceImage`, `mask` and styles take."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    input: str
    sha256: str
    content_type: str
    bytes: int


@router.post(
    "/inputs", status_code=201, response_model=None,
    openapi_extra={"requestBody": {"required": True, "content": {
        **{kind: {"schema": _BINARY} for kind in _KINDS}, "multipart/form-data": {"schema": _FORM}}}},
    responses={201: {"model": StoredInput, "description": "Stored; the same bytes are stored once"},
               **refuses(400, 408, 413, 415)},
)  # fmt: skip
async def store(request: Request, house: TheHouse, caller: TheCaller) -> Response:
    """Stores a PNG, JPEG or WebP picture, sent as the body itself or as the one file of a form."""
    async with house.lanes.uploads.place(caller.owner) as run:
        data = await picture(request)
        answer: Response = await run(lambda: _stored(data, house))
        return answer


def _stored(data: bytes, house: House) -> Response:
    blobs = house.services.blobs
    sha256 = store_input(data, "file", blobs)
    info = blobs.head(input_key(sha256))
    kind = info.content_type if info else "application/octet-stream"
    told = StoredInput(input=input_ref(sha256), sha256=sha256, content_type=kind, bytes=len(data))
    return JSONResponse(told.model_dump(by_alias=True), 201)
