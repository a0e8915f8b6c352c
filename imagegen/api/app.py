"""The HTTP door as one application: jobs, batches, styles, inputs behind the gate; files, callbacks, health open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware

from imagegen.api import batches, budgets, costs, erase, estimate, events, files, health, inputs, jobs, metrics, styles
from imagegen.api.access import House
from imagegen.api.caching import Uncached
from imagegen.api.docs import serve_docs
from imagegen.api.draining import hearing
from imagegen.api.openapi import describe
from imagegen.api.problems import answer_problems
from imagegen.api.setup import Setup
from imagegen.api.webhooks import inbound
from imagegen.ports import Services

LOCKED = Setup()
"""Nobody gets in: there is nothing to check a token with."""
ABOUT = (
    "Pictures bought once, never lost, and accounted for to the cent.\n\n"
    "Routes under /api/images, and /metrics, need a bearer token: `imagegen token --owner NAME` makes one for trials."
)
"""What the API's description begins with."""
EXPOSED = ["Location", "Retry-After", "Preference-Applied"]
"""Headers of answers that a page of another origin may read."""


def create_app(services: Callable[[], Services], setup: Setup = LOCKED) -> FastAPI:
    """The application over services that are built at the first request. Without a `setup` nobody gets in."""
    house = House(services, setup)

    @asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[None]:
        house.open()
        with hearing(house.drain):
            yield
        house.drain()
        await run_in_threadpool(house.close)

    app = FastAPI(
        title="imagegen", version="1", description=ABOUT, docs_url=None, redoc_url=None, lifespan=living,
        # A redirect would name scheme and host as the request has them: behind a gateway, http:// and a token in clear.
        redirect_slashes=False,
    )  # fmt: skip
    app.state.house = house
    for part in (jobs, erase, batches, events, estimate, costs, budgets, styles, inputs, health, metrics, files):
        app.include_router(part.router)
    app.include_router(inbound(services, setup.inbound), include_in_schema=False)
    answer_problems(app)
    describe(app)
    serve_docs(app)
    app.add_middleware(Uncached)
    if setup.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=setup.origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Prefer", "Last-Event-ID"],
            expose_headers=EXPOSED,
        )
    return app
