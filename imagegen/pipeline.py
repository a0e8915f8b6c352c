"""What happens to a job: generate → poll → download → upload, on one page.

Each stage takes a job id and the Celery continuation of the message that named it, and answers with an `Outcome`.
It claims the job (nobody else works on it), does one thing over the network with no transaction open, and writes
what came of it in one guarded statement. `Lost` is a normal answer: another worker was first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from imagegen import images, layout, policies, references
from imagegen.delivering import hand_out
from imagegen.endings import complete, fail, finish_batch, in_doubt, overdue, priced_anew, publish, publish_batch
from imagegen.errors import ArtifactExpired, DeadlineExceeded, ImagegenError, NotFound, PartUnavailable, StorageError
from imagegen.flights import FLIGHT
from imagegen.jobs import Job
from imagegen.keepsakes import Keepsake
from imagegen.outcomes import Lost, Outcome, Park, advanced
from imagegen.polling import ask, failed_by_provider, seen
from imagegen.ports import Services
from imagegen.probing import submitting
from imagegen.providers.base import Failed
from imagegen.purchase import answered, buy, keep, not_bought, without_answer
from imagegen.recording import commit, facts_of, move
from imagegen.records import Cached, Claimed, Held, Move, Polled
from imagegen.states import MoveName, Stage
from imagegen.transfers import transfer_failed

Continuation = Mapping[str, Any] | None


# ── generate: take the job, reuse what was bought before, or buy ─────────────────────────────────────────────────


def generate(job_id: UUID, continuation: Continuation, services: Services) -> Outcome:
    """Buys the picture once; or finds it bought already; or parks the job until it may be bought."""
    limit = None
    if services.limits.by_key:
        wanted = services.jobs.get(job_id)
        limit = services.limits.of(wanted.provider, wanted.model)
    claimed = services.jobs.claim(_claiming(job_id, MoveName.CLAIM, services), continuation, limit)
    if isinstance(claimed, Held):
        return Park(claimed.until, claimed.reason)
    if claimed is None:
        return Lost()
    with services.heartbeat.holding(claimed.job):
        return _generate(claimed, services)


def _generate(claimed: Claimed, services: Services) -> Outcome:
    job, cached = claimed.job, claimed.cached
    if services.clock.now() >= job.deadline_at:
        return fail(job, DeadlineExceeded("the deadline passed before anything was bought"), services)
    if claimed.refused is not None:
        return fail(job, claimed.refused, services)
    try:
        if cached is not None:
            if services.blobs.head(layout.blob_key(cached.blob_sha256)):
                return reuse(job, cached, services)
            services.jobs.forget(cached, emulated=job.emulated)
            return anew(job, "cache", services)
        if job.cost_credits is not None:
            return priced_anew(job, services)
        order = references.order(job, services)
        if services.provider(job.provider).synchronous:
            services.keeping.check(services)
        with submitting(job.provider, services) as report:
            bought = buy(job, order, report, services)
    except ImagegenError as error:
        return not_bought(job, MoveName.HOLD, error, services)
    return anew(job, FLIGHT, services) if bought is None else answered(*bought, services)


def anew(job: Job, reason: str, services: Services) -> Outcome:
    """How the job stands changed since it was claimed, and nothing was bought: it is claimed again, as it stands."""
    again = move(
        job, MoveName.HOLD, services, cause=reason, stage=Stage.GENERATE, until=timedelta(0), parked=True,
        waiting_for=reason,
    )  # fmt: skip
    return Lost() if commit(again, services) is None else Park(services.clock.now(), reason)


def reuse(job: Job, cached: Cached, services: Services) -> Outcome:
    """The picture was bought before: nothing is paid."""
    reused = move(
        job, MoveName.REUSE, services, cause="cache", stage=Stage.UPLOAD, until=policies.GRACE,
        changes={
            "blob_sha256": cached.blob_sha256, "blob_content_type": cached.content_type, "cache_hit": True,
            "cost_credits": Decimal(0), "failures": 0,
        },
    )  # fmt: skip
    return advanced(commit(reused, services))


# ── reconcile: a paid call whose answer we never read ────────────────────────────────────────────────────────────


def reconcile(job_id: UUID, services: Services) -> Outcome:
    """Looks where the answer may have been kept; without proof the job ends, with the possible charge on the books."""
    job, now = services.jobs.get(job_id), services.clock.now()
    parked = job.waiting_for is not None and job.next_run_at is not None and now < job.next_run_at
    attempt = services.jobs.attempt(job.attempt_id) if job.attempt_id else None
    if job.stage is not Stage.RECONCILE or job.terminal or attempt is None or parked:
        return Lost()
    try:
        kept = Keepsake.unpacked(services.blobs.get(layout.attempt_key(attempt.id)))
        actual = kept.actual if attempt.actual is None else attempt.actual
        if kept.order is not None:
            return without_answer(job, replace(attempt, provider_job_id=kept.order, actual=actual), services)
        return keep(job, kept.data, actual, attempt.usage or kept.usage, services)
    except NotFound:
        return without_answer(job, attempt, services)
    except (PartUnavailable, StorageError) as error:
        return in_doubt(job, error, policies.RECONCILE_AGAIN if now < job.deadline_at else 0.0, services)


# ── poll: ask for a chunk of jobs at once ────────────────────────────────────────────────────────────────────────


def poll(job_ids: Sequence[UUID], services: Services) -> dict[UUID, Outcome]:
    """Asks the providers about a chunk of jobs over reused connections; outcomes are written in bulk."""
    jobs = {job.id: job for job in services.jobs.pollable(job_ids, at=services.clock.now())}
    outcomes: dict[UUID, Outcome] = {job_id: Lost() for job_id in job_ids}
    found: list[Polled] = []
    for job_id, progress in ask(list(jobs.values()), services).items():
        job = jobs[job_id]
        if isinstance(progress, Failed):
            outcomes[job_id] = failed_by_provider(job, progress.error, services)
            continue
        answer = seen(job, progress, services)
        found.append(answer)
        outcomes[job_id] = Park(answer.until, "provider")
    if found:
        now = services.clock.now()
        for job in services.jobs.polled(found, at=now, worker=services.worker, grace=policies.GRACE):
            outcomes[job.id] = advanced(job)
    return outcomes


# ── download: the provider's file becomes our blob ───────────────────────────────────────────────────────────────


def download(job_id: UUID, continuation: Continuation, services: Services) -> Outcome:
    """Fetches the file within bounds, checks what it is, and keeps it under its digest."""
    claimed = services.jobs.claim(_claiming(job_id, MoveName.FETCH, services), continuation)
    if not isinstance(claimed, Claimed):
        return Lost()
    with services.heartbeat.holding(claimed.job):
        return _download(claimed.job, services)


def _download(job: Job, services: Services) -> Outcome:
    try:
        fetched = services.transport.fetch(
            job.result_url or "", max_bytes=policies.MAX_ARTIFACT_BYTES, total=policies.DOWNLOAD_TOTAL
        )
        picture = images.inspect(fetched.data)
        services.blobs.put(layout.blob_key(picture.sha256), fetched.data, picture.content_type)
    except ImagegenError as error:
        return transfer_failed(job, error, services)
    fetched_move = move(
        job, MoveName.FETCHED, services, cause="fetched", stage=Stage.UPLOAD, until=policies.GRACE,
        changes={"blob_sha256": picture.sha256, "blob_content_type": picture.content_type, "failures": 0},
        facts=facts_of(job, "succeeded", blob_sha256=picture.sha256),
    )  # fmt: skip
    return advanced(commit(fetched_move, services))


# ── upload: fit to size, publish, settle ─────────────────────────────────────────────────────────────────────────


def upload(job_id: UUID, continuation: Continuation, services: Services) -> Outcome:
    """Decodes once, fits to the exact size, publishes picture and thumbnail, settles the ledger, ends the job."""
    claimed = services.jobs.claim(_claiming(job_id, MoveName.PUBLISH, services), continuation)
    if not isinstance(claimed, Claimed):
        return Lost()
    with services.heartbeat.holding(claimed.job):
        return _upload(claimed.job, services)


def _upload(job: Job, services: Services) -> Outcome:
    try:
        original = _original(job, services)
        published = images.publish_form(original, job.width, job.height, job.format)
        keys = layout.picture_keys(job)
        services.blobs.put(keys.picture, published.data, published.content_type, cache_control=policies.CACHE_CONTROL)
        services.blobs.put(keys.thumbnail, published.thumbnail, "image/webp", cache_control=policies.CACHE_CONTROL)
    except ImagegenError as error:
        return transfer_failed(job, error, services)
    return complete(job, published, len(original), services)


def _original(job: Job, services: Services) -> bytes:
    try:
        return services.blobs.get(layout.blob_key(job.blob_sha256 or ""))
    except NotFound as error:
        raise ArtifactExpired(f"the original {job.blob_sha256} is gone from the object store") from error


# ── the sweep: what is due and nobody told a worker about ────────────────────────────────────────────────────────


def sweep(services: Services) -> int:
    """Wakes what is due, ends what is over time, closes batches whose end was lost; returns how many jobs it took."""
    now = services.clock.now()
    for limit in services.limits:
        services.jobs.paced(limit, at=now)
    due = services.jobs.due(
        at=now, limit=policies.SWEEP_LIMIT, grace=policies.GRACE, worker=services.worker,
        crowded=services.hints.crowded(),
    )  # fmt: skip
    services.hints.jobs([job for job in due if not overdue(job, services)])
    for attempt in services.jobs.collectable(at=now, limit=policies.SWEEP_LIMIT):
        services.hints.collect(attempt.id)
    for batch_id in services.jobs.unclosed_batches(limit=policies.SWEEP_LIMIT):
        finish_batch(batch_id, services)
    _announce_again(services)
    hand_out(services)
    return len(due)


def _announce_again(services: Services) -> None:
    """A worker that ended a job may have died before it told anybody, so each end is told, and followed up, twice."""
    ended = services.jobs.unannounced(at=services.clock.now(), limit=policies.SWEEP_LIMIT)
    if not ended:
        return
    for job in ended:
        publish(job, services)
    for batch_id in {job.batch_id for job in ended if job.batch_id}:
        publish_batch(batch_id, services)
    services.jobs.announced([job.id for job in ended])


# ── shared by the stages ─────────────────────────────────────────────────────────────────────────────────────────


def _claiming(job_id: UUID, name: MoveName, services: Services) -> Move:
    now = services.clock.now()
    return Move(
        job_id=job_id, name=name, at=now, cause="claimed", worker=services.worker, claim=uuid4(),
        until=now + policies.LEASE,
    )  # fmt: skip
