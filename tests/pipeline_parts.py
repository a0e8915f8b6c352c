"""A world to tell the pipeline's stories in: one clock, scripted providers, parts that go away, and the books.

The jobs live in a store of either kind (`tests.jobs_kit`); everything else is a double behind its port.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar, cast
from uuid import UUID

from imagegen import catalog, collecting, endings, money, pipeline
from imagegen.errors import ImagegenError, PartUnavailable
from imagegen.job_store import Jobs
from imagegen.jobs import Batch, Job
from imagegen.outcomes import Advance, Finish, Lost, Outcome, Park
from imagegen.ports import Services
from imagegen.ports_deliveries import Due
from imagegen.providers.base import Accepted, Delivered, Order, Progress, Ready, Rejected, Submission, Unknown
from imagegen.records import Move
from imagegen.states import MoveName, Stage, Status
from imagegen.testing.blobs import MemoryBlobs
from imagegen.testing.breaker import MemoryBreaker
from imagegen.testing.memory import ManualClock, MemoryStyles
from imagegen.transport import Fetched
from tests.drawings import a_file
from tests.jobs_kit import CENTS, NOW, Line, Store, new_job

CATALOG = catalog.load()
PICTURE = a_file("PNG")
PAID = Decimal("0.04")
FINAL = {"settle", "release", "waste", "uncertain"}
Answer = TypeVar("Answer")


class Killed(BaseException):
    """The worker's process ended here."""


class Weather:
    """A part that answers, or is away until a time on the clock; `strikes` come once each, after `meanwhile`."""

    def __init__(self, part: Any, clock: ManualClock) -> None:
        self.part, self.clock = part, clock
        self.away_until = float("-inf")
        self.strikes: dict[str, BaseException] = {}
        self.meanwhile: Callable[[], None] = _nothing

    def go_away(self, seconds: float) -> None:
        self.away_until = self.clock.monotonic() + seconds

    def reach(self) -> None:
        if self.clock.monotonic() < self.away_until:
            raise PartUnavailable("away", {"part": type(self.part).__name__})

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.part, name)

        def called(*args: Any, **kwargs: Any) -> Any:
            self.reach()
            if name in self.strikes:
                struck = self.strikes.pop(name)
                self.meanwhile()
                raise struck
            return method(*args, **kwargs)

        return called


class StormyJobs(Weather):
    """Jobs whose moves can be struck, once each: `before` nothing is written, `after` it is, and the answer is lost."""

    def __init__(self, part: Jobs, clock: ManualClock) -> None:
        super().__init__(part, clock)
        self.before: dict[MoveName, Callable[[], None]] = {}
        self.after: dict[MoveName, Callable[[], None]] = {}

    def apply(self, move: Move) -> Job | None:
        return self._struck(move, self.part.apply)

    def reserve(self, move: Move) -> Job | None:
        return self._struck(move, self.part.reserve)

    def _struck(self, move: Move, act: Callable[[Move], Job | None]) -> Job | None:
        self.reach()
        self.before.pop(move.name, _nothing)()
        self.reach()
        moved = act(move)
        self.after.pop(move.name, _nothing)()
        self.reach()
        return moved


class StormyBlobs(Weather):
    """Blobs that refuse to keep what lies below a prefix, or end the worker once it is kept."""

    def __init__(self, part: MemoryBlobs, clock: ManualClock) -> None:
        super().__init__(part, clock)
        self.refused: dict[str, ImagegenError] = {}
        self.kills: set[str] = set()

    def put(self, key: str, data: bytes, content_type: str, *, cache_control: str | None = None) -> None:
        self.reach()
        prefix = key.split("/")[0] if "/" in key else key
        if prefix in self.refused:
            raise self.refused[prefix]
        self.part.put(key, data, content_type, cache_control=cache_control)
        if prefix in self.kills:
            self.kills.remove(prefix)
            raise Killed


def _nothing() -> None:
    """No strike."""


def strike(error: BaseException) -> Callable[[], None]:
    """Raises this when it comes."""

    def struck() -> None:
        raise error

    return struck


