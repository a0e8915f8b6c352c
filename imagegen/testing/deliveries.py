"""The outbox in memory: its rows, written with each end, and the port `Deliveries` over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from imagegen import policies
from imagegen.errors import InvalidRequest, NotFound
from imagegen.jobs import Batch, Job
from imagegen.outbox import Delivery, Sending, State, Told, batch_event, job_event, targets
from imagegen.ports_deliveries import DeliveryFilter, Due
from imagegen.states import MoveName
from imagegen.testing.books import Books
from imagegen.testing.pace import Paces


def tell_job(books: Books, job: Job, move: MoveName, at: datetime) -> None:
    """Rows for a job that ended, or whose picture replaced a placeholder."""
    wanted = targets(job.request.get("callbackUrl"), job.request.get("notifyTask"))
    if move is MoveName.REPLACE and job.batch_id is not None:
        batch = books.batches[job.batch_id]
        wanted = targets(batch.callback_url, batch.notify_task) | wanted
    event_id, kind = job_event(job, move)
    ids: dict[str, Any] = {"event_id": event_id, "kind": kind, "owner": job.owner, "job_id": job.id}
    _write(books, wanted, job.document().json_document(), at, ids)


def tell_batch(books: Books, batch: Batch, jobs: Sequence[Job], at: datetime) -> None:
    """Rows for a batch that was closed."""
    event_id, kind = batch_event(batch)
    ids: dict[str, Any] = {"event_id": event_id, "kind": kind, "owner": batch.owner, "batch_id": batch.id}
    document = batch.document(jobs).json_document()
    _write(books, targets(batch.callback_url, batch.notify_task), document, at, ids)


def _write(
    books: Books, wanted: Mapping[Any, Any], document: Mapping[str, Any], at: datetime, ids: dict[str, Any]
) -> None:
    there = {(one.event_id, one.target) for one in books.outbox.values()}
    for target, address in wanted.items():
        if (ids["event_id"], target) not in there:
            row = Delivery(
                **ids, id=uuid4(), target=target, address=address, document=document, at=at, since=at, due_at=at
            )
            books.outbox[row.id] = row


class MemoryDeliveries:
    """See `imagegen.ports_deliveries.Deliveries`. `books`: the double of `Jobs` whose ends it tells of."""

    def __init__(self, books: Paces) -> None:
        self._books = books

    def due(self, *, at: datetime, limit: int) -> Sequence[Due]:
        with self._books.lock:
            live = [one for one in self._books.outbox.values() if one.due_at is not None]
            out = sum(one.held_until is not None and one.held_until > at for one in live)
            free = [
                (one.due_at, one.id)
                for one in live
                if one.due_at is not None and one.due_at <= at and (one.held_until is None or one.held_until <= at)
            ]
            return [self._hint(found, at) for _, found in sorted(free)[: max(0, limit - out)]]

    def _hint(self, delivery_id: UUID, at: datetime) -> Due:
        one = self._books.outbox[delivery_id]
        self._books.outbox[one.id] = replace(one, held_until=at + policies.DELIVERY_HINT)
        return Due(one.id, one.attempts + 1)

    def take(self, delivery_id: UUID, number: int, *, at: datetime) -> Delivery | None:
        with self._books.lock:
            one = self._books.outbox.get(delivery_id)
            if one is None or one.due_at is None or one.due_at > at or one.attempts != number - 1:
                return None
            self._books.outbox[one.id] = replace(one, attempts=number, held_until=at + policies.DELIVERY_LEASE)
            return self._books.outbox[one.id]

    def settle(self, delivery: Delivery, sending: Sending, told: Told) -> None:
        with self._books.lock:
            one = self._books.outbox[delivery.id]
            newest = one.attempts == delivery.attempts
            kept = replace(one, log=(*one.log, sending), held_until=None if newest else one.held_until)
            if newest or told.state is State.DELIVERED:
                kept = replace(kept, state=told.state, due_at=told.due_at)
            self._books.outbox[one.id] = kept

    def get(self, delivery_id: UUID) -> Delivery:
        if delivery_id not in self._books.outbox:
            raise NotFound(f"no delivery {delivery_id}")
        return self._books.outbox[delivery_id]

    def list(
        self, where: DeliveryFilter, *, limit: int = 50, cursor: str | None = None
    ) -> tuple[Sequence[Delivery], str | None]:
        asked = {name: getattr(where, name) for name in ("state", "owner", "job_id", "batch_id")}
        with self._books.lock:
            found = [
                one
                for one in self._books.outbox.values()
                if all(wanted in {None, getattr(one, name)} for name, wanted in asked.items())
            ]
        found.sort(key=lambda one: (one.at, one.id), reverse=True)
        if cursor is not None:
            last = self._last(cursor)
            found = [one for one in found if (one.at, one.id) < (last.at, last.id)]
        return found[:limit], str(found[limit - 1].id) if len(found) > limit else None

    def _last(self, cursor: str) -> Delivery:
        try:
            return self._books.outbox[UUID(cursor)]
        except (ValueError, KeyError):
            raise InvalidRequest.of(
                "cursor", "is not one of ours", "Send `nextCursor` as it is, or leave it out."
            ) from None

    def redeliver(self, delivery_id: UUID, *, at: datetime) -> Delivery:
        with self._books.lock:
            one = replace(self.get(delivery_id), state=State.DUE, due_at=at, since=at, held_until=None)
            self._books.outbox[one.id] = one
            return one
