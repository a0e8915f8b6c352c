"""Erasing what was asked for and drawn, of a job, of an owner, or of whatever is past its life; the books stay.

    intent committed ─► results withdrawn, objects and the provider's copy deleted ─► rows cleared, `erased_at`
         │                                                                                │ after a grace
         └── interrupted anywhere: `sweep` takes it up again                              └── originals and inputs that
                                                                                              no row names any more
What is live, or whose paid picture is still looked for, is erased when that is over: a charge is never lost sight of.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from imagegen import cancelling, endings, layout, policies
from imagegen.errors import Conflict, ImagegenError, InvalidRequest, NotFound, PartUnavailable, StorageError, Temporary
from imagegen.jobs import Job
from imagegen.ports import Services
from imagegen.ports_erasures import Discard, Erasing, Scope, Stake
from imagegen.providers.base import Forgetful
from imagegen.records import JobFilter

log = logging.getLogger(__name__)

KEPT = {
    "nanobanana": "no API for deletion; an original's address ends after 10 minutes, a result's after a time it does"
    " not name",
    "gemini": "no API for deletion; a picture comes with the answer itself, and no order is kept that could be named",
}
"""What providers without an API for deletion are known to keep (docs.nanobananaapi.ai, "Get task details";
ai.google.dev, `models.generateContent`)."""
_UNKNOWN = "no API for deletion"


@dataclass(kw_only=True)
class Erased:
    """What an erasure came to. `orders`: paid calls by provider; `forgotten`: those whose provider deleted its copy;
    `waits`: jobs that are erased later, by the sweep; `trouble`: why, where a part was away."""

    stake: Stake
    jobs: int = 0
    orders: Counter[str] = field(default_factory=Counter)
    forgotten: Counter[str] = field(default_factory=Counter)
    waits: int = 0
    trouble: str | None = None

    def document(self) -> dict[str, Any]:
        """JSON: `{jobs, pictures, bytes, styles, waits, trouble, providers: [{provider, orders, deleted, note}]}`."""
        told = {"pictures": self.stake.pictures, "bytes": self.stake.bytes, "styles": self.stake.styles}
        return {
            "jobs": self.jobs, **told, "waits": self.waits, "trouble": self.trouble, "providers": [
                {"provider": name, "orders": orders, "deleted": self.forgotten[name], "note": note(name, self)}
                for name, orders in sorted(self.orders.items())
            ],
        }  # fmt: skip


def note(provider: str, done: Erased) -> str | None:
    """What a provider keeps all the same; None where it deleted everything."""
    return None if done.forgotten[provider] == done.orders[provider] else KEPT.get(provider, _UNKNOWN)


def erase_job(job_id: UUID, services: Services, *, owner: str | None = None) -> Erased:
    """Erases an ended job, with its replacement or what it replaced. Erasing what is erased is fine.

    Raises `NotFound`, and `Conflict` for a live job.
    """
    job = services.jobs.get(job_id, owner=owner)
    if not job.terminal:
        raise Conflict(f"job {job_id} is {job.status}: cancel it first")
    return _erase(Scope(job_id=job_id), services)


def erase_owner(owner: str, services: Services) -> Erased:
    """Cancels what is live of this owner's and erases everything it has: jobs, pictures, and its own styles.

    Budgets, pauses and the books keep the owner's name. Erasing once more is fine; raises `NotFound` for an owner that
    never had anything.
    """
    scope = Scope(owner=owner)
    stake_of(scope, services)
    return _erase(scope, services)


def stake_of(scope: Scope, services: Services) -> Stake:
    """What an erasure would come to; nothing is changed. Raises `NotFound` for an unknown job or owner."""
    if scope.job_id is not None:
        services.jobs.get(scope.job_id)
        return services.erasures.stake(scope)
    owner = _named(scope.owner)
    stake = services.erasures.stake(scope)
    if not stake.jobs and not stake.styles and not services.jobs.list(JobFilter(owner=owner), limit=1)[0]:
        raise NotFound(f"there is nothing of an owner {owner}")
    return stake


def sweep(services: Services) -> int:
    """The housekeeping's part: what is past its life, what was left to do, objects that nobody names; jobs erased."""
    for _ in range(policies.ERASE_ROUNDS):
        if not services.lives or not services.erasures.retire(
            services.lives, at=services.clock.now(), limit=policies.ERASE_AT_ONCE
        ):
            break
    done = Erased(stake=Stake())
    for _ in range(policies.ERASE_ROUNDS):
        if not _chunk(None, done, services):
            break
    discard(services)
    return done.jobs


