"""Asking providers how a chunk of jobs stands, and what each answer comes to."""

from __future__ import annotations

from concurrent.futures import wait
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from imagegen import cadence, money, policies
from imagegen.endings import no_picture
from imagegen.errors import ImagegenError
from imagegen.jobs import Job
from imagegen.outcomes import Outcome
from imagegen.ports import Services
from imagegen.providers.base import Progress, Ready
from imagegen.recording import facts_of
from imagegen.records import Polled


def ask(jobs: list[Job], services: Services) -> dict[UUID, Progress | ImagegenError]:
    """One question per job, a few connections at once, all within the total deadline; the rest is asked again."""
    if len(jobs) == 1:
        return {jobs[0].id: _ask_one(jobs[0], services)}
    asked = {services.askers.submit(_ask_one, job, services): job.id for job in jobs}
    done, late = wait(asked, timeout=policies.POLL_TOTAL)
    for one in late:
        one.cancel()
    return {asked[one]: one.result() for one in done}


def _ask_one(job: Job, services: Services) -> Progress | ImagegenError:
    try:
        provider = services.provider(job.provider)
        with services.breaker.call(job.provider, "poll") as report:
            try:
                progress = provider.poll(job.provider_job_id or "")
            except ImagegenError as error:
                if error.code == "TEMPORARY":
                    report(False)
                raise
            report(True)
            return progress
    except ImagegenError as error:
        return error


def seen(job: Job, progress: Progress | ImagegenError, services: Services) -> Polled:
    """What to write of an answer that is no failure: the picture's URL, or when to ask again."""
    assert job.attempt_id is not None
    now = services.clock.now()
    later = now + cadence.next_poll(job, services)
    if isinstance(progress, ImagegenError) and progress.retry_after:
        later += timedelta(seconds=progress.retry_after)
    until = min(later, job.deadline_at) if now < job.deadline_at else later
    rests = Polled(job_id=job.id, attempt_id=job.attempt_id, until=until)
    if isinstance(progress, Ready):
        told = [progress.actual, job.cost_credits, job.cost_estimated]
        if job.run > 1:
            # The price of an order that is continued stands in the books already.
            told = [job.cost_credits, progress.actual, job.cost_estimated]
        actual = next((price for price in told if price is not None), None)
        return replace(rests, result_url=progress.url, actual=actual, usage=progress.usage)
    return rests


def failed_by_provider(job: Job, error: ImagegenError, services: Services) -> Outcome:
    """The provider gave the order up."""
    charged = money.price_of(job) if error.billed == "yes" else None
    facts = facts_of(job, "failed", actual=charged, error=error.document())
    return no_picture(job, error, charged, services, facts=facts)
