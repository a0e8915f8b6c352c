"""The served application before a world in memory, and the streams of its callers; the services' owner is `shop`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID

from imagegen.api.app import create_app
from imagegen.api.setup import Setup
from imagegen.jobs import Job
from tests.door import RULES, bearer
from tests.jobs_kit import new_batch
from tests.pipeline_parts import World
from tests.streams import opened


class Served:
    """The application, and its callers' streams."""

    def __init__(self, world: World) -> None:
        self.world, self.store = world, world.store
        self.app = create_app(lambda: world.services, Setup(tokens=RULES))
        self.house = self.app.state.house

    def open(self, path: str, who: str = "ada", since: str | None = None, **query: Any) -> Any:
        headers = bearer(who, self.world.clock.now(), service=who == "shop")
        headers |= {} if since is None else {"Last-Event-ID": since}
        return opened(self.app, f"/api/images/{path}", headers, **query)

    def job(self, job: Job | UUID, **told: Any) -> Any:
        return self.open(f"jobs/{job.id if isinstance(job, Job) else job}/events", **told)

    def batch(self, batch_id: UUID, **told: Any) -> Any:
        return self.open(f"batches/{batch_id}/events", **told)

    def admitted(self, size: int = 2) -> tuple[UUID, list[Job]]:
        batch, jobs = new_batch(size)
        return batch.id, self.world.batch(batch, jobs)

    def run(self, story: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Tells the story, and closes the house."""

        async def told() -> None:
            try:
                async with asyncio.timeout(30):
                    await story()
            finally:
                self.house.drain()
                self.house.close()

        asyncio.run(told())
