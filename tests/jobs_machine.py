"""A machine that does anything at any time to a store of jobs: hypothesis finds the order that breaks a promise.

Every action goes to all stores of the machine, which must answer alike. Answers of paid calls come late, twice, or to
attempts that are long over; workers die by never being heard of again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from imagegen import policies
from imagegen.recording import facts_of, move
from imagegen.records import Holding, Limit
from imagegen.states import LIVE, MoveName, Stage, Status
from tests.jobs_kit import Store, new_batch, new_job
from tests.jobs_players import Players, picture
from tests.jobs_promises import MAX_PAID

SOME = st.integers(0, 10_000)
PAUSES = st.sampled_from([0.0, 0.5, 5.0, 11.0, 21.0, 65.0])
OPEN_ENDED = {MoveName.RETRY}
ANSWERS = st.sampled_from(["accept", "accept", "deliver", "deliver", "doubt", "refuse", "waste", "fail"])
MOST_JOBS = 6


def run(stores: Callable[[], Sequence[Store]], examples: int, steps: int) -> None:
    """Plays this many games of this many steps; `stores` gives empty ones for each game."""
    chosen = settings(max_examples=examples, stateful_step_count=steps, deadline=None, report_multiple_bugs=False)
    run_state_machine_as_test(lambda: JobsMachine(stores()), settings=chosen)


class JobsMachine(Players):
    """Workers, owners, providers and the sweep, each at any moment."""

    @initialize(interval=st.sampled_from([None, 2.0]), in_flight=st.sampled_from([None, 2]))
    def begin(self, interval: float | None, in_flight: int | None) -> None:
        """There is always a job, and often a limit."""
        every = None if interval is None else timedelta(seconds=interval)
        self.limit = Limit(provider="fal", interval=every, in_flight=in_flight) if every or in_flight else None
        self.admit(0, False)

    @precondition(lambda self: len(self.ids) < MOST_JOBS)
    @rule(pick=SOME, together=st.booleans())
    def admit(self, pick: int, together: bool) -> None:
        """A job of its own or a batch of two, some of them for a picture that another may have bought."""
        at = self.clock.now()
        fields: dict[str, Any] = {"created_at": at, "updated_at": at, "next_run_at": at}
        fields |= {
            "deadline_at": at + timedelta(minutes=10),
            "fingerprint": f"f{pick % 2}",
            "max_paid_attempts": MAX_PAID,
        }
        batch, jobs = new_batch(2, id=self.number(), created_at=at) if together else (None, [new_job()])
        jobs = [replace(job, id=self.number(), priority=pick % 10, **fields) for job in jobs]
        jobs = [replace(job, batch_id=batch.id) for job in jobs] if batch else jobs
        self.every(lambda store: store.jobs.admit(jobs, batch, worker="door").jobs)
        self.ids += [job.id for job in jobs]
        self.batches += [batch.id] if batch else []

    @precondition(lambda self: self.sent)
    @rule(pick=SOME)
    def cancel(self, pick: int) -> None:
        """STOP while it is being bought, else CANCEL with what is known of its money."""
        job = self.one_of(self.living(*LIVE), pick)
        if job is None:
            return
        if job.status is Status.GENERATING and job.stage is Stage.GENERATE:
            held = {"held": None, "seen": (job.status, job.stage), "until": job.next_run_at, "claim": job.claim}
            said = replace(move(job, MoveName.STOP, self.as_worker, cause="owner"), **held)
            stopped = self.say(said)
            assert stopped is not None
            same = ("claim", "next_run_at", "waiting_for", "hints", "stage", "status")
            assert [getattr(stopped, name) for name in same] == [getattr(job, name) for name in same]
            assert stopped.stopped
            return
        self.end_cancelled(job)

    @precondition(lambda self: self.living(Status.FAILED))
    @rule(pick=SOME)
    def retry(self, pick: int) -> None:
        """A failed job goes on where it failed, buying again only with its owner's word."""
        job = self.one_of(self.living(Status.FAILED), pick)
        if job is None:
            return
        paid = job.blob_sha256 is not None
        changes = {} if paid else {"max_paid_attempts": job.paid_attempts + 1}
        self.bought |= set() if paid else {job.id}
        target, stage = (Status.UPLOADING, Stage.UPLOAD) if paid else (Status.QUEUED, Stage.GENERATE)
        again = self.move(job, MoveName.RETRY, target=target, stage=stage, changes=changes)
        assert again is not None
        assert (again.run, again.stopped) == (job.run + 1, False)

    @rule(scope=st.sampled_from(["all", "provider:fal", "owner:ada"]), ends=st.sampled_from([True, True, False]))
    def pause(self, scope: str, ends: bool) -> None:
        """Nothing more is to be bought, or everything again."""
        now = self.clock.now()
        if ends:
            self.every(lambda store: store.pauses.resume(scope, at=now))
        else:
            self.every(lambda store: store.pauses.pause(scope, reason="machine", at=now))

    # ── workers ──────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(pick=SOME, steps=st.integers(1, 5), how=ANSWERS)
    def go_on(self, pick: int, steps: int, how: str) -> None:
        """The next steps of one job as its workers would take them."""
        job = self.one_of(self.living(*LIVE), pick)
        for _ in range(steps if job else 0):
            job = self.job(job.id)
            if job.terminal:
                return
            self.next_step(job, how)

    @rule(pick=SOME, name=st.sampled_from([MoveName.CLAIM, MoveName.FETCH, MoveName.PUBLISH]))
    def claim(self, pick: int, name: MoveName) -> None:
        """A message came, wanted or not."""
        self.take(self.one_of(self.ids, pick), name)

    @precondition(lambda self: self.hands)
    @rule(pick=SOME, how=st.sampled_from(["submit", "submit", "submit", "hold", "reuse", "fail"]))
    def work(self, pick: int, how: str) -> None:
        """A worker that holds, or believes it holds, a claimed job."""
        job = self.one_of([job for job in self.hands if job.status is Status.PROCESSING], pick)
        if job is None:
            return
        if how == "submit":
            self.submit(job)
        elif how == "reuse":
            self.move(job, MoveName.REUSE, stage=Stage.UPLOAD, changes={**picture("a"), "cache_hit": True})
        elif how == "hold":
            self.move(job, MoveName.HOLD, stage=Stage.GENERATE, parked=True, waiting_for="backoff")
        else:
            self.move(job, MoveName.FAIL)

    @precondition(lambda self: self.sent)
    @rule(pick=SOME, how=ANSWERS)
    def answer(self, pick: int, how: str) -> None:
        """The answer of a paid call, now or much later, once or again."""
        self.answered(self.one_of(self.sent, pick), how)

    @precondition(lambda self: self.at(Stage.RECONCILE))
    @rule(pick=SOME, how=st.sampled_from(["deliver", "doubt", "fail"]))
    def reconcile(self, pick: int, how: str) -> None:
        """Somebody looks for an answer that nobody read."""
        job = self.one_of(self.at(Stage.RECONCILE), pick)
        if job is not None:
            self.reconciled(job, how)

    @precondition(lambda self: self.sent)
    @rule(pick=SOME, ready=st.booleans(), late=st.booleans())
    def poll(self, pick: int, ready: bool, late: bool) -> None:
        """What a provider says of an order, the newest or an old one."""
        job = self.one_of(self.sent if late else self.at(Stage.POLL), pick)
        if job is not None:
            self.polled(job, ready)

    @precondition(lambda self: self.hands)
    @rule(pick=SOME, how=st.sampled_from(["done", "done", "backoff", "refresh", "fail", "again"]))
    def transfer(self, pick: int, how: str) -> None:
        """A worker with a download or an upload, its own or taken from it long ago."""
        job = self.one_of([job for job in self.hands if job.status is Status.UPLOADING], pick)
        if job is not None:
            self.transferred(job, how)

    @precondition(lambda self: self.living(Status.FAILED))
    @rule(pick=SOME)
    def prove(self, pick: int) -> None:
        """The picture of a job that failed in doubt turns up, once or again."""
        job = self.one_of([job for job in self.living(Status.FAILED) if job.billed == "unknown"], pick)
        if job is None or job.attempt_id is None:
            return
        known = facts_of(job, "succeeded", blob_sha256="d" * 64)
        self.move(job, MoveName.PROVE, stage=Stage.UPLOAD, changes={**picture("d"), "billed": "yes"}, facts=known)

    @precondition(lambda self: self.said)
    @rule(pick=SOME)
    def say_again(self, pick: int) -> None:
        """A commit whose acknowledgement was lost is repeated, however much later."""
        said = self.one_of([one for one in self.said if one.name not in OPEN_ENDED], pick)
        if said is not None:
            self.every(lambda store: store.jobs.apply(said))

    # ── signs of life, callbacks, the sweep ──────────────────────────────────────────────────────────────────────

    @rule(seconds=PAUSES)
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.clock.advance(seconds)

    @precondition(lambda self: self.hands)
    @rule(pick=SOME, paying=st.booleans())
    def renew(self, pick: int, paying: bool) -> None:
        """A sign of life, of a worker that may have lost its job long ago."""
        job = self.one_of(self.sent if paying else self.hands, pick)
        if job is None or job.claim is None:
            return
        held = Holding(job_id=job.id, claim=job.claim, attempt_id=job.attempt_id if paying else None)
        until = self.clock.now() + policies.LEASE
        before = self.job(job.id)
        self.every(lambda store: store.jobs.renew([held], until=until))
        after = self.job(job.id)
        assert replace(after, next_run_at=None) == replace(before, next_run_at=None)

    @rule(pick=SOME)
    def wake(self, pick: int) -> None:
        """A callback came."""
        job_id, now = self.one_of(self.ids, pick), self.clock.now()
        self.every(lambda store: store.jobs.wake(job_id, at=now))

    @rule()
    def sweep(self) -> None:
        """What is due, told of, closed and looked for."""
        now = self.clock.now()
        self.hand_out()
        for batch_id in self.every(lambda store: store.jobs.unclosed_batches(limit=9)):
            close = partial(closed, batch_id, now)
            assert self.every(close) is not None
            assert self.every(close) is None
        ended = self.every(lambda store: store.jobs.unannounced(at=now, limit=9))
        self.every(lambda store: store.jobs.announced([job.id for job in ended]))

    @rule()
    def look_for_pictures(self) -> None:
        """Attempts of ended jobs are handed out."""
        now = self.clock.now()
        for attempt in self.every(lambda store: store.jobs.collectable(at=now, limit=9)):
            assert self.job(attempt.job_id).terminal


def closed(batch_id: UUID, at: datetime, store: Store) -> Any:
    """The batch, if closing it was left to us."""
    return store.jobs.close_batch(batch_id, at=at)
