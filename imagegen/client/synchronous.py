"""`Client`: imagegen over HTTP, and the way to the door over Celery."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, Self, TypeVar, Unpack, overload
from urllib.parse import urlsplit
from uuid import UUID

import httpx2

from imagegen.client.calls import Briefs, Named
from imagegen.client.celery import CeleryClient
from imagegen.client.following import Event, Following
from imagegen.client.protocol import Answer, Ended, Lost, Pause, Reply, Step, Talk, Token, advanced
from imagegen.client.session import HttpClient, lost, pool_options, reply_of, request_options, source, unread
from imagegen.client.talks import PATIENCE, CostFilters, ListFilters, Page
from imagegen.client.webhooks import Secret
from imagegen.client.wire import CeleryWire
from imagegen.clock import SystemClock
from imagegen.costs import CostReport
from imagegen.errors import InvalidRequest
from imagegen.estimates import EstimateDocument as Estimate
from imagegen.results import Batch, Job

_REDIS = {"redis", "rediss", "unix", "redis+socket"}
Result = TypeVar("Result")
Known = TypeVar("Known", Job, Batch)


class Client(HttpClient):
    """imagegen over HTTP; `Client.celery` is the same over Celery. Thread-safe; close it, or use it as a context
    manager; open it after a fork.

    What comes back was committed. A call that gets no answer, or 429, 502, 503, 504, is sent again by itself, which is
    harmless; after `patience` seconds every method but `wait` raises the error: `PartUnavailable` where the service is
    away. Refusals are raised as the errors of this module.
    """

    def __init__(self, url: str, token: Token, *, webhook_secret: Secret = None, patience: float = PATIENCE) -> None:
        """`url`: where the service is, `http://localhost:8000`. `token`: the JWT, or a function that gives a fresh one.
        `webhook_secret`: the service's IMAGEGEN_WEBHOOK_SECRET, for `verify_webhook`. Nothing is connected until the
        first call."""
        super().__init__(url, token, webhook_secret=webhook_secret, patience=patience)
        self._http = httpx2.Client(**pool_options(self._site))

    @staticmethod
    def celery(
        broker: str, backend: str | None = None, namespace: str = "imagegen", *, webhook_secret: Secret = None
    ) -> CeleryClient:
        """The door over Celery.

        `broker`: `redis://`, `rediss://`, `redis+socket:///path`, `amqp://`. `backend`: where the workers publish
        results; the broker itself when that is a Redis. `namespace`: the workers' IMAGEGEN_NAMESPACE.
        `webhook_secret`: their IMAGEGEN_WEBHOOK_SECRET, for `verify_webhook`.
        Nothing is connected until the first call.
        """
        if backend is None and urlsplit(broker).scheme not in _REDIS:
            raise InvalidRequest.of("backend", "is missing", "Name the workers' Redis (IMAGEGEN_REDIS_URL).")
        return CeleryClient(CeleryWire(broker, backend or broker, namespace), SystemClock(), webhook_secret)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives the connections back; jobs go on."""
        self._http.close()

    def generate(self, prompt: str | None = None, **fields: Any) -> Job:
        """Asks for one picture (fields in snake_case or camelCase) and returns its job as it was written.

        Raises `InvalidRequest` before anything is sent, `BudgetExceeded`, `IdempotencyConflict`. With
        `idempotency_key` the id follows from owner and key; without one, each call is a job of its own.
        """
        return self._run(self._talks.generate(prompt, fields))

    def batch(self, characters: Briefs | None = None, **fields: Any) -> Batch:
        """Asks for one to four pictures, all or none: `characters` (briefs or names), or `requests=[…]`.

        The other fields are defaults for every member. Raises as `generate`.
        """
        return self._run(self._talks.batch(characters, fields))

    @overload
    def get(self, id: Known) -> Known: ...
    @overload
    def get(self, id: UUID | str) -> Job | Batch: ...
    def get(self, id: Named) -> Job | Batch:
        """The job or batch as it stands. Raises `NotFound` for an id that is not this owner's, too."""
        return self._run(self._talks.get(id))

    @overload
    def wait(self, id: Known, timeout: float | None = None) -> Known: ...
    @overload
    def wait(self, id: UUID | str, timeout: float | None = None) -> Job | Batch: ...
    def wait(self, id: Named, timeout: float | None = None) -> Job | Batch:
        """The job or batch once it has ended; a failed one is returned, not raised.

        Raises `StillRunning` after `timeout` seconds. An outage of the service is waited out until then; without a
        timeout `PartUnavailable` is raised after five minutes of it.
        """
        return self._run(self._talks.wait(id, timeout))

    @overload
    def cancel(self, id: Known) -> Known: ...
    @overload
    def cancel(self, id: UUID | str) -> Job | Batch: ...
    def cancel(self, id: Named) -> Job | Batch:
        """Cancels a job, or the members of a batch that have not ended; the document says whether it was charged.

        A job whose paid call is under way comes back live, and ends when its call is answered: `wait` for it. Raises
        `NotFound`, and `Conflict` for what has its picture or has failed.
        """
        return self._run(self._talks.cancel(id))

    @overload
    def retry(self, id: Known, *, buy: bool = False, idempotency_key: str | None = None) -> Known: ...
    @overload
    def retry(self, id: UUID | str, *, buy: bool = False, idempotency_key: str | None = None) -> Job | Batch: ...
    def retry(self, id: Named, *, buy: bool = False, idempotency_key: str | None = None) -> Job | Batch:
        """Goes on with a failed job, or with a batch's failed members, at the stage that failed; then `wait` for it.

        What was paid is not bought again. What would have to be needs `buy`: without it `PurchaseNeeded` is raised,
        with the dollars in its `details`, and nothing changes. With `idempotency_key` calling again is harmless,
        however the run that it began has ended. Raises `NotFound` and `Conflict` as `cancel`.
        """
        return self._run(self._talks.retry(id, buy, idempotency_key))

    def estimate(self, prompt: str | None = None, **fields: Any) -> Estimate:
        """The dry run of `generate`: model, price, cache hit, expected time, quota and budget; nothing is spent.

        A budget without room is part of the answer (`budget.admitted`).
        """
        return self._run(self._talks.estimate(prompt, fields))

    def costs(self, by: str = "day", **filters: Unpack[CostFilters]) -> CostReport:
        """What jobs cost, grouped by `job_type`, `project`, `scene`, `batch`, `owner`, `provider`, `model`, `day` or
        `metadata.KEY`; US dollars."""
        return self._run(self._talks.costs(by, filters))

    def list(self, **filters: Unpack[ListFilters]) -> Iterator[Job]:
        """Jobs, the newest first; each page is read when it is reached."""
        return self._pages(lambda cursor: self._talks.page(Job, filters, cursor))

    def batches(self, **filters: Unpack[ListFilters]) -> Iterator[Batch]:
        """Batches, as `list`."""
        return self._pages(lambda cursor: self._talks.page(Batch, filters, cursor))

    def events(self, id: Named | None = None, *, last: str | None = None) -> Generator[Event]:
        """What happens to a job or a batch, as it happens, up to its end; without an id to all that is the caller's,
        without an end. `last`: the `id` of the last event that the caller had; the stream goes on behind it.

        A stream that breaks off is taken up again where it was, nothing missed and nothing repeated; raises
        `PartUnavailable` after five minutes of outage, at the beginning after `patience` seconds. Raises `NotFound`.
        """
        return self._follow(Following(self._talks, id, last))

    def upload_input(self, picture: bytes | str | os.PathLike[str]) -> str:
        """Stores a PNG, JPEG or WebP picture (its bytes, or the path of its file) and returns `input:SHA256`, as
        `reference_images`, `source_image`, `mask` and styles take it."""
        return self._run(self._talks.upload(picture if isinstance(picture, bytes) else Path(picture).read_bytes()))

    def _follow(self, following: Following) -> Generator[Event]:
        while (step := following.next()) is not None:
            if isinstance(step, Pause):
                self._clock.sleep(step.seconds)
                continue
            try:
                with self._http.stream(**request_options(step, self._site)) as response:
                    if following.opened(*unread(response)):
                        for block in source(response):
                            if (event := following.told(block.id, block.event, block.data, block.retry)) is not None:
                                yield event
                        following.closed()
                        continue
                    response.read()
                    answer: Reply | Lost = reply_of(response)
            except httpx2.RequestError as error:
                answer = lost(error)
            if (event := following.answered(answer)) is not None:
                yield event

    def _pages(self, page: Callable[[str | None], Talk[Page[Known]]]) -> Iterator[Known]:
        found = self._run(page(None))
        yield from found.items
        while found.cursor is not None:
            found = self._run(page(found.cursor))
            yield from found.items

    def _run(self, talk: Talk[Result]) -> Result:
        step = advanced(talk, None)
        while not isinstance(step, Ended):
            step = advanced(talk, self._take(step))
        return step.value

    def _take(self, step: Step) -> Answer:
        if isinstance(step, Pause):
            self._clock.sleep(step.seconds)
            return None
        try:
            return reply_of(self._http.request(**request_options(step, self._site)))
        except httpx2.RequestError as error:
            return lost(error)
