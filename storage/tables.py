"""Every table of imagegen, as SQLModel classes; `migrations/` builds them, a test proves both alike.

    image_generation_jobs ──┬─< imagegen_attempts   one row per paid call, committed before the call
        │ batch_id          ├─< imagegen_events     one row per move
        ▼                   └─< imagegen_ledger     append only, US dollars
    imagegen_batches        imagegen_cache (fingerprint → blob)        imagegen_styles (id → capsule)

    imagegen_pace (limit → next slot)        imagegen_pauses (what is paused)
    imagegen_deliveries (what is to be told of an end, to whom): `storage.tables_outbox`
    imagegen_discards (objects that lost a referrer by an erasure): `storage.tables_erasing`
    imagegen_callback_counts (what became of providers' callbacks): `storage.tables_callbacks`
    imagegen_totals (figures counted so far) and imagegen_counted (how far): `storage.tables_metrics`

Money is `numeric(14,6)` US dollars, times `timestamptz`, sizes pixels or bytes. Rows are written and read with
SQLAlchemy Core on the classes' `__table__`.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Column, Identity, Index, desc, text
from sqlmodel import Field

from imagegen.states import LIVE, TERMINAL, BatchStatus, FailureStage, Stage, Status
from storage.accounts import ALERTS, BUDGETS, CACHE, FLIGHTS, LEDGER, PERIODS, SPENDING
from storage.columns import DOLLARS, JSON, MOMENT, TEXT, VALUE, Row, among, one_of, table, value, words

__all__ = [
    "ALERTS", "ATTEMPTS", "BATCHES", "BUDGETS", "CACHE", "EVENTS", "FLIGHTS", "JOBS", "LEDGER", "METADATA", "PACE",
    "PAUSES", "PERIODS", "SPENDING", "STYLES", "VALUE", "among", "value", "words",
]  # fmt: skip

OPEN_BATCH = (BatchStatus.QUEUED, BatchStatus.RUNNING)
BUYING = (Status.PROCESSING, Status.GENERATING)
PACED = ("pace", "in_flight")
CALLBACK_STATES = ("expected", "arrived", "missed")
ATTEMPT_STATES = ("submitting", "not_sent", "rejected", "accepted", "unknown", "succeeded", "failed")


class BatchRow(Row, table=True):
    """One to four jobs admitted together."""

    __tablename__ = "imagegen_batches"
    __table_args__ = (
        one_of("status", BatchStatus),
        Index(
            "imagegen_batches_idempotency", "owner", "idempotency_key", unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
        Index("imagegen_batches_open", "created_at", postgresql_where=text(f"status IN ({words(OPEN_BATCH)})")),
        Index("imagegen_batches_owner", "owner", desc("created_at"), desc("id")),
        Index("imagegen_batches_newest", desc("created_at"), desc("id")),
    )  # fmt: skip

    id: UUID = Field(primary_key=True)
    owner: str = Field(sa_type=TEXT)
    status: str = Field(sa_type=TEXT)
    size: int
    run: int
    idempotency_key: str | None = Field(sa_type=TEXT)
    body_sha256: str = Field(sa_type=TEXT)
    aliases: list[str] = Field(sa_type=JSON)
    callback_url: str | None = Field(sa_type=TEXT)
    notify_task: dict[str, Any] | None = Field(sa_type=JSON)
    created_at: datetime = Field(sa_type=MOMENT)
    completed_at: datetime | None = Field(sa_type=MOMENT)


class JobRow(Row, table=True):
    """A job: the fields of `imagegen.jobs.Job`, name for name."""

    __tablename__ = "image_generation_jobs"
    __table_args__ = (
        one_of("status", Status),
        one_of("stage", Stage),
        one_of("failure_stage", FailureStage),
        one_of("billed", ("yes", "no", "unknown")),
        CheckConstraint(f"(next_run_at IS NULL) = (status IN ({words(TERMINAL)}))", name="live_rows_are_timed"),
        Index("image_generation_jobs_due", "next_run_at", postgresql_where=text(f"status IN ({words(LIVE)})")),
        Index(
            "image_generation_jobs_unannounced", "announce_at", postgresql_where=text("announce_at IS NOT NULL")
        ),
        Index(
            "image_generation_jobs_idempotency", "owner", "idempotency_key", unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL AND batch_id IS NULL"),
        ),
        Index("image_generation_jobs_batch", "batch_id"),
        Index("image_generation_jobs_owner", "owner", desc("created_at"), desc("id")),
        Index("image_generation_jobs_newest", desc("created_at"), desc("id")),
        Index("image_generation_jobs_fingerprint", "fingerprint"),
        Index(
            "image_generation_jobs_paced", "provider", "model",
            postgresql_where=text(f"waiting_for IN ({words(PACED)})"),
        ),
        Index(
            "image_generation_jobs_in_flight", "provider", "model",
            postgresql_where=text(f"status IN ({words(BUYING)})"),
        ),
        Index(
            "image_generation_jobs_slots", "provider", "model",
            postgresql_where=text(f"status = '{Status.QUEUED}' AND slot_at IS NOT NULL"),
        ),
        Index("image_generation_jobs_replaces", "replaces", postgresql_where=text("replaces IS NOT NULL")),
        Index(
            "image_generation_jobs_kept", "job_type", "completed_at",
            postgresql_where=text("erase_at IS NULL AND completed_at IS NOT NULL"),
        ),
        Index(
            "image_generation_jobs_erasing", "erase_at",
            postgresql_where=text("erase_at IS NOT NULL AND erased_at IS NULL"),
        ),
    )  # fmt: skip

    id: UUID = Field(primary_key=True)
    batch_id: UUID | None = Field(foreign_key="imagegen_batches.id")
    owner: str = Field(sa_type=TEXT)
    project_id: str = Field(sa_type=TEXT)
    branch_id: str = Field(sa_type=TEXT)
    job_type: str = Field(sa_type=TEXT)
    status: str = Field(sa_type=TEXT)
    failure_stage: str | None = Field(sa_type=TEXT)
    error_code: str | None = Field(sa_type=TEXT)
    error_message: str | None = Field(sa_type=TEXT)
    prompt: str = Field(sa_type=TEXT)
    provider: str = Field(sa_type=TEXT)
    model: str = Field(sa_type=TEXT)
    provider_job_id: str | None = Field(sa_type=TEXT)
    idempotency_key: str | None = Field(sa_type=TEXT)
    cost_estimated: Decimal | None = Field(sa_type=DOLLARS)
    cost_credits: Decimal | None = Field(sa_type=DOLLARS)
    public_url: str | None = Field(sa_type=TEXT)
    created_at: datetime = Field(sa_type=MOMENT)
    started_at: datetime | None = Field(sa_type=MOMENT)
    completed_at: datetime | None = Field(sa_type=MOMENT)
    stage: str = Field(sa_type=TEXT)
    next_run_at: datetime | None = Field(sa_type=MOMENT)
    claim: UUID | None
    hints: int
    woken: bool
    waiting_for: str | None = Field(sa_type=TEXT)
    slot_at: datetime | None = Field(sa_type=MOMENT)
    stopped: bool
    replaces: UUID | None
    aliases: list[str] = Field(sa_type=JSON)
    priority: int
    run: int
    failures: int
    updated_at: datetime = Field(sa_type=MOMENT)
    submitted_at: datetime | None = Field(sa_type=MOMENT)
    scheduled_at: datetime | None = Field(sa_type=MOMENT)
    announce_at: datetime | None = Field(sa_type=MOMENT)
    deadline_at: datetime = Field(sa_type=MOMENT)
    batch_index: int | None
    scene_id: str | None = Field(sa_type=TEXT)
    shot_id: str | None = Field(sa_type=TEXT)
    asset_id: str | None = Field(sa_type=TEXT)
    character: str | None = Field(sa_type=TEXT)
    sent_prompt: str = Field(sa_type=TEXT)
    style_name: str | None = Field(sa_type=TEXT)
    style_sha256: str | None = Field(sa_type=TEXT)
    visual_style_capsule_id: str | None = Field(sa_type=TEXT)
    width: int
    height: int
    format: str = Field(sa_type=TEXT)
    request: dict[str, Any] = Field(sa_type=JSON)
    plan: dict[str, Any] = Field(sa_type=JSON)
    fingerprint: str = Field(sa_type=TEXT)
    fresh: bool
    tried: list[str] = Field(sa_type=JSON)
    attempt_id: UUID | None
    attempts: int
    paid_attempts: int
    max_paid_attempts: int
    result_url: str | None = Field(sa_type=TEXT)
    refreshed: bool
    blob_sha256: str | None = Field(sa_type=TEXT)
    blob_content_type: str | None = Field(sa_type=TEXT)
    body_sha256: str = Field(sa_type=TEXT)
    cost_wasted: Decimal | None = Field(sa_type=DOLLARS)
    cost_uncertain: Decimal | None = Field(sa_type=DOLLARS)
    committed: Decimal = Field(sa_type=DOLLARS)
    reserved_on: date | None
    error_retryable: bool | None
    billed: str = Field(sa_type=TEXT)
    thumbnail_url: str | None = Field(sa_type=TEXT)
    object_key: str | None = Field(sa_type=TEXT)
    sha256: str | None = Field(sa_type=TEXT)
    content_type: str | None = Field(sa_type=TEXT)
    bytes: int | None = Field(sa_type=cast(Any, BigInteger))
    placeholder: bool
    emulated: bool
    cache_hit: bool
    continuation: dict[str, Any] | None = Field(sa_type=JSON)
    own_metadata: dict[str, Any] = Field(sa_column=Column("metadata", JSON, nullable=False))
    erase_at: datetime | None = Field(sa_type=MOMENT)
    erased_at: datetime | None = Field(sa_type=MOMENT)


class AttemptRow(Row, table=True):
    """One paid call: its intent, and whatever became known of it. `token` guards the provider's callback."""

    __tablename__ = "imagegen_attempts"
    __table_args__ = (
        one_of("state", ATTEMPT_STATES),
        Index("imagegen_attempts_job", "job_id"),
        Index("imagegen_attempts_order", "provider", "provider_job_id"),
        Index(
            "imagegen_attempts_latency", "provider", "model", desc("submitted_at"),
            postgresql_where=text("ready_at IS NOT NULL"),
        ),
        Index("imagegen_attempts_collectable", "collect_at", postgresql_where=text("collect_at IS NOT NULL")),
        one_of("callback", CALLBACK_STATES),
        Index(
            "imagegen_attempts_uncalled", "ready_at",
            postgresql_where=text("callback = 'expected' AND ready_at IS NOT NULL"),
        ),
    )  # fmt: skip

    id: UUID = Field(primary_key=True)
    job_id: UUID = Field(foreign_key="image_generation_jobs.id")
    run: int
    number: int
    provider: str = Field(sa_type=TEXT)
    model: str = Field(sa_type=TEXT)
    state: str = Field(sa_type=TEXT)
    token: str = Field(sa_type=TEXT)
    provider_job_id: str | None = Field(sa_type=TEXT)
    result_url: str | None = Field(sa_type=TEXT)
    blob_sha256: str | None = Field(sa_type=TEXT)
    usage: dict[str, Any] | None = Field(sa_type=JSON)
    estimate: Decimal = Field(sa_type=DOLLARS)
    actual: Decimal | None = Field(sa_type=DOLLARS)
    error: dict[str, Any] | None = Field(sa_type=JSON)
    emulated: bool
    submitted_at: datetime = Field(sa_type=MOMENT)
    answered_at: datetime | None = Field(sa_type=MOMENT)
    ready_at: datetime | None = Field(sa_type=MOMENT)
    collect_at: datetime | None = Field(sa_type=MOMENT)
    collects: int
    callback: str | None = Field(sa_type=TEXT)
    delivery: str | None = Field(sa_type=TEXT)


