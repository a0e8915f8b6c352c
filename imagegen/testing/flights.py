"""The in-memory double: who leads a flight, who waits for it, and who is woken when its leader leaves."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from imagegen import pace, policies
from imagegen.errors import ImagegenError, rebuild
from imagegen.flights import FLIGHT, FLYING, SHARED, takes_part
from imagegen.jobs import Job
from imagegen.records import Cached, Limit, Stock
from imagegen.states import Stage, Status
from imagegen.testing.pace import Paces

Key = tuple[str, bool]


@dataclass(frozen=True)
class Flight:
    """A row of `imagegen_flights`."""

    leader: UUID
    taken_at: datetime


@dataclass
class Flights(Paces):
    """Flights by fingerprint, and how long a bought picture answers other jobs (`cache_ttl`; None: for ever)."""

    flights: dict[Key, Flight] = field(default_factory=dict)
    cache_ttl: timedelta | None = None

    def cached(self, fingerprint: str, *, emulated: bool, at: datetime | None = None) -> Cached | None:
        key = fingerprint, emulated
        found = self.pictures.get(key)
        old = (
            at is not None
            and self.cache_ttl is not None
            and found is not None
            and self.bought[key] < at - self.cache_ttl
        )
        return None if old else found

    def forget(self, cached: Cached, *, emulated: bool) -> None:
        with self._lock:
            found = self.pictures.get((cached.fingerprint, emulated))
            if found is not None and found.blob_sha256 == cached.blob_sha256:
                del self.pictures[cached.fingerprint, emulated]

    def stock(self, *, emulated: bool) -> Stock:
        with self._lock:
            return self._stock([key for key in self.pictures if key[1] == emulated], self._hits(emulated))

    def purge(self, *, emulated: bool, before: datetime | None = None, model: str | None = None) -> Stock:
        with self._lock:
            drawn = {job.fingerprint for job in self.jobs.values() if job.emulated == emulated and job.model == model}
            gone = [
                key
                for key in self.pictures
                if key[1] == emulated
                and (before is None or self.bought[key] < before)
                and (model is None or key[0] in drawn)
            ]
            names = {fingerprint for fingerprint, _ in gone}
            told = self._stock(gone, [job for job in self._hits(emulated) if job.fingerprint in names])
            for key in gone:
                del self.pictures[key]
            return told

    def _hits(self, emulated: bool) -> list[Job]:
        ended = (job for job in self.jobs.values() if job.emulated == emulated and job.status is Status.COMPLETED)
        return [job for job in ended if job.cache_hit]

    def _stock(self, keys: Collection[Key], hits: Collection[Job]) -> Stock:
        return Stock(
            entries=len(keys),
            bytes=sum(self.pictures[key].bytes for key in keys),
            oldest=min((self.bought[key] for key in keys), default=None),
            hits=len(hits),
            saved=sum((job.cost_estimated for job in hits if job.cost_estimated), start=Decimal(0)),
        )

    def _picture(self, job: Job, at: datetime) -> Cached | None:
        return None if job.fresh else self.cached(job.fingerprint, emulated=job.emulated, at=at)

    def _refusal(self, job: Job, at: datetime) -> ImagegenError | None:
        """The newest refusal of a twin that was refused while the job waited."""
        twins = [one for one in self.jobs.values() if takes_part(job) and job.run == 1 and _refused(one, job, at)]
        if not twins:
            return None
        newest = max(twins, key=lambda one: one.completed_at or at)
        told = {"code": newest.error_code, "message": newest.error_message, "retryable": newest.error_retryable}
        return rebuild({**told, "billed": "no"})

    def _settled(self, job: Job, at: datetime) -> bool:
        """Whether the job's intent to buy comes too late: its picture was bought or refused since."""
        known = self._picture(job, at) is not None or self._refusal(job, at) is not None
        return takes_part(job) and known

    def _fly(self, job: Job, at: datetime) -> bool:
        """Takes the flight if it is the job's; False: another one has it."""
        if not takes_part(job):
            return True
        key = job.fingerprint, job.emulated
        found = self.flights.get(key)
        if found is not None and found.leader != job.id and not self._left(found, at):
            return False
        self.flights[key] = Flight(job.id, at)
        return True

    def _left(self, flight: Flight, at: datetime) -> bool:
        if flight.taken_at > at - policies.FLIGHT_SURE:
            return False
        leader = self.jobs.get(flight.leader)
        if leader is None or leader.status in FLYING:
            return leader is None
        slot = leader.waiting_for in pace.WAITING or leader.slot_at is not None
        waits = leader.status is Status.QUEUED and slot and leader.deadline_at > at
        return not waits or self.paused(leader)

    def _turn(self, job: Job, limit: Limit | None, at: datetime) -> pace.Taken | pace.Kept | None:
        """What becomes of a job that is there to be claimed and has to be bought; `Taken.slot_at` None: at once."""
        if limit is not None and not pace.governs(limit, job.provider, job.model):
            return None
        if self.paused(job):
            return pace.Kept(reason=pace.PAUSED, until=at + policies.PAUSE_LOOK)
        turn = pace.Taken(slot_at=job.slot_at) if limit is None else self._admission(job, limit, at)
        if turn is None or not self._fly(job, at):
            return None if turn is None else pace.Kept(reason=FLIGHT, until=at + policies.FLIGHT_LOOK)
        if limit is not None and turn.next_slot is not None:
            self.pointers[limit.provider, limit.model] = turn.next_slot
        return turn

    def _land(self, before: Job, at: datetime, everybody: bool, left_alone: Collection[UUID] = ()) -> None:
        """The flight that this job led, as it stood before it moved, is over."""
        key = before.fingerprint, before.emulated
        flight = self.flights.get(key)
        if flight is None or flight.leader != before.id:
            return
        del self.flights[key]
        waiting = [job for job in self.jobs.values() if _follows(job, before)]
        if not everybody:
            others = (job for job in waiting if job.id not in left_alone)
            able = [job for job in others if job.deadline_at > at and not self.paused(job)]
            waiting = sorted(able, key=lambda job: (job.waiting_for is None, *_urgency(job, at)))[:1]
        for job in waiting:
            if job.waiting_for == FLIGHT:
                self.jobs[job.id] = replace(job, next_run_at=min(job.next_run_at or at, at), hints=0)


def _urgency(job: Job, at: datetime) -> tuple[float, datetime, UUID]:
    waited = (at - job.created_at).total_seconds()
    return job.priority - waited / policies.AGEING, job.created_at, job.id


def _follows(job: Job, leader: Job) -> bool:
    same = (job.fingerprint, job.emulated) == (leader.fingerprint, leader.emulated)
    queued = job.status is Status.QUEUED and job.stage is Stage.GENERATE
    return same and queued and job.id != leader.id and not job.fresh and job.waiting_for in {None, FLIGHT}


def _refused(twin: Job, job: Job, at: datetime) -> bool:
    ended = twin.completed_at
    while_it_waited = ended is not None and ended >= job.created_at and ended > at - policies.REFUSAL_SHARED
    same = (twin.fingerprint, twin.emulated) == (job.fingerprint, job.emulated) and twin.id != job.id
    return same and while_it_waited and twin.status is Status.FAILED and twin.error_code in SHARED
