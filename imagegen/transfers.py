"""What a failed download or upload comes to: asked for again, tried later, or the end."""

from __future__ import annotations

from datetime import timedelta

from imagegen import policies, retry
from imagegen.endings import fail, no_picture
from imagegen.errors import ArtifactExpired, BadArtifact, ImagegenError, PartUnavailable, StorageError
from imagegen.jobs import Job
from imagegen.outcomes import Lost, Outcome, Park
from imagegen.ports import Services
from imagegen.recording import facts_of, move
from imagegen.states import FailureStage, MoveName, Stage


def transfer_failed(job: Job, error: ImagegenError, services: Services) -> Outcome:
    """A bad or expired file is asked for once more; a passing failure is tried again later; else the job ends."""
    again = isinstance(error, BadArtifact) and not job.refreshed and job.provider_job_id is not None
    if again:
        wait_for = timedelta(0) if isinstance(error, ArtifactExpired) else policies.REFETCH_AFTER
        refresh = move(
            job, MoveName.REFRESH, services, cause=error.code, stage=Stage.POLL, until=wait_for, parked=True,
            waiting_for="fresh_url", changes={"refreshed": True, "result_url": None},
        )  # fmt: skip
        return Park(services.clock.now() + wait_for, "fresh_url") if services.jobs.apply(refresh) else Lost()
    passing = isinstance(error, PartUnavailable) or (error.retryable and not isinstance(error, BadArtifact))
    if passing and job.failures < policies.TRANSFER_FAILURES:
        after = retry.backoff(job.failures, seed=job.id.int, at_least=error.retry_after)
        parked = move(
            job, MoveName.BACKOFF, services, cause=error.code, stage=job.stage, until=after, parked=True,
            waiting_for="storage" if isinstance(error, PartUnavailable | StorageError) else "backoff",
            changes={"failures": job.failures + 1},
        )  # fmt: skip
        return Park(services.clock.now() + after, "backoff") if services.jobs.apply(parked) else Lost()
    if isinstance(error, BadArtifact) and job.attempt_id is not None:
        return no_picture(job, error, job.cost_credits, services, facts=facts_of(job, "failed", error=error.document()))
    storing = isinstance(error, PartUnavailable | StorageError)
    return fail(job, error, services, changes={"failure_stage": FailureStage.PERSISTING} if storing else None)
