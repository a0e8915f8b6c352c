"""A world to tell the pipeline's stories in: one clock, the doubles around it, a store, and the books.

The jobs live in a store of either kind (`tests.jobs_kit`); everything else is a double (`tests.pipeline_doubles`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

from imagegen import catalog, collecting, endings, money, pipeline
from imagegen.errors import PartUnavailable
from imagegen.jobs import Batch, Job
from imagegen.outcomes import Advance, Finish, Lost, Outcome, Park
from imagegen.ports import Services
from imagegen.states import Stage, Status
from imagegen.testing.blobs import MemoryBlobs
from imagegen.testing.breaker import MemoryBreaker
from imagegen.testing.memory import ManualClock, MemoryStyles
from tests.jobs_kit import NOW, Line, Store, new_batch, new_job
from tests.pipeline_doubles import Heard, Inline, Shop, StormyBlobs, StormyJobs, Weather, Web

CATALOG = catalog.load()
FINAL = {"settle", "release", "waste", "uncertain"}


class World:
    """Services on a store, and what a test does with them as workers, sweep and time would."""

    def __init__(self, store: Store) -> None:
        self.store, self.clock = store, ManualClock(NOW)
        self.jobs = StormyJobs(store.jobs, self.clock)
        self.files = MemoryBlobs(now=self.clock.now)
        self.blobs = StormyBlobs(self.files, self.clock)
        self.heard, self.web = Heard(), Web()
        self.redis = Weather(self.heard, self.clock)
        self.shop, self.studio = Shop("nanobanana"), Shop("gemini", synchronous=True)
        self.breaker = MemoryBreaker(self.clock)
        self.admitted: list[UUID] = []
        self.called: list[bytes] = []
        self.services = Services(
            **cast(Any, {
                "jobs": self.jobs, "costs": store.costs, "books": None, "alerts": None, "pauses": store.pauses,
                "deliveries": store.deliveries, "erasures": store.erasures, "event_log": store.event_log,
                "callbacks": store.callbacks, "metrics": store.metrics,
                "budgets": store.budgets(emulated=True), "styles": MemoryStyles(), "blobs": self.blobs,
                "breaker": self.breaker, "hints": self.heard, "results": self.redis, "transport": self.web,
                "catalog": CATALOG,
                "providers": {"nanobanana": self.shop, "gemini": self.studio}, "clock": self.clock, "emulated": True,
                "worker": "w1", "askers": Inline(),
            })
        )  # fmt: skip

    def job(self, provider: str = "nanobanana", **fields: Any) -> Job:
        """One admitted job, due now."""
        return self._admit([self.new(provider, **fields)], None)[0]

    def batch(self, batch: Batch, jobs: Sequence[Job]) -> list[Job]:
        """An admitted batch."""
        return self._admit(jobs, batch)

    def batch_of(self, size: int) -> tuple[Batch, list[Job]]:
        """An admitted batch of this many."""
        batch, _ = new_batch(size)
        return batch, self.batch(batch, [self.new("gemini", batch_id=batch.id, batch_index=one) for one in range(size)])

    def _admit(self, jobs: Sequence[Job], batch: Batch | None) -> list[Job]:
        found = list(self.store.jobs.admit(jobs, batch, worker="door").jobs)
        self.admitted += [job.id for job in found]
        return found

    def new(self, provider: str, **fields: Any) -> Job:
        """A job that can be drawn, not admitted yet."""
        usual = {
            "provider": provider, "model": "nano-banana", "width": 320, "height": 180, "emulated": True,
            "sent_prompt": "a fox", "plan": {"ratio": "16:9", "tier": "1K", "format": "png"},
            "request": {"prompt": "a fox", "provider": provider, "referenceImages": []},
            "created_at": self.clock.now(), "updated_at": self.clock.now(), "next_run_at": self.clock.now(),
        }  # fmt: skip
        return new_job(**{**usual, **fields})

    def now(self, job: Job) -> Job:
        """The job as it stands."""
        return self.store.jobs.get(job.id)

    def stage(self, job: Job, stage: Stage | None = None) -> Outcome:
        """One stage (by default the one that comes next), as a worker runs it."""
        stage = stage or self.now(job).stage
        if stage is Stage.POLL:
            return pipeline.poll([job.id], self.services)[job.id]
        if stage is Stage.RECONCILE:
            return pipeline.reconcile(job.id, self.services)
        work = {Stage.GENERATE: pipeline.generate, Stage.DOWNLOAD: pipeline.download, Stage.UPLOAD: pipeline.upload}
        return work[stage](job.id, None, self.services)

    def chain(self, job: Job) -> Outcome:
        """Stages until one does not advance. A part that stays away leaves the job to the sweep, as in a worker."""
        try:
            outcome = self.stage(job)
            while isinstance(outcome, Advance):
                outcome = self.stage(job, outcome.stage)
        except PartUnavailable:
            return Lost()
        if isinstance(outcome, Finish) and outcome.job.batch_id is not None:
            endings.finish_batch(outcome.job.batch_id, self.services)
        return outcome

    def sweep(self) -> list[UUID]:
        """One sweep, and what is collected by it; the jobs that were hinted at."""
        self.heard.hints.clear()
        try:
            pipeline.sweep(self.services)
            while self.heard.collects:
                collecting.collect(self.heard.collects.pop(), self.services)
        except PartUnavailable:
            self.clock.advance(1)
        return list(self.heard.hints)

    def live(self, *jobs: Job, rounds: int = 60) -> list[Job]:
        """Sweeps and works until these jobs have ended, moving the clock on to whatever comes next."""
        for _ in range(rounds):
            standing = [self.now(job) for job in jobs]
            due = [job.next_run_at for job in standing if job.next_run_at is not None]
            if not due:
                return standing
            self.clock.advance(max(0.0, (min(due) - self.clock.now()).total_seconds()))
            for job_id in self.sweep():
                self.chain(self.store.jobs.get(job_id))
        raise AssertionError(f"still {[(job.status, job.stage, job.waiting_for) for job in standing]}")

    def kinds(self, job: Job) -> list[str]:
        """The kinds of the job's ledger lines, in order."""
        return [kind for kind, _, _ in self.store.ledger(job.id)]

    def moves(self, job: Job) -> list[str]:
        """The job's history."""
        return [event.move for event in self.store.jobs.history(job.id)]

    def document(self, job: Job) -> Mapping[str, Any]:
        """The newest published document of the job."""
        return self.heard.documents[str(job.id)][-1]

    def _agrees(self, job: Job, lines: list[Line]) -> None:
        """What an ended job says of its money is what its lines sum up to."""
        sums = {kind: Decimal(0) for kind in FINAL}
        for kind, amount, _ in final_lines(lines):
            sums[kind] += amount
        told = (job.cost_credits or Decimal(0), job.cost_wasted or Decimal(0), job.cost_uncertain or Decimal(0))
        assert told == (sums["settle"], sums["waste"], sums["uncertain"])

    def closes(self, *, unsent: int | None = 0) -> None:
        """The books: each attempt of an ended job reserved once and closed once; as many paid as calls were charged.

        `unsent`: attempts in doubt whose call never left or cost nothing; None: any number, but nothing is understated.
        """
        paid = doubtful = 0
        for job in map(self.store.jobs.get, self.admitted):
            lines = self.store.ledger(job.id)
            moves = self.moves(job)
            assert moves.count("complete") + moves.count("stand_in") == (job.status is Status.COMPLETED)
            assert moves.count("submit") == job.attempts
            attempts = {attempt for _, _, attempt in lines}
            assert len(attempts) == job.attempts
            for attempt in attempts:
                kinds = [kind for kind, _, one in lines if one == attempt]
                assert kinds.count("reserve") == 1
                if job.terminal:
                    final = [kind for kind in kinds if kind in FINAL]
                    # A doubt may be resolved later, by one more line.
                    assert len(final) == 1 or (len(final) == 2 and final[0] == "uncertain"), kinds
                    paid += final[-1] in {"settle", "waste"}
                    doubtful += final[-1] == "uncertain"
            assert job.committed == money.committed(job)
            if job.terminal:
                assert (job.next_run_at, job.claim) == (None, None)
                self._agrees(job, lines)
        charged = self.shop.charged + self.studio.charged
        assert paid <= charged <= paid + doubtful
        assert unsent is None or paid + doubtful == charged + unsent


def final_lines(lines: Iterable[Line]) -> list[Line]:
    """The newest line of each attempt that is no reservation: what it came to."""
    return list({attempt: (kind, amount, attempt) for kind, amount, attempt in lines if kind in FINAL}.values())


def parked(outcome: Outcome) -> Park:
    """The outcome, which must be a rest."""
    assert isinstance(outcome, Park), outcome
    return outcome
