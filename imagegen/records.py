"""What the ports are told and answer with, beside the jobs themselves: value objects without behaviour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from imagegen import policies
from imagegen.errors import ImagegenError
from imagegen.jobs import Batch, Job
from imagegen.states import MoveName, Stage, Status

AttemptState = Literal["submitting", "not_sent", "rejected", "accepted", "unknown", "succeeded", "failed"]
EntryKind = Literal["reserve", "settle", "release", "waste", "uncertain"]


@dataclass(frozen=True, kw_only=True)
class NewAttempt:
    """The intent to buy, committed before the paid call (state `submitting`). `callback`: its provider will call."""

    id: UUID
    job_id: UUID
    number: int
    provider: str
    model: str
    token: str
    estimate: Decimal
    emulated: bool
    callback: Literal["expected"] | None = None


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a call taught us of an attempt: written whatever the job's own move comes to (law 3).

    `collect`: its job ends without the picture that was or may have been paid, so it is to be looked for afterwards.
    """

    attempt_id: UUID
    state: AttemptState
    provider_job_id: str | None = None
    result_url: str | None = None
    blob_sha256: str | None = None
    usage: Mapping[str, Any] | None = None
    actual: Decimal | None = None
    error: Mapping[str, Any] | None = None
    collect: bool = False


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One ledger line in US dollars; `always` writes it even where the job's move finds nothing to move.

    `run`: the job's when this was decided. An attempt has one line of a kind in a run, so one that is sent again after
    the job went on changes nothing.
    """

    kind: EntryKind
    amount: Decimal
    attempt_id: UUID | None
    price: Mapping[str, Any] = field(default_factory=dict)
    always: bool = False
    run: int = 1


@dataclass(frozen=True, kw_only=True)
class Move:
    """One guarded step of a job: what `MOVES[name]` allows, and everything that is written with it.

    `held`: the claim this worker must still hold (None: no claim needed). `claim`: the new claim (None frees it).
    `seen`: the status, and the stage unless None, that the job must still have, where the rule allows more; `run`: the
    run that it must still be in (None: any).
    `until`: the new `next_run_at`; at an end, when it is announced again (None: not). `parked`: a wake-up that came
    meanwhile wins over `until`.
    `target`: the new status where the rule leaves it open (RETRY). A move with `facts` happens only while their
    attempt is the job's current one: a late answer to an old attempt never touches a newer one's job.
    `detail` goes into the event; its `picture` {width, height, bytes} lets COMPLETE feed the result cache with the
    original, which is known to decode only then; a cache hit or a placeholder never does.
    """

    job_id: UUID
    name: MoveName
    at: datetime
    cause: str
    worker: str
    stage: Stage | None = None
    target: Status | None = None
    until: datetime | None = None
    parked: bool = False
    waiting_for: str | None = None
    held: UUID | None = None
    seen: tuple[Status, Stage | None] | None = None
    run: int | None = None
    claim: UUID | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    new_attempt: NewAttempt | None = None
    facts: Facts | None = None
    entries: tuple[Entry, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Polled:
    """What one poll found: `until` and nothing else (still running), or the picture's URL.

    Failures are rare and go through `Jobs.apply` one by one.
    """

    job_id: UUID
    attempt_id: UUID
    until: datetime
    result_url: str | None = None
    actual: Decimal | None = None
    usage: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A row of `imagegen_attempts`. `token` proves a callback, `delivery` is the last one taken; `collects`: how often
    its picture was looked for."""

    id: UUID
    job_id: UUID
    number: int
    provider: str
    model: str
    state: AttemptState
    token: str = field(repr=False)
    estimate: Decimal
    emulated: bool
    submitted_at: datetime
    provider_job_id: str | None = None
    result_url: str | None = None
    blob_sha256: str | None = None
    usage: Mapping[str, Any] | None = None
    actual: Decimal | None = None
    error: Mapping[str, Any] | None = None
    collect_at: datetime | None = None
    collects: int = 0
    delivery: str | None = None