@dataclass
class Shop:
    """A provider by script: what is not in its lists goes well. `charged` counts calls that cost money.

    `told` answers the next poll of an order, where `progresses` has nothing for whoever asks first.
    """

    name: str
    synchronous: bool = False
    takes_bytes: bool = True
    reconcile_window: float = 0.0
    submissions: list[Submission | BaseException] = field(default_factory=list)
    progresses: list[Progress | ImagegenError] = field(default_factory=list)
    told: dict[str, Progress] = field(default_factory=dict)
    meanwhile: Callable[[], Any] = _nothing
    calls: int = 0
    charged: int = 0
    polls: int = 0
    callback_urls: list[str | None] = field(default_factory=list)

    def submit(self, order: Order, *, callback_url: str | None) -> Submission:
        self.calls += 1
        self.callback_urls.append(callback_url)
        self.meanwhile()
        answer = self.submissions.pop(0) if self.submissions else self._well()
        costs = isinstance(answer, Accepted | Delivered | Unknown | BaseException)
        if costs or (isinstance(answer, Rejected) and (answer.actual or answer.error.billed != "no")):
            self.charged += 1
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _well(self) -> Submission:
        return Delivered(data=PICTURE, actual=PAID) if self.synchronous else Accepted(provider_job_id=f"o{self.calls}")

    def poll(self, provider_job_id: str) -> Progress:
        self.polls += 1
        ready = Ready(url=f"https://p.test/{self.polls}", actual=PAID)
        answer = self.progresses.pop(0) if self.progresses else self.told.pop(provider_job_id, ready)
        if isinstance(answer, ImagegenError):
            raise answer
        return answer

    def callback_task(self, body: Any) -> str | None:
        return body.get("task") if isinstance(body, dict) else None

    def credit(self) -> Decimal | None:
        return None


@dataclass
class Web:
    """Files by script: bytes or an error for each fetch in turn, then the picture."""

    answers: list[bytes | ImagegenError] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)

    def fetch(self, url: str, *, max_bytes: int, total: float) -> Fetched:
        self.fetched.append(url)
        answer = self.answers.pop(0) if self.answers else PICTURE
        if isinstance(answer, ImagegenError):
            raise answer
        return Fetched(answer, "image/png")


class Heard:
    """Hints and results, remembered."""

    def __init__(self) -> None:
        self.hints: list[UUID] = []
        self.documents: dict[str, list[Mapping[str, Any]]] = {}
        self.withdrawn: list[str] = []
        self.collects: list[UUID] = []
        self.full: frozenset[Stage] = frozenset()
        self.due: list[Due] = []
        self.notified: list[tuple[Mapping[str, str], str, Mapping[str, Any]]] = []

    def jobs(self, jobs: Iterable[Job]) -> None:
        self.hints += [job.id for job in jobs]

    def batch(self, batch: Batch, jobs: Sequence[Job]) -> None:
        self.jobs(jobs)

    def publish(self, identity: str, document: Mapping[str, Any]) -> None:
        self.documents.setdefault(identity, []).append(document)

    def collect(self, attempt_id: UUID) -> None:
        self.collects.append(attempt_id)

    def deliveries(self, due: Sequence[Due]) -> None:
        self.due += due

    def notify(self, task: Mapping[str, str], task_id: str, document: Mapping[str, Any]) -> None:
        self.notified.append((task, task_id, document))

    def crowded(self) -> frozenset[Stage]:
        return self.full

    def withdraw(self, identity: str) -> None:
        self.withdrawn.append(identity)

    def acknowledge(self, identity: str) -> None:
        """Nobody waits here."""


class Inline(Executor):
    """Does what it is given at once, in order."""

    def submit(self, fn: Callable[..., Answer], /, *args: Any, **kwargs: Any) -> Future[Answer]:
        future: Future[Answer] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


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
                "callbacks": store.callbacks,
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


__all__ = ["CENTS", "PAID", "PICTURE", "Killed", "Shop", "World", "parked", "strike"]
