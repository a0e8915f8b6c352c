"""The port `Erasures` in memory, over the rows of `MemoryJobs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from imagegen.jobs import Job
from imagegen.layout import blob_key
from imagegen.outbox import State
from imagegen.ports_erasures import Discard, Erasing, Scope, Stake
from imagegen.testing.books import Books

_GONE = (
    "character", "asset_id", "style_name", "style_sha256", "visual_style_capsule_id", "error_message", "result_url",
    "blob_sha256", "blob_content_type", "public_url", "thumbnail_url", "object_key", "sha256", "content_type", "bytes",
    "continuation",
)  # fmt: skip


def _inputs(job: Job) -> set[str]:
    values = [one for value in job.plan.values() for one in (value if isinstance(value, list) else [value])]
    return {str(one["key"]) for one in values if isinstance(one, Mapping) and one.get("key")}


class MemoryErasures:
    """Erasures in memory; styles of owners it knows nothing of."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._discards: dict[str, datetime] = {}

    def stake(self, scope: Scope) -> Stake:
        left = [job for job in self._of(scope) if job.erased_at is None]
        return Stake(
            jobs=len(left),
            live=sum(not job.terminal for job in left),
            pictures=sum(job.object_key is not None for job in left),
            bytes=sum(job.bytes or 0 for job in left),
        )

    def request(self, scope: Scope, *, at: datetime, until: datetime) -> Sequence[UUID]:
        left = [job for job in self._of(scope) if job.erased_at is None]
        for job in left:
            if job.erase_at is None:
                self._books.jobs[job.id] = replace(job, erase_at=until)
        return [job.id for job in left if not job.terminal]

    def retire(self, lives: Mapping[str, timedelta], *, at: datetime, limit: int) -> int:
        def past(job: Job) -> bool:
            life = lives.get(job.job_type)
            ended = job.completed_at if job.terminal else None
            return life is not None and ended is not None and ended <= at - life

        rows = self._books.jobs
        found = [
            job
            for job in rows.values()
            if job.erase_at is None
            and past(job)
            and all(past(one) or one.erased_at is not None for one in rows.values() if _together(one, job))
        ][:limit]
        for job in found:
            rows[job.id] = replace(job, erase_at=at)
        return len(found)

    def due(self, *, at: datetime, until: datetime, limit: int, scope: Scope | None = None) -> Sequence[Erasing]:
        asked = self._books.jobs.values() if scope is None else self._of(scope)
        waiting = [(job.erase_at, job.id) for job in asked if job.erase_at is not None and self._ready(job)]
        timely = sorted((moment, job_id) for moment, job_id in waiting if scope is not None or moment <= at)
        return [self._take(job_id, until) for _, job_id in timely[:limit]]

    def _take(self, job_id: UUID, until: datetime) -> Erasing:
        self._books.jobs[job_id] = taken = replace(self._books.jobs[job_id], erase_at=until)
        made = [one for one in self._books.attempts.values() if one.job_id == job_id]
        return Erasing(job=taken, attempts=made)

    def _ready(self, job: Job) -> bool:
        looked_for = (one for one in self._books.attempts.values() if one.job_id == job.id and one.collect_at)
        return job.erase_at is not None and job.erased_at is None and job.terminal and not any(looked_for)

    def erase(self, job_ids: Sequence[UUID], *, at: datetime, grace: timedelta) -> Sequence[UUID]:
        jobs = [self._books.jobs[job_id] for job_id in job_ids if self._ready(self._books.jobs[job_id])]
        due = (at + grace).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        for job in jobs:
            self._discards |= dict.fromkeys(self._named(job), due)
        for job in jobs:
            self._uncache(job)
        for job in jobs:
            self._clear(job, at)
        return [job.id for job in jobs]

    def _named(self, job: Job) -> set[str]:
        attempts = (one.blob_sha256 for one in self._books.attempts.values() if one.job_id == job.id)
        cached = self._books.pictures.get((job.fingerprint, job.emulated))
        blobs = {job.blob_sha256, *attempts, cached.blob_sha256 if cached else None}
        return {blob_key(one) for one in blobs if one is not None} | _inputs(job)

    def _uncache(self, job: Job) -> None:
        key = job.fingerprint, job.emulated
        cached = self._books.pictures.get(key)
        if cached is not None and not any(
            (one.fingerprint, one.emulated, one.blob_sha256) == (*key, cached.blob_sha256)
            for one in self._books.jobs.values()
            if one.erase_at is None
        ):
            del self._books.pictures[key]

    def _clear(self, job: Job, at: datetime) -> None:
        books, gone = self._books, dict.fromkeys(_GONE)
        empty = {"prompt": "", "sent_prompt": "", "fingerprint": "", "request": {}, "plan": {}, "metadata": {}}
        books.jobs[job.id] = cleared = replace(job, **gone, **empty, erased_at=at, updated_at=at)  # type: ignore[arg-type]
        for attempt in [one for one in books.attempts.values() if one.job_id == job.id]:
            error = None if attempt.error is None else {k: v for k, v in attempt.error.items() if k != "message"}
            books.attempts[attempt.id] = replace(attempt, result_url=None, blob_sha256=None, error=error)
        books.events[:] = [replace(one, detail={}) if one.job_id == job.id else one for one in books.events]
        for told in [one for one in books.outbox.values() if one.job_id == job.id]:
            if told.state is State.DUE:
                books.outbox[told.id] = replace(told, document=cleared.document().json_document())
            else:
                del books.outbox[told.id]
        self._clear_batch(job)

    def _clear_batch(self, job: Job) -> None:
        if job.batch_id is None:
            return
        books, batch = self._books, self._books.batches[job.batch_id]
        erased = {str(one.id): one for one in books.jobs.values() if one.batch_id == batch.id and one.erased_at}
        for told in [one for one in books.outbox.values() if one.batch_id == batch.id]:
            members = [
                erased[one["jobId"]].document().json_document() if one["jobId"] in erased else one
                for one in told.document["jobs"]
            ]
            books.outbox[told.id] = replace(told, document={**told.document, "jobs": members})
        if len(erased) == batch.size:
            books.batches[batch.id] = replace(batch, callback_url=None, notify_task=None)

    def discards(self, *, at: datetime, limit: int) -> Sequence[Discard]:
        due = sorted((moment, key) for key, moment in self._discards.items() if moment <= at)
        books = self._books
        blobs = {one.blob_sha256 for rows in (books.jobs, books.attempts, books.pictures) for one in rows.values()}
        needed = {blob_key(one) for one in blobs if one} | {key for job in books.jobs.values() for key in _inputs(job)}
        return [Discard(key, key in needed) for _, key in due[:limit]]

    def discarded(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._discards.pop(key, None)

    def put_off(self, key: str, *, until: datetime) -> None:
        self._discards[key] = until

    def _of(self, scope: Scope) -> list[Job]:
        rows = self._books.jobs
        if scope.owner is not None:
            return [job for job in rows.values() if job.owner == scope.owner]
        me = rows.get(scope.job_id) if scope.job_id is not None else None
        return [] if me is None else [job for job in rows.values() if job.id == me.id or _replacing(job, me)]


def _together(one: Job, job: Job) -> bool:
    batch = job.batch_id is not None and one.batch_id == job.batch_id
    return one.id != job.id and (batch or job.id == one.replaces or one.id == job.replaces)


def _replacing(one: Job, me: Job) -> bool:
    """Whether both show one picture, as a placeholder and its replacements do."""
    return (one.replaces or one.id) == (me.replaces or me.id)