@dataclass(frozen=True, kw_only=True)
class Settled:
    """How the looking for an ended job's picture ended. `picture`: width, height, bytes and content type of the blob
    that the cache learns under its job's fingerprint; None where there is none."""

    facts: Facts
    entries: tuple[Entry, ...] = ()
    picture: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Holding:
    """A job that this worker is busy with: its claim, and its attempt while it is being bought."""

    job_id: UUID
    claim: UUID
    attempt_id: UUID | None = None


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What a provider may be asked for by the whole cluster. `model` `*`: all of its models together.

    `interval`: time between two submissions (None: any number); `in_flight`: generations at once (None: any number).
    `slack`: how much later than its slot a submission may come, and the provider's count is kept all the same.
    Of a provider's limit: `others` have limits of their own, and are not paced by this one; `caps` are generations at
    once of single models. Of a model's limit: `total` is what its provider allows at once, this model included.
    """

    provider: str
    model: str = "*"
    interval: timedelta | None = None
    in_flight: int | None = None
    slack: timedelta = policies.SLOT_LEAD
    others: frozenset[str] = frozenset()
    caps: Mapping[str, int] = field(default_factory=dict)
    total: int | None = None


@dataclass(frozen=True, kw_only=True)
class Held:
    """A job that may not be bought yet: parked until then, for a `reason` that people can read."""

    reason: str
    until: datetime


@dataclass(frozen=True, kw_only=True)
class Pause:
    """One thing that is paused."""

    scope: str
    reason: str
    paused_at: datetime


@dataclass(frozen=True, kw_only=True)
class Cached:
    """A picture bought before for the same fingerprint."""

    fingerprint: str
    blob_sha256: str
    content_type: str
    width: int
    height: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Stock:
    """What the result cache holds: pictures, the bytes of their originals, the oldest; and the jobs it answered, with
    the US dollars their pictures would have cost."""

    entries: int
    bytes: int
    oldest: datetime | None
    hits: int
    saved: Decimal


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A job that this worker holds, and the picture bought before for its fingerprint, if any.

    `job.slot_at`: the moment of its paid call, where a limit paces it. `refused`: its provider was asked for this very
    picture while the job waited, and refused; it is not asked again.
    """

    job: Job
    cached: Cached | None = None
    refused: ImagegenError | None = None


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of a job's history."""

    id: int
    job_id: UUID
    run: int
    at: datetime
    move: str
    status: str
    stage: str | None
    cause: str
    worker: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """Which jobs to list; None means any."""

    owner: str | None = None
    status: str | None = None
    code: str | None = None
    provider: str | None = None
    project_id: str | None = None
    job_type: str | None = None
    batch_id: UUID | None = None
    replaces: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    emulated: bool | None = None


@dataclass(frozen=True, kw_only=True)
class BatchFilter:
    """Which batches to list; None means any. A batch is of a project or job type if any of its members is."""

    owner: str | None = None
    status: str | None = None
    project_id: str | None = None
    job_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class CostFilter:
    """Which jobs a cost report is about: made in [since, until); None means any. Emulated money stands apart."""

    since: datetime | None = None
    until: datetime | None = None
    project_id: str | None = None
    owner: str | None = None
    emulated: bool = False


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """A group of jobs and what became of its money, US dollars. `key` None: the jobs that have no such value.

    `hits`: completed from the result cache; `saved`: the upper prices that these did not cost.
    """

    key: str | None
    jobs: int
    hits: int
    actual: Decimal
    waste: Decimal
    uncertain: Decimal
    saved: Decimal


@dataclass(frozen=True, kw_only=True)
class Alert:
    """An alert that is raised: told once, cleared when it holds no more. `told_at` None: no webhook has taken it."""

    key: str
    kind: str
    message: str
    detail: Mapping[str, Any]
    raised_at: datetime
    told_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What alerts are raised at, and whom they are told. `credit_low`: a provider's balance in its own unit;
    `spend_per_hour`: US dollars, None: by the usual spending; `webhook_url`: a secret, None: the log alone."""

    credit_low: Decimal = policies.CREDIT_LOW
    spend_per_hour: Decimal | None = None
    webhook_url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A limit in US dollars for a scope and a period, and what is committed in the present one, which began on
    `starts` (UTC). Only a `hard` one refuses."""

    scope: str
    period: str
    amount: Decimal
    hard: bool
    starts: date
    committed: Decimal = Decimal(0)

    @property
    def remaining(self) -> Decimal:
        """What may still be committed; never below zero."""
        return max(Decimal(0), self.amount - self.committed)


@dataclass(frozen=True, kw_only=True)
class Watched:
    """`oldest`: when the longest waiting job became due, None: none waits. `ended` of the newest ends `failed`."""

    oldest: datetime | None = None
    ended: int = 0
    failed: int = 0


@dataclass(frozen=True, kw_only=True)
class Variance:
    """What the newest settled pictures of a model were expected to cost, and did, US dollars."""

    provider: str
    model: str
    pictures: int
    estimated: Decimal
    actual: Decimal


@dataclass(frozen=True, kw_only=True)
class Spent:
    """US dollars of the last hour, and of the seven days before it, of which `days` have any ledger."""

    last_hour: Decimal = Decimal(0)
    before: Decimal = Decimal(0)
    days: Decimal = Decimal(0)
    variances: Sequence[Variance] = ()


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """What admission wrote, or found already written under the same id or idempotency key (`created` false)."""

    jobs: Sequence[Job]
    batch: Batch | None
    created: bool