def discard(services: Services) -> int:
    """Deletes originals and inputs whose last referrer was erased and that nobody stored again since; how many."""
    now, settled, deleted = services.clock.now(), [], 0
    for one in services.erasures.discards(at=now, limit=policies.DISCARDS_AT_ONCE):
        info = None if one.referred else services.blobs.head(one.key)
        if info is not None and info.modified + _grace(one) > now:
            services.erasures.put_off(one.key, until=info.modified + _grace(one))
            continue
        if info is not None:
            services.blobs.delete(one.key)
            deleted += 1
        settled.append(one.key)
    if settled:
        services.erasures.discarded(settled)
    return deleted


def _grace(one: Discard) -> Any:
    return policies.INPUT_GRACE if one.key.startswith(layout.INPUTS) else policies.DISCARD_GRACE


def _named(owner: str | None) -> str:
    if not owner:
        raise InvalidRequest.of("owner", "is empty", "Name one: erase owner:NAME.")
    return owner


def _erase(scope: Scope, services: Services) -> Erased:
    done = Erased(stake=services.erasures.stake(scope))
    now = services.clock.now()
    for job_id in services.erasures.request(scope, at=now, until=now + policies.ERASE_AGAIN):
        with suppress(Conflict):  # It ended meanwhile, or moves on: the sweep erases it at its end.
            cancelling.cancel(job_id, services)
    try:
        while _chunk(scope, done, services):
            pass
    except (PartUnavailable, StorageError, Temporary) as error:
        log.warning("an erasure waits: %s", error)
        done.trouble = str(error)
    done.waits = services.erasures.stake(scope).jobs
    return done


def _chunk(scope: Scope | None, done: Erased, services: Services) -> int:
    """Takes up to `policies.ERASE_AT_ONCE` jobs and erases those it can; how many it erased.

    With a scope the first trouble is raised; without, it is told, and the others go on.
    """
    now = services.clock.now()
    taken = services.erasures.due(
        at=now, until=now + policies.ERASE_AGAIN, limit=policies.ERASE_AT_ONCE, scope=scope
    )  # fmt: skip
    ready: list[Erasing] = []
    for one in taken:
        try:
            _forget(one, done, services)
            ready.append(one)
        except ImagegenError as error:
            if scope is not None:
                raise
            log.warning("the erasure of job %s waits: %s", one.job.id, error)
    cleared = services.erasures.erase(
        [one.job.id for one in ready], at=services.clock.now(), grace=policies.DISCARD_GRACE
    ) if ready else ()  # fmt: skip
    _retell([one.job for one in ready], services)
    done.jobs += len(cleared)
    return len(cleared)


def _forget(one: Erasing, done: Erased, services: Services) -> None:
    """All that lies outside the database, and can be named by nothing but this job. As often as it is asked."""
    job = one.job
    _withdraw(job, services)
    for key in _objects(one):
        services.blobs.delete(key)
    for attempt in one.attempts:
        if attempt.provider_job_id is None and attempt.state in {"not_sent", "rejected"}:
            continue
        done.orders[attempt.provider] += 1
        provider = services.providers.get(attempt.provider)
        if isinstance(provider, Forgetful) and attempt.provider_job_id is not None:
            provider.forget(attempt.provider_job_id)
            done.forgotten[attempt.provider] += 1


def _objects(one: Erasing) -> Iterator[str]:
    own = (layout.picture_keys(one.job), layout.placeholder_keys(one.job))
    keys = {key for pair in own for key in (pair.picture, pair.thumbnail)}
    if one.job.object_key is not None:
        keys |= {one.job.object_key, layout.thumbnail_key(one.job.object_key)}
    yield from sorted(keys)
    yield from (layout.attempt_key(attempt.id) for attempt in one.attempts)


def _withdraw(job: Job, services: Services) -> None:
    identities = [job.id, *job.aliases]
    if job.batch_id is not None:
        batch, _ = services.jobs.get_batch(job.batch_id)
        identities += [batch.id, *batch.aliases]
    for identity in identities:
        services.results.withdraw(str(identity))


def _retell(jobs: Sequence[Job], services: Services) -> None:
    """Who asks for a batch of which something is left is told that."""
    for batch_id in {job.batch_id for job in jobs if job.batch_id is not None}:
        _, members = services.jobs.get_batch(batch_id)
        if any(member.erased_at is None for member in members):
            endings.announce_batch(batch_id, services)
