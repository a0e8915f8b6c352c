"""What a failed download or upload comes to: asked for again, tried later, or the end."""

from __future__ import annotations

from datetime import timedelta

from imagegen import policies, retry
from imagegen.endings import buy_again, fail, no_picture, settlement
from imagegen.errors import ArtifactExpired, BadArtifact, ImagegenError, PartUnavailable, StorageError
from imagegen.jobs import Job
from imagegen.outcomes import Lost, Outcome, Park
from imagegen.ports import Services
from imagegen.recording import commit, facts_of, move
from imagegen.states import FailureStage, MoveName, Stage


def transfer_failed(job: Job, error: ImagegenError, services: Services) -> Outcome:
    """A bad or expired file is asked for once more; a passing failure is tried again later; else the job ends."""
    if isinstance(error, BadArtifact):
        return _no_good(job, error, services)
    storing = isinstance(error, PartUnavailable | StorageError)
    in_time = services.clock.now() < job.deadline_at
    if error.retryable and (in_time or job.failures < policies.TRANSFER_FAILURES):
        after = retry.backoff(job.failures, seed=job.id.int, at_least=error.retry_after)
        reason = "storage" if storing else "backoff"
        parked = move(
            job, MoveName.BACKOFF, services, cause=error.code, stage=job.stage, until=after, parked=True,
            waiting_for=reason, changes={"failures": job.failures + 1},
        )  # fmt: skip
        return Park(services.clock.now() + after, reason) if commit(parked, services) else Lost()
    # What was paid is settled: the owner may have the job continued where it failed.
    changes = {"failure_stage": FailureStage.PERSISTING} if storing else None
    return fail(job, error, services, entries=settlement(job), changes=changes)


def _no_good(job: Job, error: BadArtifact, services: Services) -> Outcome:
    """The file is no picture, or gone: a fresh one is asked for once where somebody has it, or bought."""
    if job.cache_hit:
        found = services.jobs.cached(job.fingerprint, emulated=job.emulated)
        if found is not None and found.blob_sha256 == job.blob_sha256:
            services.jobs.forget(found, emulated=job.emulated)
        return buy_again(job, error, "cache", services, changes={"cache_hit": False})
    if job.provider_job_id is None or job.refreshed:
        facts = facts_of(job, "failed", error=error.document())
        return no_picture(job, error, job.cost_credits, services, facts=facts)
    wait_for = timedelta(0) if isinstance(error, ArtifactExpired) else policies.REFETCH_AFTER
    refresh = move(
        job, MoveName.REFRESH, services, cause=error.code, stage=Stage.POLL, until=wait_for, parked=True,
        waiting_for="fresh_url", changes={"refreshed": True, "result_url": None},
    )  # fmt: skip
    return Park(services.clock.now() + wait_for, "fresh_url") if commit(refresh, services) else Lost()
