"""The port of the jobs themselves: every step of a job's life is one of these calls, one statement each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

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
)  # fmt: skip
from imagegen.states import Stage


class Jobs(Protocol):
    """The jobs, their attempts, history and ledger: each write is one transaction, and but for limits one statement."""

    def admit(
        self, jobs: Sequence[Job], batch: Batch | None, *, worker: str, detail: Mapping[str, Any] | None = None
    ) -> Admitted:
        """Writes new jobs (and their batch) all or nothing, with an `admit` event each (of this `detail`), and
        reserves their upper prices (`money.admitted`) in every budget that they belong to.

        The same id, or the same owner and idempotency key, with the same `body_sha256`: the first rows come back,
        nothing is written. Another body: `IdempotencyConflict`. A hard budget without room for all: `BudgetExceeded`.
        """
        ...

    def get(self, job_id: UUID, *, owner: str | None = None) -> Job:
        """Raises `NotFound`; with `owner` for another owner's job too, at the same cost."""
        ...

    def get_batch(self, batch_id: UUID, *, owner: str | None = None) -> tuple[Batch, Sequence[Job]]:
        """The batch and its jobs in input order; raises `NotFound` like `get`."""
        ...

    def list_batches(
        self, where: BatchFilter, *, limit: int = 50, cursor: str | None = None
    ) -> tuple[Sequence[tuple[Batch, Sequence[Job]]], str | None]:
        """Batches with their jobs, newest first, and the next page's cursor; see `list`."""
        ...

    def ended(self, job_ids: Sequence[UUID]) -> Sequence[UUID]:
        """Those of the jobs that have ended, in one statement."""
        ...

    def list(self, where: JobFilter, *, limit: int = 50, cursor: str | None = None) -> tuple[Sequence[Job], str | None]:
        """Newest first, and an opaque cursor for the next page (None: no more). A bad cursor: `InvalidRequest`."""
        ...

    def cached(self, fingerprint: str, *, emulated: bool, at: datetime | None = None) -> Cached | None:
        """The picture bought before for this fingerprint, or None: what a dry run asks; a claim looks for itself.

        `at`: one that is too old by then is None; without, it may have any age.
        """
        ...

    def forget(self, cached: Cached, *, emulated: bool) -> None:
        """This picture is no good: unless a newer one has taken its place, the next job buys its own."""
        ...

    def stock(self, *, emulated: bool) -> Stock:
        """What the result cache holds and what it saved."""
        ...

    def purge(self, *, emulated: bool, before: datetime | None = None, model: str | None = None) -> Stock:
        """Takes pictures out of the result cache: all, those older than `before`, those that `model` drew; what it
        took. Their originals stay in the object store."""
        ...

    def history(self, job_id: UUID) -> Sequence[Event]:
        """Oldest first."""
        ...

    def claim(
        self, move: Move, continuation: Mapping[str, Any] | None, limit: Limit | None = None
    ) -> Claimed | Held | None:
        """Takes a job for CLAIM, FETCH or PUBLISH, storing the Celery continuation of the message that asks.

        None: not there to be taken (done, moved on, held by a live worker). A stored continuation is kept when
        `continuation` is None. For FETCH and PUBLISH a job is free when it has no claim or its lease has run out
        (`next_run_at <= move.at`). A parked job (`waiting_for`) is not there before its time, whoever hints at it.

        A CLAIM whose picture is not in the cache is refused with `Held`, and the row parked (no event, no failure,
        the continuation stored), while its provider, its owner or everything is paused (`paused`), or `limit` has no
        slot for it (`pace`) or no room for another generation (`in_flight`). A slot that `paced` gave it admits it
        from `policies.SLOT_LEAD` before its time; who takes a free slot at once never overtakes one that waits.

        Of identical jobs one leads their flight (`imagegen.flights`); a CLAIM of another is refused and parked for
        `policies.FLIGHT_LOOK` (`flight`), without a slot. Moves in `flights.LANDS` and a lost lease free the flight and
        make due all who wait for it (`flights.wakes_all`), or the most urgent. A job that waited while another one was
        refused for a reason of `flights.SHARED` is claimed with that refusal. SUBMIT finds nothing to move where the
        picture was bought or refused since.
        """
        ...

    def apply(self, move: Move) -> Job | None:
        """The guarded move with its event, attempt, facts and ledger lines in one statement; None: Lost.

        `facts` and `always` entries are written in either case. Facts that name a picture or an order of a job that
        did not move make their attempt due for `collectable`. What answers a paid call (`moves.ANSWERS` with facts)
        finds nothing to move once its owner stopped the job.
        """
        ...

    def reserve(self, move: Move) -> Job | None:
        """`apply` of a move after which more may be paid than before (another attempt, provider or run).

        A hard budget without room for what it adds raises `BudgetExceeded`, and nothing is written.
        """
        ...

    def attempt(self, attempt_id: UUID) -> Attempt | None:
        """The attempt with what is known of it, or None."""
        ...

    def ordered(self, provider: str, provider_job_id: str) -> Attempt | None:
        """The attempt that has this order at the provider (the newest, should there be several), or None."""
        ...

    def renew(self, held: Sequence[Holding], *, until: datetime) -> None:
        """Lengthens the leases of jobs that a worker is busy with, in one statement.

        A job is still its worker's while it has its claim; a paid call's also at stage `reconcile`, whose time is put
        off: who is alive to renew has not lost the answer yet.
        """
        ...

    def wake(self, job_id: UUID, *, at: datetime) -> Job | None:
        """A callback came: a job that waits for its provider (`poll`, `reconcile`) is due now, and remembers to be
        woken should it park in this moment. None: it waits for nothing."""
        ...

    def collectable(self, *, at: datetime, limit: int) -> Sequence[Attempt]:
        """Attempts of ended jobs whose paid picture may still be had, and whose `collect_at` has come.

        Each is put off (`policies.COLLECT_EVERY`, doubling with every try), so that two sweeps never take the same.
        """
        ...

    def collected(self, settled: Settled, *, at: datetime) -> None:
        """Nothing more is to be had from an attempt: its facts, ledger lines and, where it brought a picture, the
        result cache, in one statement. A cached picture of an emulated provider never stands for a real one."""
        ...

    def alias(self, alias: UUID, identity: UUID, *, batch: bool) -> Job | Batch:
        """Lets another id stand for a job (or batch): whoever waits for it is told the same end. The row as it is."""
        ...

    def pollable(self, job_ids: Sequence[UUID], *, at: datetime) -> Sequence[Job]:
        """Those of the jobs that are generating and due for a poll, in one statement."""
        ...

    def polled(self, found: Sequence[Polled], *, at: datetime, worker: str, grace: timedelta) -> Sequence[Job]:
        """Writes what a chunk of polls found in one statement; returns the jobs that moved to their download.

        A job still running rests until its `until` (at once if it was woken meanwhile), one with a picture moves
        by DELIVER to stage `download`, with `next_run_at = at + grace`.
        """
        ...

    def due(
        self, *, at: datetime, limit: int, grace: timedelta, worker: str, crowded: frozenset[Stage] = frozenset()
    ) -> Sequence[Job]:
        """The sweep: takes what is due in priority order with ageing, SKIP LOCKED, and returns it.

        A job whose lease ran out is freed: processing goes back to queued (HOLD), generating at stage `generate`
        goes to stage `reconcile` (DOUBT). Each gets `next_run_at = at + grace * 2**hints` and `hints + 1`, so that
        a lost hint is sent again, ever more slowly. While the queue of a stage is `crowded`, a job that was hinted
        at before is left alone for `policies.CROWDED_PATIENCE`: its hint most likely waits there.
        """
        ...

    def paced(self, limit: Limit, *, at: datetime) -> int:
        """Gives the most urgent jobs that wait for this limit its next slots, as far as `policies.SLOTS_AHEAD` and the
        room for generations allow; each is due `policies.SLOT_LEAD` before its slot. How many got one."""
        ...

    def unannounced(self, *, at: datetime, limit: int) -> Sequence[Job]:
        """Ended jobs whose `announce_at` (the `until` of the move that ended them) has come, oldest first."""
        ...

    def announced(self, job_ids: Sequence[UUID]) -> None:
        """The ends of these jobs were told to whoever waits: nothing is due for them any more."""
        ...

    def close_batch(self, batch_id: UUID, *, at: datetime) -> Batch | None:
        """Closes the batch if it is open and no member is live; None: nothing to close. One guarded UPDATE."""
        ...

    def unclosed_batches(self, *, limit: int) -> Sequence[UUID]:
        """Open batches without a live member: their closing was lost."""
        ...

    def latencies(self, provider: str, model: str, *, limit: int = 50) -> Sequence[float]:
        """Seconds from submission to picture of the newest attempts."""
        ...
