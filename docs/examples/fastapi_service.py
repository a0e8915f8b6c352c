"""A shop on FastAPI: orders pictures, is told of their ends by webhook, and shows how each order stands."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from imagegen.client import AsyncClient, IdempotencyConflict, ImagegenError, InvalidRequest, Job


class Order(BaseModel):
    """What a customer wants drawn."""

    number: str
    prompt: str


def create_app(client: AsyncClient, address: str) -> FastAPI:
    """The shop, which imagegen reaches at `address`. `client` is one for all requests, closed with the application."""
    jobs: dict[str, Job] = {}
    told: set[str] = set()

    @asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[None]:
        async with client:
            yield

    app = FastAPI(title="shop", lifespan=living)

    @app.post("/orders", status_code=202)
    async def order(order: Order) -> dict[str, Any]:
        # The order's number is the key: a customer who clicks twice gets one picture.
        job = await client.generate(
            order.prompt, width=512, height=512, idempotency_key=order.number, callback_url=f"{address}/pictures"
        )
        jobs.setdefault(order.number, job)
        return shown(jobs[order.number])

    @app.get("/orders/{number}")
    async def status(number: str) -> dict[str, Any]:
        if number not in jobs:
            raise HTTPException(404, "no such order")
        if not jobs[number].done:
            jobs[number] = await client.get(jobs[number])
        return shown(jobs[number])

    @app.post("/pictures", status_code=204)
    async def picture(request: Request) -> None:
        # The signature covers the bytes as they came: verify them before anything parses them.
        try:
            event = client.verify_webhook(await request.body(), request.headers)
        except InvalidRequest as error:
            raise HTTPException(400) from error
        # It may come twice. A real shop keeps jobs and event ids in its database.
        if event.id not in told and isinstance(event.document, Job):
            told.add(event.id)
            jobs.update({number: event.document for number, job in jobs.items() if job.id == event.document.id})

    @app.exception_handler(ImagegenError)
    async def refused(request: Request, error: ImagegenError) -> Response:
        own = 422 if isinstance(error, InvalidRequest) else 409 if isinstance(error, IdempotencyConflict) else 502
        return JSONResponse({"detail": str(error), "code": error.code}, 503 if error.retryable else own)

    return app


def shown(job: Job) -> dict[str, Any]:
    """What a customer sees."""
    return {"status": job.status, "picture": job.public_url, "error": job.error.code if job.error else None}


def main(url: str, token: str, secret: str, port: str = "8080") -> None:
    """`url`: where imagegen is. `secret`: its IMAGEGEN_WEBHOOK_SECRET."""
    client = AsyncClient(url, token, webhook_secret=secret)
    uvicorn.run(create_app(client, f"http://127.0.0.1:{port}"), port=int(port), log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])
