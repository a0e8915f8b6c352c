"""The pictures of a local object store, for who knows their addresses, or has a signed one."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from imagegen.api.access import TheHouse
from imagegen.errors import NotFound, StorageError
from imagegen.layout import INPUTS, PUBLIC_PREFIX

SERVED = (PUBLIC_PREFIX, INPUTS)
"""Key prefixes a reader may ask for. Published keys end in a job id, inputs in their digest: neither is guessed."""

router = APIRouter(include_in_schema=False)


PUBLIC = "public, max-age=31536000, immutable"
"""A published picture never changes."""
SIGNED = "private"
"""What came by a signed address is nobody else's, and no cache shared by several."""


@router.head("/files/{key:path}")
@router.get("/files/{key:path}")
def file(key: str, house: TheHouse, expires: str = "", signature: str = "") -> Response:
    """A published picture, thumbnail or input. Originals and attempts are never served.

    What is not public needs the signature of an address that has not expired; without, it is as if it were not there.
    """
    missing = NotFound("there is no such file")
    if not key.startswith(SERVED) or not house.services.links.admits(key, expires, signature):
        raise missing
    blobs = house.services.blobs
    try:
        info = blobs.head(key)
        if info is None:
            raise missing
        data = blobs.get(key)
    except StorageError as error:
        raise missing from error
    headers = {"Cache-Control": SIGNED if signature else PUBLIC, "X-Content-Type-Options": "nosniff"}
    return Response(data, media_type=info.content_type, headers=headers)
