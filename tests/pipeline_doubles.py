"""What stands around the pipeline in its tests: a provider by script, and parts that go away, strike or remember."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

from imagegen.errors import ImagegenError, PartUnavailable
from imagegen.job_store import Jobs
from imagegen.jobs import Batch, Job
from imagegen.ports_deliveries import Due
from imagegen.providers.base import Accepted, Delivered, Order, Progress, Ready, Rejected, Submission, Unknown
from imagegen.records import Move
from imagegen.states import MoveName, Stage
from imagegen.testing.blobs import MemoryBlobs
from imagegen.testing.memory import ManualClock
from imagegen.transport import Fetched
from tests.drawings import a_file

PICTURE = a_file("PNG")
PAID = Decimal("0.04")
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
