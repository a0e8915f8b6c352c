"""The port `Jobs` on PostgreSQL: every method is one transaction, and but for limits one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select

from imagegen.errors import NotFound
from imagegen.jobs import Batch, Job
from imagegen.records import (
    Admitted,
    Attempt,
    BatchFilter,
    Cached,
    Claimed,
    Event,
    Held,
    Holding,
    JobFilter,
    Limit,
    Move,
    Polled,
    Settled,
    Stock,
)
from imagegen.states import Stage
from storage import (
    admission,
    attempts,
    batches,
    budgets,
    bulk,
    cache,
    claims,
    collecting,
    events,
    leases,
    listing,
    moves,
    pace,
    rows,
)
from storage.engine import IDLE, Database
from storage.tables import JOBS, value

_GET = select(JOBS).where(JOBS.c.id == value("job_id", JOBS.c.id))
_GET_OWN = _GET.where(JOBS.c.owner == value("owner", JOBS.c.owner))
_LOCK = _GET.with_for_update(key_share=True).add_columns(IDLE.label("idle"))


class PostgresJobs:
    """Jobs, attempts, history and ledger. Thread-safe; see `imagegen.job_store.Jobs` for what each method promises."""

    def __init__(self, database: Database, *, cache_ttl: timedelta | None = None) -> None:
        """`cache_ttl`: how long a bought picture answers other jobs; None: for ever."""
        self._database = database
        self._cache_ttl = cache_ttl

    def admit(
        self, jobs: Sequence[Job], batch: Batch | None, *, worker: str, detail: Mapping[str, Any] | None = None
    ) -> Admitted:
        """Writes new jobs, or finds those written before; one statement where nothing is in the way, budgets least."""
        return admission.admit(self._database, jobs, batch, worker, detail)

    def get(self, job_id: UUID, *, owner: str | None = None) -> Job:
        """The job; raises `NotFound`."""
        found = self._jobs(_GET if owner is None else _GET_OWN, {"job_id": job_id, "owner": owner})
        if not found:
            raise NotFound(f"no job {job_id}")
        return found[0]

    def get_batch(self, batch_id: UUID, *, owner: str | None = None) -> tuple[Batch, Sequence[Job]]:
        """The batch and its jobs in input order; raises `NotFound`."""
        asked = batches.GET if owner is None else batches.GET_OWN
        found = batches.with_jobs(self._database.run(asked, {"batch_id": batch_id, "owner": owner}))
        if found is None:
            raise NotFound(f"no batch {batch_id}")
        return found

    def list(self, where: JobFilter, *, limit: int = 50, cursor: str | None = None) -> tuple[Sequence[Job], str | None]:
        """Newest first, and the next page's cursor."""
        found = self._jobs(listing.page(where, limit, cursor), {})
        more = len(found) > limit
        return found[:limit], listing.cursor_after(found[limit - 1]) if more else None

    def list_batches(
        self, where: BatchFilter, *, limit: int = 50, cursor: str | None = None
    ) -> tuple[Sequence[tuple[Batch, Sequence[Job]]], str | None]:
        """Newest first, and the next page's cursor."""
        found = batches.grouped(self._database.run(listing.batch_page(where, limit, cursor)))
        more = len(found) > limit
        return found[:limit], listing.cursor_after(found[limit - 1][0]) if more else None

    def ended(self, job_ids: Sequence[UUID]) -> Sequence[UUID]:
        """Those that have ended."""
        return [row["id"] for row in self._database.run(bulk.ENDED, {"ids": [*job_ids]})]

    def cached(self, fingerprint: str, *, emulated: bool, at: datetime | None = None) -> Cached | None:
        """The picture bought before for this fingerprint."""
        since = cache.since(at, None if at is None else self._cache_ttl)
        values = {"fingerprint": fingerprint, "emulated": emulated, "cached_since": since}
        found = self._database.run(moves.CACHED_PICTURE, values)
        return rows.cached(found[0]) if found else None

    def forget(self, cached: Cached, *, emulated: bool) -> None:
        """The cache's picture is no good."""
        known = {"fingerprint": cached.fingerprint, "emulated": emulated, "blob_sha256": cached.blob_sha256}
        self._database.run(cache.FORGET, known)

    def stock(self, *, emulated: bool) -> Stock:
        """What the result cache holds and saved."""
        return Stock(**self._database.run(cache.STOCK, {"emulated": emulated})[0])

    def purge(self, *, emulated: bool, before: datetime | None = None, model: str | None = None) -> Stock:
        """Takes pictures out of the result cache."""
        return Stock(**self._database.run(cache.PURGE, {"emulated": emulated, "before": before, "model": model})[0])

    def history(self, job_id: UUID) -> Sequence[Event]:
        """Oldest first."""
        return [rows.event(row) for row in self._database.run(events.HISTORY, {"job_id": job_id})]

    def claim(
        self, move: Move, continuation: Mapping[str, Any] | None, limit: Limit | None = None
    ) -> Claimed | Held | None:
        """Takes the job, with the picture that its fingerprint has in the cache; or parks it."""
        asking = claims.Asking(move, continuation, cache.since(move.at, self._cache_ttl))
        return claims.claim(self._database, asking, limit)

    def apply(self, move: Move) -> Job | None:
        """The guarded move; None: Lost."""
        known = {**moves.values(move), "cached_since": cache.since(move.at, self._cache_ttl)}
        found = self._jobs(moves.statement(moves.shape(move)), known)
        return found[0] if found else None

    def reserve(self, move: Move) -> Job | None:
        """The guarded move, if the hard budgets have room for it."""
        statement, values = moves.statement(moves.shape(move)), moves.values(move)
        with self._database.transaction() as run:
            before = [rows.job(row) for row in run(_LOCK, {"job_id": move.job_id})]
            found = [rows.job(row) for row in run(statement, values)]
            budgets.make_room(run, before, found)
        return found[0] if found else None

    def attempt(self, attempt_id: UUID) -> Attempt | None:
        """The attempt with what is known of it."""
        found = self._database.run(attempts.GET, {"attempt_id": attempt_id})
        return rows.attempt(found[0]) if found else None

    def ordered(self, provider: str, provider_job_id: str) -> Attempt | None:
        """The newest attempt that has this order at the provider."""
        found = self._database.run(attempts.ORDERED, {"provider": provider, "provider_job_id": provider_job_id})
        return rows.attempt(found[0]) if found else None

    def renew(self, held: Sequence[Holding], *, until: datetime) -> None:
        """Lengthens leases."""
        self._database.run(leases.RENEW, {"held": leases.holdings(held), "until": until})

    def wake(self, job_id: UUID, *, at: datetime) -> Job | None:
        """Makes a job due that waits for its provider; None: it waits for nothing."""
        found = self._jobs(leases.WAKE, {"job_id": job_id, "at": at})
        return found[0] if found else None

    def collectable(self, *, at: datetime, limit: int) -> Sequence[Attempt]:
        """Attempts of ended jobs whose picture is to be looked for, longest due first."""
        return [rows.attempt(row) for row in self._database.run(collecting.COLLECTABLE, {"at": at, "limit": limit})]

    def collected(self, settled: Settled, *, at: datetime) -> None:
        """Nothing more is to be had from an attempt."""
        self._database.run(collecting.COLLECTED, collecting.collected_values(settled, at))

    def alias(self, alias: UUID, identity: UUID, *, batch: bool) -> Job | Batch:
        """Lets another id stand for a job or batch; raises `NotFound`."""
        values = {"identity": identity, "alias": [alias]}
        found = self._database.run(leases.ALIAS_BATCH if batch else leases.ALIAS_JOB, values)
        if not found:
            raise NotFound(f"no {'batch' if batch else 'job'} {identity}")
        return rows.batch(found[0]) if batch else rows.job(found[0])

    def pollable(self, job_ids: Sequence[UUID], *, at: datetime) -> Sequence[Job]:
        """Those generating and due for a poll."""
        return self._jobs(bulk.POLLABLE, {"ids": [*job_ids], "at": at})

    def polled(self, found: Sequence[Polled], *, at: datetime, worker: str, grace: timedelta) -> Sequence[Job]:
        """What a chunk of polls found; returns the jobs that moved to their download."""
        values = {"at": at, "worker": worker, "grace": grace.total_seconds(), "cause": "polled", "detail": {}}
        return self._jobs(bulk.POLLED, {**values, "found": bulk.polled_values(found)})

    def due(
        self, *, at: datetime, limit: int, grace: timedelta, worker: str, crowded: frozenset[Stage] = frozenset()
    ) -> Sequence[Job]:
        """Takes what is due, most urgent first."""
        values = {"at": at, "limit": limit, "grace": grace.total_seconds(), "worker": worker, "detail": {}}
        return self._jobs(bulk.DUE, {**values, "crowded": sorted(stage.value for stage in crowded)})

    def paced(self, limit: Limit, *, at: datetime) -> int:
        """Gives the limit's next slots to the most urgent jobs that wait for it."""
        return pace.paced(self._database, limit, at)

    def unannounced(self, *, at: datetime, limit: int) -> Sequence[Job]:
        """Ended jobs whose end is to be told again, oldest first."""
        return self._jobs(bulk.UNANNOUNCED, {"at": at, "limit": limit})

    def announced(self, job_ids: Sequence[UUID]) -> None:
        """Their ends were told."""
        self._database.run(bulk.ANNOUNCED, {"ids": [*job_ids]})

    def close_batch(self, batch_id: UUID, *, at: datetime) -> Batch | None:
        """Closes the batch if no member is live; None: nothing to close."""
        found = self._database.run(batches.CLOSE, {"batch_id": batch_id, "at": at})
        return rows.batch(found[0]) if found else None

    def unclosed_batches(self, *, limit: int) -> Sequence[UUID]:
        """Open batches without a live member, oldest first."""
        return [row["id"] for row in self._database.run(batches.UNCLOSED, {"limit": limit})]

    def latencies(self, provider: str, model: str, *, limit: int = 50) -> Sequence[float]:
        """Seconds from submission to picture, newest attempt first."""
        values = {"provider": provider, "model": model, "limit": limit}
        return [float(row["seconds"]) for row in self._database.run(attempts.LATENCIES, values)]

    def _jobs(self, statement: Any, values: Mapping[str, Any]) -> Sequence[Job]:
        return [rows.job(row) for row in self._database.run(statement, values)]
