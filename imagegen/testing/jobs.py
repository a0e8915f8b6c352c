"""The port `Jobs` in memory, kept consistent by one lock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from imagegen import money, policies
from imagegen.errors import IdempotencyConflict, InvalidRequest, NotFound
from imagegen.flights import LANDS, wakes_all
from imagegen.jobs import Batch, Job
from imagegen.moves import REOPENING, UNERASED, target_of
from imagegen.pace import Kept, Taken
from imagegen.records import Admitted, BatchFilter, Claimed, Event, Held, JobFilter, Limit, Move, Polled
from imagegen.states import MOVES, BatchStatus, MoveName, Stage, Status
from imagegen.testing import rules
from imagegen.testing.books import Line
from imagegen.testing.deliveries import tell_batch, tell_job
from imagegen.testing.flights import Flights
from imagegen.testing.leases import Leases

Placed = TypeVar("Placed", Job, Batch)
_OPEN = {BatchStatus.QUEUED, BatchStatus.RUNNING}


@dataclass
class MemoryJobs(Leases, Flights):
    """Jobs, attempts, history and ledger in memory."""

    def admit(
        self, jobs: Sequence[Job], batch: Batch | None, *, worker: str, detail: Mapping[str, Any] | None = None
    ) -> Admitted:
        if batch is None and len(jobs) != 1:
            raise ValueError("several jobs are admitted together only as a batch")
        with self._lock:
            new: Job | Batch = batch or jobs[0]
            old = self._in_the_way(new)
            if old is not None:
                if (old.owner, old.body_sha256) != (new.owner, new.body_sha256):
                    raise IdempotencyConflict("this id or idempotency key was used for another request")
                members = self._members(old.id) if isinstance(old, Batch) else [old]
                return Admitted(jobs=members, batch=old if isinstance(old, Batch) else None, created=False)
            reserved = [money.admitted(one) for one in jobs]
            self._make_room((), reserved)
            if batch is not None:
                self.batches[batch.id] = batch
            kept = [self._keep(one) for one in reserved]
            for one in kept:
                self._event(one, "admit", one.created_at, "admitted", worker, detail or {})
            return Admitted(jobs=kept, batch=batch, created=True)

    def _keep(self, job: Job) -> Job:
        plain = {name: rules.plain(getattr(job, name)) for name in ("request", "plan", "continuation", "metadata")}
        self.jobs[job.id] = replace(job, tried=tuple(job.tried), aliases=tuple(job.aliases), **plain)
        return self.jobs[job.id]

    def _in_the_way(self, new: Job | Batch) -> Job | Batch | None:
        rows: Iterable[Job | Batch] = self.batches.values() if isinstance(new, Batch) else self.jobs.values()
        same_key = (
            row
            for row in rows
            if new.idempotency_key is not None
            and (row.owner, row.idempotency_key) == (new.owner, new.idempotency_key)
            and not (isinstance(row, Job) and row.batch_id is not None)
        )
        by_id = self.batches.get(new.id) if isinstance(new, Batch) else self.jobs.get(new.id)
        return by_id or next(same_key, None)

    def get(self, job_id: UUID, *, owner: str | None = None) -> Job:
        job = self.jobs.get(job_id)
        if job is None or owner not in {None, job.owner}:
            raise NotFound(f"no job {job_id}")
        return job

    def _members(self, batch_id: UUID) -> list[Job]:
        members = (job for job in self.jobs.values() if job.batch_id == batch_id)
        return sorted(members, key=lambda job: job.batch_index or 0)

    def get_batch(self, batch_id: UUID, *, owner: str | None = None) -> tuple[Batch, Sequence[Job]]:
        with self._lock:
            if batch_id not in self.batches or owner not in {None, self.batches[batch_id].owner}:
                raise NotFound(f"no batch {batch_id}")
            batch, members = self.batches[batch_id], self._members(batch_id)
            if batch.status is BatchStatus.QUEUED and any(
                job.started_at or job.status is not Status.QUEUED for job in members
            ):
                batch = replace(batch, status=BatchStatus.RUNNING)
            return batch, members

    def list(self, where: JobFilter, *, limit: int = 50, cursor: str | None = None) -> tuple[Sequence[Job], str | None]:
        last = None if cursor is None else self._last(cursor, self.jobs)
        with self._lock:
            found = [job for job in self.jobs.values() if rules.matches(job, where)]
        found.sort(key=rules.place, reverse=True)
        rest = [job for job in found if last is None or rules.place(job) < rules.place(last)]
        return rest[:limit], str(rest[limit - 1].id) if len(rest) > limit else None

    def list_batches(
        self, where: BatchFilter, *, limit: int = 50, cursor: str | None = None
    ) -> tuple[Sequence[tuple[Batch, Sequence[Job]]], str | None]:
        last = None if cursor is None else self._last(cursor, self.batches)
        found = [pair for pair in map(self.get_batch, [*self.batches]) if rules.matches_batch(*pair, where)]
        found.sort(key=lambda pair: rules.place(pair[0]), reverse=True)
        rest = [pair for pair in found if last is None or rules.place(pair[0]) < rules.place(last)]
        return rest[:limit], str(rest[limit - 1][0].id) if len(rest) > limit else None

    def ended(self, job_ids: Sequence[UUID]) -> Sequence[UUID]:
        return [job_id for job_id in job_ids if job_id in self.jobs and self.jobs[job_id].terminal]

    def _last(self, cursor: str, rows: Mapping[UUID, Placed]) -> Placed:
        """What ended the page before: its place holds though it may not match any more."""
        try:
            return rows[UUID(cursor)]
        except (ValueError, KeyError):
            raise InvalidRequest.of(
                "cursor", "is not one of ours", "Send `nextCursor` as it is, or leave it out."
            ) from None

    def history(self, job_id: UUID) -> Sequence[Event]:
        return [event for event in self.events if event.job_id == job_id]

    def claim(
        self, move: Move, continuation: Mapping[str, Any] | None, limit: Limit | None = None
    ) -> Claimed | Held | None:
        with self._lock:
            job = self.jobs.get(move.job_id)
            if job is None or not self._allowed(job, move) or (move.held is None and rules.taken(job, move)):
                return None
            kept = job.continuation if continuation is None else rules.plain(continuation)
            if move.name is not MoveName.CLAIM:
                return Claimed(job=self._move(job, move, continuation=kept))
            cached = self._picture(job, move.at)
            refused = None if cached else self._refusal(job, move.at)
            known = cached is not None or refused is not None
            turn = Taken(slot_at=job.slot_at) if known else self._turn(job, limit, move.at)
            if isinstance(turn, Kept):
                return self._park(job, turn, kept, move.at)
            if turn is None:
                return None
            more = {"started_at": job.started_at or move.at, "slot_at": turn.slot_at}
            moved = self._move(job, replace(move, changes={**move.changes, **more}), continuation=kept)
            return Claimed(job=moved, cached=cached, refused=refused)

    def apply(self, move: Move) -> Job | None:
        with self._lock:
            job = self.jobs.get(move.job_id)
            moved = self._move(job, move) if job is not None and self._allowed(job, move) else None
            if move.new_attempt is not None and moved is not None:
                self._intend(move.new_attempt, move.at)
            if move.facts is not None:
                self._learn(move.facts, move.at, late=moved is None and job is not None and job.terminal)
            for entry in move.entries:
                if job is not None and (moved is not None or entry.always):
                    self._enter(Line(job.id, entry, job.emulated, move.at))
            return moved

    def reserve(self, move: Move) -> Job | None:
        with self._lock:
            job = self.jobs.get(move.job_id)
            if job is not None and self._allowed(job, move):
                self._make_room([job], [self._after(job, move)])
            return self.apply(move)

    def _allowed(self, job: Job, move: Move) -> bool:
        rule = MOVES[move.name]
        return (
            job.status in rule.sources
            and (rule.stages is None or job.stage in rule.stages)
            and (move.held is None or job.claim == move.held)
            and rules.as_seen(job, move)
            and not rules.stopped(job, move)
            and not (move.name is MoveName.SUBMIT and (self.paused(job) or self._settled(job, move.at)))
            and (move.name is not MoveName.REPLACE or job.placeholder)
            and (move.name not in UNERASED or job.erase_at is None)
            and (move.facts is None or job.attempt_id == move.facts.attempt_id)
        )

    def _after(self, job: Job, move: Move, **more: Any) -> Job:
        target = target_of(move) or job.status
        fields: dict[str, Any] = {
            **rules.consequences(job, move),
            **move.changes,
            **more,
            **rules.timing(job, move, target),
            "updated_at": move.at,
        }
        moved = replace(job, status=target, stage=move.stage or job.stage, **fields)
        if "committed" in move.changes:
            return moved
        return replace(moved, committed=money.committed(moved))

    def _move(self, job: Job, move: Move, **more: Any) -> Job:
        moved = self._after(job, move, **more)
        self.jobs[job.id] = moved
        if move.name in LANDS:
            self._land(job, move.at, wakes_all(move))
        self._event(moved, move.name.value, move.at, move.cause, move.worker, move.detail)
        if moved.terminal and (not job.terminal or move.name is MoveName.REPLACE):
            tell_job(self, moved, move.name, move.at)
        picture = move.detail.get("picture") if move.name is MoveName.COMPLETE else None
        if picture and moved.blob_sha256 and not (moved.placeholder or moved.cache_hit):
            self._remember(moved, moved.blob_sha256, moved.blob_content_type or "", picture, move.at)
        if move.name in REOPENING and moved.batch_id is not None:
            batch = self.batches[moved.batch_id]
            reopened = replace(batch, status=BatchStatus.RUNNING, completed_at=None, run=batch.run + 1)
            self.batches[batch.id] = reopened
        return moved

    def _event(self, job: Job, move: str, at: datetime, cause: str, worker: str, detail: Mapping[str, Any]) -> None:
        told: dict[str, Any] = {"at": at, "move": move, "cause": cause, "worker": worker}
        stands: dict[str, Any] = {
            "job_id": job.id,
            "run": job.run,
            "status": job.status.value,
            "stage": job.stage.value,
        }
        self.events.append(Event(id=len(self.events) + 1, detail=rules.plain(detail), **told, **stands))

    def pollable(self, job_ids: Sequence[UUID], *, at: datetime) -> Sequence[Job]:
        asked = [self.jobs[job_id] for job_id in dict.fromkeys(job_ids) if job_id in self.jobs]
        return [job for job in asked if rules.polling(job) and (job.waiting_for is None or rules.at_or_before(job, at))]

    def polled(self, found: Sequence[Polled], *, at: datetime, worker: str, grace: timedelta) -> Sequence[Job]:
        arrived = []
        with self._lock:
            for one in found:
                job = self.jobs.get(one.job_id)
                if one.result_url is not None:
                    self._learn(rules.found(one), at, late=job is not None and job.terminal)
                if job is None or not rules.polling(job) or job.attempt_id != one.attempt_id:
                    continue
                cost = job.cost_credits if one.actual is None else one.actual
                rest = at if job.woken else one.until
                awake = replace(job, next_run_at=rest, waiting_for="provider", woken=False, hints=0, cost_credits=cost)
                told = job.billed if one.actual is None else "yes"
                awake = replace(awake, committed=money.committed(awake), billed=told)
                self.jobs[job.id] = awake
                if one.result_url is not None:
                    arrived.append(self._move(awake, rules.delivered(one, at, at + grace, worker)))
        return arrived

    def due(
        self, *, at: datetime, limit: int, grace: timedelta, worker: str, crowded: frozenset[Stage] = frozenset()
    ) -> Sequence[Job]:
        with self._lock:
            timely = [job for job in self.jobs.values() if not job.terminal and rules.at_or_before(job, at)]
            waiting = [job for job in timely if not rules.left_alone(job, at, crowded)]
            waiting.sort(key=lambda job: (rules.rank(job, at), job.next_run_at, job.id))
            taken = [self._take(job, at, grace, worker) for job in waiting[:limit]]
            for job in waiting[:limit]:
                if job.status is Status.PROCESSING:
                    self._land(job, at, everybody=False, left_alone={one.id for one in taken})
            return taken

    def _take(self, job: Job, at: datetime, grace: timedelta, worker: str) -> Job:
        held = job.status is Status.PROCESSING
        unanswered = job.status is Status.GENERATING and job.stage is Stage.GENERATE
        if held:
            job = replace(job, status=Status.QUEUED, hints=0, slot_at=None, updated_at=at)
        if unanswered:
            job = replace(job, stage=Stage.RECONCILE, hints=0, updated_at=at)
        again = min(at + grace * 2 ** min(job.hints, policies.MOST_DOUBLINGS), max(job.deadline_at, at + grace))
        taken = replace(job, next_run_at=again, hints=job.hints + 1, claim=None, waiting_for=None, woken=False)
        self.jobs[job.id] = taken
        if held or unanswered:
            name = MoveName.HOLD if held else MoveName.DOUBT
            self._event(taken, name.value, at, "lease ran out", worker, {})
        return taken

    def unannounced(self, *, at: datetime, limit: int) -> Sequence[Job]:
        ended = [(job.announce_at, job.id) for job in self.jobs.values() if job.announce_at and job.announce_at <= at]
        return [self.jobs[job_id] for _, job_id in sorted(ended)[:limit]]

    def announced(self, job_ids: Sequence[UUID]) -> None:
        with self._lock:
            for job_id in job_ids:
                self.jobs[job_id] = replace(self.jobs[job_id], announce_at=None)

    def close_batch(self, batch_id: UUID, *, at: datetime) -> Batch | None:
        with self._lock:
            batch = self.batches.get(batch_id)
            if batch is None or not self._closable(batch):
                return None
            ends = {job.status for job in self._members(batch_id)}
            if Status.COMPLETED in ends:
                status = BatchStatus.PARTIAL if len(ends) > 1 else BatchStatus.COMPLETED
            else:
                status = BatchStatus.CANCELLED if ends == {Status.CANCELLED} else BatchStatus.FAILED
            self.batches[batch_id] = replace(batch, status=status, completed_at=at)
            tell_batch(self, self.batches[batch_id], self._members(batch_id), at)
            return self.batches[batch_id]

    def _closable(self, batch: Batch) -> bool:
        return batch.status in _OPEN and all(job.terminal for job in self._members(batch.id))

    def unclosed_batches(self, *, limit: int) -> Sequence[UUID]:
        with self._lock:
            found = sorted((one.created_at, one.id) for one in self.batches.values() if self._closable(one))
        return [batch_id for _, batch_id in found[:limit]]
