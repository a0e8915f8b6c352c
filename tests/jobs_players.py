"""What owners, workers and providers do to the jobs of the machine (`tests.jobs_machine`), one deed at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from imagegen import policies
from imagegen.jobs import Job
from imagegen.recording import facts_of, move
from imagegen.records import Claimed, Entry, Limit, Move, NewAttempt, Polled
from imagegen.states import MoveName, Stage, Status
from imagegen.testing.memory import ManualClock
from tests.jobs_kit import CENTS, NOW, Store
from tests.jobs_promises import Promises

PICTURE = {"picture": {"width": 1344, "height": 768, "bytes": 4711}}


def picture(letter: str) -> dict[str, Any]:
    """The columns of a job whose original is in the store."""
    return {"blob_sha256": letter * 64, "blob_content_type": "image/png"}


class Players(Promises):
    """What every worker ever held (`hands`), every paid call ever sent, and every move ever made (`said`)."""

    def __init__(self, stores: Sequence[Store]) -> None:
        super().__init__(stores)
        self.clock = ManualClock(NOW)
        self.as_worker: Any = SimpleNamespace(clock=self.clock, worker="w1")
        self.hands: list[Job] = []
        self.said: list[Move] = []
        self.numbers = 0
        self.limit: Limit | None = None
        self.slots: list[datetime] = []

    def number(self) -> UUID:
        """The next id."""
        self.numbers += 1
        return UUID(int=self.numbers)

    def one_of(self, found: Sequence[Any], pick: int) -> Any:
        return found[pick % len(found)] if found else None

    def living(self, *statuses: Status) -> list[Job]:
        return [job for job in map(self.job, self.ids) if job.status in statuses]

    def at(self, stage: Stage) -> list[Job]:
        return [job for job in self.living(Status.GENERATING) if job.stage is stage]

    def say(self, said: Move) -> Job | None:
        """One move, remembered so that it can be said again later."""
        self.said.append(said)
        moved: Job | None = self.every(lambda store: store.jobs.apply(said))
        return moved

    def move(self, job: Job, name: MoveName, **fields: Any) -> Job | None:
        until = None if name in {MoveName.COMPLETE, MoveName.FAIL, MoveName.CANCEL} else policies.GRACE
        return self.say(move(job, name, self.as_worker, **{"cause": "machine", "until": until, **fields}))

    def line(self, job: Job, kind: Any, always: bool = False) -> tuple[Entry, ...]:
        return (Entry(kind=kind, amount=CENTS, attempt_id=job.attempt_id, always=always, run=job.run),)

    def end_cancelled(self, job: Job, state: Any = "unknown") -> None:
        """CANCEL as an owner's: no claim needed, but the place where the job was seen."""
        known: dict[str, Any] = {}
        if job.status is Status.GENERATING:
            known = {"facts": facts_of(job, state, collect=True), "entries": self.line(job, "uncertain")}
        elif job.status is Status.UPLOADING and not job.cache_hit:
            known = {"entries": self.line(job, "settle")}
        said = move(job, MoveName.CANCEL, self.as_worker, cause="owner", **known)
        ended = self.say(replace(said, held=None, seen=(job.status, job.stage)))
        assert ended is not None

    def take(self, job_id: UUID, name: MoveName) -> None:
        """A message is taken, and with luck the job."""
        now = self.clock.now()
        asks = Move(job_id=job_id, name=name, at=now, cause="claimed", worker="w1",
                    claim=self.number(), until=now + policies.LEASE)  # fmt: skip
        before = self.job(asks.job_id)
        limit = self.limit if name is MoveName.CLAIM else None
        taken = self.every(lambda store: store.jobs.claim(asks, None, limit))
        if isinstance(taken, Claimed):
            self.keep_pace(taken)
            assert not before.claim or (before.next_run_at is not None and before.next_run_at <= now)
            self.hands.append(taken.job)

    def keep_pace(self, taken: Claimed) -> None:
        """No two slots of a limit are nearer to each other than it says."""
        slot, interval = taken.job.slot_at, self.limit.interval if self.limit else None
        if slot is not None and interval is not None:
            assert all(abs(slot - other) >= interval for other in self.slots)
            self.slots.append(slot)

    def hand_out(self) -> None:
        """The sweep's part in buying: slots, and what is due."""
        now, limit = self.clock.now(), self.limit
        if limit is not None:
            self.every(lambda store: store.jobs.paced(limit, at=now))
        self.every(lambda store: store.jobs.due(at=now, limit=9, grace=policies.GRACE, worker="sweep"))

    def next_step(self, job: Job, how: str) -> None:
        """Whatever comes next where the job stands."""
        mine = [number for number, one in enumerate(self.hands) if one.claim == job.claim and job.claim]
        if job.status is Status.QUEUED:
            if job.waiting_for is not None:
                self.clock.advance(3.0)
                self.hand_out()
            self.take(job.id, MoveName.CLAIM)
        elif job.status is Status.UPLOADING and not mine:
            self.take(job.id, MoveName.FETCH if job.stage is Stage.DOWNLOAD else MoveName.PUBLISH)
        elif job.status is Status.UPLOADING:
            self.transferred(self.hands[mine[-1]], "done")
        elif job.status is Status.PROCESSING and mine:
            self.submit(self.hands[mine[-1]])
        elif job.stage is Stage.GENERATE:
            self.answered(job, how)
        elif job.stage is Stage.POLL:
            self.polled(job, ready=True)
        else:
            self.reconciled(job, "deliver")

    def submit(self, job: Job) -> None:
        """The intent; whoever commits it has sent a paid call whose answer may come at any time."""
        if job.paid_attempts >= job.max_paid_attempts:
            return
        new = NewAttempt(
            id=self.number(), job_id=job.id, number=job.attempts + 1, provider=job.provider, model=job.model,
            token="t", estimate=CENTS, emulated=False,
        )  # fmt: skip
        sent = self.move(
            job, MoveName.SUBMIT, stage=Stage.GENERATE, claim=job.claim, new_attempt=new, until=policies.LEASE,
            changes={"paid_attempts": job.paid_attempts + 1, "cache_hit": False},
            entries=(Entry(kind="reserve", amount=CENTS, attempt_id=new.id, run=job.run),),
        )  # fmt: skip
        if sent is not None:
            self.sent.append(sent)

    def answered(self, job: Job, how: str) -> None:
        """What a worker does with an answer: told to the job, or, where that was stopped, its end."""
        before = self.job(job.id)
        moved = self.move(job, **self.answers(job)[how])
        if moved is None and before.stopped and before.attempt_id == job.attempt_id and not before.terminal:
            self.end_cancelled(before, "accepted" if how == "accept" else "unknown")
        assert moved is None or before.attempt_id == job.attempt_id

    def answers(self, job: Job) -> dict[str, dict[str, Any]]:
        """How a paid call ends, as the pipeline writes it."""
        again = {"stage": Stage.GENERATE, "parked": True, "waiting_for": "backoff", "name": MoveName.REPEAT}
        rest = {"parked": True, "waiting_for": "provider"}
        doubt = {"parked": True, "waiting_for": "reconcile"}
        order = str(job.attempt_id)
        kept = {**picture("b"), "billed": "yes"}
        return {
            "accept": {"name": MoveName.ACCEPT, "stage": Stage.POLL, "changes": {"provider_job_id": order}, **rest,
                       "facts": facts_of(job, "accepted", provider_job_id=order)},
            "deliver": {"name": MoveName.DELIVER, "stage": Stage.UPLOAD, "changes": kept,
                        "facts": facts_of(job, "succeeded", actual=CENTS, blob_sha256="b" * 64)},
            "doubt": {"name": MoveName.DOUBT, "stage": Stage.RECONCILE, "facts": facts_of(job, "unknown"), **doubt},
            "refuse": {**again, "changes": {"paid_attempts": job.paid_attempts - 1},
                       "facts": facts_of(job, "rejected"), "entries": self.line(job, "release", True)},
            "waste": {**again, "facts": facts_of(job, "failed"), "entries": self.line(job, "waste", True)},
            "fail": {"name": MoveName.FAIL, "changes": {"billed": "unknown"}, "facts": facts_of(job, "unknown"),
                     "entries": self.line(job, "uncertain")},
        }  # fmt: skip

    def reconciled(self, job: Job, how: str) -> None:
        """What was found, or that its owner had stopped it."""
        if job.stopped:
            self.end_cancelled(job)
        else:
            self.move(job, **self.answers(job)[how])

    def polled(self, job: Job, ready: bool) -> None:
        """One answer to one poll."""
        now = self.clock.now()
        url, actual = ("https://p.test/1", CENTS) if ready else (None, None)
        found = Polled(job_id=job.id, attempt_id=job.attempt_id, until=now + timedelta(seconds=2), result_url=url,
                       actual=actual)  # fmt: skip
        before = self.job(job.id)
        self.every(lambda store: store.jobs.pollable([job.id], at=now))
        moved = self.every(lambda store: store.jobs.polled([found], at=now, worker="w1", grace=policies.GRACE))
        assert not moved or before.attempt_id == job.attempt_id

    def transferred(self, job: Job, how: str) -> None:
        """How a download or an upload ends."""
        settle = () if job.cache_hit else self.line(job, "settle")
        ways: dict[str, dict[str, Any]] = {
            "backoff": {"name": MoveName.BACKOFF, "stage": job.stage, "parked": True, "waiting_for": "backoff"},
            "refresh": {"name": MoveName.REFRESH, "stage": Stage.POLL, "parked": True, "waiting_for": "fresh_url"},
            "fail": {"name": MoveName.FAIL, "entries": settle},
            "again": {"name": MoveName.REPEAT, "stage": Stage.GENERATE, "changes": {"blob_sha256": None},
                      "entries": () if job.cache_hit else self.line(job, "waste")},
            "done": {"name": MoveName.COMPLETE, "stage": Stage.UPLOAD, "entries": settle, "detail": PICTURE},
        }  # fmt: skip
        if job.stage is Stage.DOWNLOAD:
            ways["done"] = {"name": MoveName.FETCHED, "stage": Stage.UPLOAD, 
                            "changes": picture("c"),
                            "facts": facts_of(job, "succeeded", blob_sha256="c" * 64)}  # fmt: skip
        if job.provider_job_id is None and how == "refresh":
            return
        self.move(job, **ways[how])