class EventRow(Row, table=True):
    """One line of a job's history, written by the statement that moved it."""

    __tablename__ = "imagegen_events"
    __table_args__ = (Index("imagegen_events_job", "job_id", "id"),)

    id: int = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    job_id: UUID = Field(foreign_key="image_generation_jobs.id")
    run: int
    at: datetime = Field(sa_type=MOMENT)
    move: str = Field(sa_type=TEXT)
    status: str = Field(sa_type=TEXT)
    stage: str | None = Field(sa_type=TEXT)
    cause: str = Field(sa_type=TEXT)
    worker: str = Field(sa_type=TEXT)
    detail: dict[str, Any] = Field(sa_type=JSON)


class PaceRow(Row, table=True):
    """The slot pointer of one limit: no submission before `next_slot` but those that were given an earlier slot.

    `model` `*` is the limit of a provider as a whole. Its lock makes every decision about the limit one after another.
    """

    __tablename__ = "imagegen_pace"

    provider: str = Field(sa_type=TEXT, primary_key=True)
    model: str = Field(sa_type=TEXT, primary_key=True)
    next_slot: datetime = Field(sa_type=MOMENT)


class PauseRow(Row, table=True):
    """What is paused: `all`, `provider:NAME` or `owner:NAME`."""

    __tablename__ = "imagegen_pauses"

    scope: str = Field(sa_type=TEXT, primary_key=True)
    reason: str = Field(sa_type=TEXT)
    paused_at: datetime = Field(sa_type=MOMENT)


class StyleRow(Row, table=True):
    """A stored style capsule: `body` is the capsule's JSON, `sha256` the digest of its canonical form.

    An empty `owner` makes it everybody's.
    """

    __tablename__ = "imagegen_styles"

    owner: str = Field(sa_type=TEXT, primary_key=True)
    id: str = Field(sa_type=TEXT, primary_key=True)
    sha256: str = Field(sa_type=TEXT)
    body: dict[str, Any] = Field(sa_type=JSON)
    created_at: datetime = Field(sa_type=MOMENT)
    updated_at: datetime = Field(sa_type=MOMENT)


JOBS, BATCHES, ATTEMPTS, EVENTS, STYLES, PACE, PAUSES = (
    table(row) for row in (JobRow, BatchRow, AttemptRow, EventRow, StyleRow, PaceRow, PauseRow)
)
METADATA = Row.metadata
