"""What the HTTP door serves today: the pictures of a local store, providers' callbacks, and whether it lives."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI, HTTPException, Response

from imagegen.api.webhooks import inbound
from imagegen.errors import NotFound, StorageError
from imagegen.layout import INPUTS, PUBLIC_PREFIX
from imagegen.ports import Services

SERVED = (PUBLIC_PREFIX, INPUTS)
"""Key prefixes a reader may ask for. Published keys end in a job id, inputs in their digest: neither is guessed."""


def create_app(services: Callable[[], Services]) -> FastAPI:
    """The application over services that are built at the first request."""
    app = FastAPI(title="imagegen", docs_url="/docs", redoc_url=None)

    @app.get("/health")
    def health() -> dict[str, str]:
        """Answers while the process lives; it asks no other part."""
        return {"status": "ok"}

    @app.get("/files/{key:path}")
    def file(key: str) -> Response:
        """A published picture, thumbnail or input. Originals and attempts are never served."""
        if not key.startswith(SERVED):
            raise HTTPException(404)
        blobs = services().blobs
        try:
            info = blobs.head(key)
            if info is None:
                raise HTTPException(404)
            data = blobs.get(key)
        except (NotFound, StorageError) as error:
            raise HTTPException(404) from error
        headers = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
        return Response(data, media_type=info.content_type, headers=headers)

    app.include_router(inbound(services))
    return app
