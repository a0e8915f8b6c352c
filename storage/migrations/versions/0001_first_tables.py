"""The first tables.

Everything is written out here and imports nothing of ours: a migration says what it did, whatever the code becomes.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

UUID, TEXT, INTEGER, BIGINT, BOOLEAN = sa.Uuid(), sa.Text(), sa.Integer(), sa.BigInteger(), sa.Boolean()
JSONB, MOMENT, DOLLARS = postgresql.JSONB(), sa.DateTime(timezone=True), sa.Numeric(14, 6)


def upgrade() -> None:
    """Creates all tables, those first that others refer to."""
    _batches()
    _jobs()
    _attempts()
    _events()
    _ledger()
    _cache()
    _styles()


def _batches() -> None:
    op.create_table(
        "imagegen_batches",
        sa.Column("id", UUID, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("size", INTEGER, nullable=False),
        sa.Column("run", INTEGER, nullable=False),
        sa.Column("idempotency_key", TEXT),
        sa.Column("body_sha256", TEXT, nullable=False),
        sa.Column("callback_url", TEXT),
        sa.Column("notify_task", JSONB),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("completed_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="imagegen_batches_pkey"),
        sa.CheckConstraint(
            "status IN ('cancelled', 'completed', 'failed', 'partial', 'queued', 'running')",
            name=op.f("imagegen_batches_status_check"),
        ),
    )
    op.create_index(
        "imagegen_batches_idempotency",
        "imagegen_batches",
        ["owner", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_index(
        "imagegen_batches_open",
        "imagegen_batches",
        ["created_at"],
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )


def _jobs() -> None:
    op.create_table(
        "image_generation_jobs",
        *_job_report(),
        *_job_progress(),
        *_job_request(),
        *_job_result(),
        sa.PrimaryKeyConstraint("id", name="image_generation_jobs_pkey"),
        sa.ForeignKeyConstraint(["batch_id"], ["imagegen_batches.id"], name="image_generation_jobs_batch_id_fkey"),
        sa.CheckConstraint("billed IN ('no', 'unknown', 'yes')", name=op.f("image_generation_jobs_billed_check")),
        sa.CheckConstraint(
            "failure_stage IN ('downloading', 'generating', 'persisting', 'processing', 'uploading')",
            name=op.f("image_generation_jobs_failure_stage_check"),
        ),
        sa.CheckConstraint(
            "(next_run_at IS NULL) = (status IN ('cancelled', 'completed', 'failed'))",
            name=op.f("image_generation_jobs_live_rows_are_timed_check"),
        ),
        sa.CheckConstraint(
            "stage IN ('download', 'generate', 'poll', 'reconcile', 'upload')",
            name=op.f("image_generation_jobs_stage_check"),
        ),
        sa.CheckConstraint(
            "status IN ('cancelled', 'completed', 'failed', 'generating', 'processing', 'queued', 'uploading')",
            name=op.f("image_generation_jobs_status_check"),
        ),
    )
    _job_indexes()


def _job_report() -> list[sa.Column[Any]]:
    return [
        sa.Column("id", UUID, nullable=False),
        sa.Column("batch_id", UUID),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("branch_id", TEXT, nullable=False),
        sa.Column("job_type", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("failure_stage", TEXT),
        sa.Column("error_code", TEXT),
        sa.Column("error_message", TEXT),
        sa.Column("prompt", TEXT, nullable=False),
        sa.Column("provider", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("provider_job_id", TEXT),
        sa.Column("idempotency_key", TEXT),
        sa.Column("cost_estimated", DOLLARS),
        sa.Column("cost_credits", DOLLARS),
        sa.Column("public_url", TEXT),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("started_at", MOMENT),
        sa.Column("completed_at", MOMENT),
    ]


def _job_progress() -> list[sa.Column[Any]]:
    return [
        sa.Column("stage", TEXT, nullable=False),
        sa.Column("next_run_at", MOMENT),
        sa.Column("claim", UUID),
        sa.Column("hints", INTEGER, nullable=False),
        sa.Column("woken", BOOLEAN, nullable=False),
        sa.Column("waiting_for", TEXT),
        sa.Column("priority", INTEGER, nullable=False),
        sa.Column("run", INTEGER, nullable=False),
        sa.Column("failures", INTEGER, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("submitted_at", MOMENT),
        sa.Column("scheduled_at", MOMENT),
        sa.Column("announce_at", MOMENT),
    ]


def _job_request() -> list[sa.Column[Any]]:
    return [
        sa.Column("deadline_at", MOMENT, nullable=False),
        sa.Column("batch_index", INTEGER),
        sa.Column("scene_id", TEXT),
        sa.Column("shot_id", TEXT),
        sa.Column("asset_id", TEXT),
        sa.Column("character", TEXT),
        sa.Column("sent_prompt", TEXT, nullable=False),
        sa.Column("style_name", TEXT),
        sa.Column("style_sha256", TEXT),
        sa.Column("visual_style_capsule_id", TEXT),
        sa.Column("width", INTEGER, nullable=False),
        sa.Column("height", INTEGER, nullable=False),
        sa.Column("format", TEXT, nullable=False),
        sa.Column("request", JSONB, nullable=False),
        sa.Column("plan", JSONB, nullable=False),
        sa.Column("fingerprint", TEXT, nullable=False),
        sa.Column("fresh", BOOLEAN, nullable=False),
        sa.Column("tried", JSONB, nullable=False),
    ]


def _job_result() -> list[sa.Column[Any]]:
    return [
        sa.Column("attempt_id", UUID),
        sa.Column("attempts", INTEGER, nullable=False),
        sa.Column("paid_attempts", INTEGER, nullable=False),
        sa.Column("max_paid_attempts", INTEGER, nullable=False),
        sa.Column("result_url", TEXT),
        sa.Column("refreshed", BOOLEAN, nullable=False),
        sa.Column("blob_sha256", TEXT),
        sa.Column("blob_content_type", TEXT),
        sa.Column("body_sha256", TEXT, nullable=False),
        sa.Column("cost_uncertain", DOLLARS),
        sa.Column("error_retryable", BOOLEAN),
        sa.Column("billed", TEXT, nullable=False),
        sa.Column("thumbnail_url", TEXT),
        sa.Column("object_key", TEXT),
        sa.Column("sha256", TEXT),
        sa.Column("content_type", TEXT),
        sa.Column("bytes", BIGINT),
        sa.Column("placeholder", BOOLEAN, nullable=False),
        sa.Column("emulated", BOOLEAN, nullable=False),
        sa.Column("cache_hit", BOOLEAN, nullable=False),
        sa.Column("continuation", JSONB),
        sa.Column("metadata", JSONB, nullable=False),
    ]


def _job_indexes() -> None:
    op.create_index("image_generation_jobs_batch", "image_generation_jobs", ["batch_id"])
    op.create_index(
        "image_generation_jobs_due",
        "image_generation_jobs",
        ["next_run_at"],
        postgresql_where=sa.text("status IN ('generating', 'processing', 'queued', 'uploading')"),
    )
    op.create_index("image_generation_jobs_fingerprint", "image_generation_jobs", ["fingerprint"])
    op.create_index(
        "image_generation_jobs_idempotency",
        "image_generation_jobs",
        ["owner", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL AND batch_id IS NULL"),
    )
    op.create_index(
        "image_generation_jobs_newest",
        "image_generation_jobs",
        [sa.text("created_at DESC"), sa.text("id DESC")],
    )
    op.create_index(
        "image_generation_jobs_owner",
        "image_generation_jobs",
        ["owner", sa.text("created_at DESC"), sa.text("id DESC")],
    )
    op.create_index(
        "image_generation_jobs_unannounced",
        "image_generation_jobs",
        ["announce_at"],
        postgresql_where=sa.text("announce_at IS NOT NULL"),
    )


def _attempts() -> None:
    op.create_table(
        "imagegen_attempts",
        sa.Column("id", UUID, nullable=False),
        sa.Column("job_id", UUID, nullable=False),
        sa.Column("run", INTEGER, nullable=False),
        sa.Column("number", INTEGER, nullable=False),
        sa.Column("provider", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("token", TEXT, nullable=False),
        sa.Column("provider_job_id", TEXT),
        sa.Column("result_url", TEXT),
        sa.Column("blob_sha256", TEXT),
        sa.Column("usage", JSONB),
        sa.Column("estimate", DOLLARS, nullable=False),
        sa.Column("actual", DOLLARS),
        sa.Column("error", JSONB),
        sa.Column("emulated", BOOLEAN, nullable=False),
        sa.Column("submitted_at", MOMENT, nullable=False),
        sa.Column("answered_at", MOMENT),
        sa.Column("ready_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="imagegen_attempts_pkey"),
        sa.ForeignKeyConstraint(["job_id"], ["image_generation_jobs.id"], name="imagegen_attempts_job_id_fkey"),
        sa.CheckConstraint(
            "state IN ('accepted', 'failed', 'not_sent', 'rejected', 'submitting', 'succeeded', 'unknown')",
            name=op.f("imagegen_attempts_state_check"),
        ),
    )
    op.create_index("imagegen_attempts_job", "imagegen_attempts", ["job_id"])
    op.create_index(
        "imagegen_attempts_latency",
        "imagegen_attempts",
        ["provider", "model", sa.text("submitted_at DESC")],
        postgresql_where=sa.text("ready_at IS NOT NULL"),
    )
    op.create_index("imagegen_attempts_order", "imagegen_attempts", ["provider", "provider_job_id"])


def _events() -> None:
    op.create_table(
        "imagegen_events",
        sa.Column("id", BIGINT, sa.Identity(always=True), nullable=False),
        sa.Column("job_id", UUID, nullable=False),
        sa.Column("run", INTEGER, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("move", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("stage", TEXT),
        sa.Column("cause", TEXT, nullable=False),
        sa.Column("worker", TEXT, nullable=False),
        sa.Column("detail", JSONB, nullable=False),
        sa.PrimaryKeyConstraint("id", name="imagegen_events_pkey"),
        sa.ForeignKeyConstraint(["job_id"], ["image_generation_jobs.id"], name="imagegen_events_job_id_fkey"),
    )
    op.create_index("imagegen_events_job", "imagegen_events", ["job_id", "id"])


def _ledger() -> None:
    op.create_table(
        "imagegen_ledger",
        sa.Column("id", BIGINT, sa.Identity(always=True), nullable=False),
        sa.Column("job_id", UUID, nullable=False),
        sa.Column("attempt_id", UUID),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("amount", DOLLARS, nullable=False),
        sa.Column("currency", TEXT, nullable=False),
        sa.Column("price", JSONB, nullable=False),
        sa.Column("emulated", BOOLEAN, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="imagegen_ledger_pkey"),
        sa.ForeignKeyConstraint(["attempt_id"], ["imagegen_attempts.id"], name="imagegen_ledger_attempt_id_fkey"),
        sa.ForeignKeyConstraint(["job_id"], ["image_generation_jobs.id"], name="imagegen_ledger_job_id_fkey"),
        sa.CheckConstraint(
            "kind IN ('release', 'reserve', 'settle', 'uncertain', 'waste')",
            name=op.f("imagegen_ledger_kind_check"),
        ),
    )
    op.create_index("imagegen_ledger_at", "imagegen_ledger", ["at"])
    op.create_index("imagegen_ledger_job", "imagegen_ledger", ["job_id"])
    op.create_index("imagegen_ledger_once", "imagegen_ledger", ["attempt_id", "kind"], unique=True)


def _cache() -> None:
    op.create_table(
        "imagegen_cache",
        sa.Column("fingerprint", TEXT, nullable=False),
        sa.Column("emulated", BOOLEAN, nullable=False),
        sa.Column("blob_sha256", TEXT, nullable=False),
        sa.Column("content_type", TEXT, nullable=False),
        sa.Column("width", INTEGER, nullable=False),
        sa.Column("height", INTEGER, nullable=False),
        sa.Column("bytes", BIGINT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", "emulated", name="imagegen_cache_pkey"),
    )


def _styles() -> None:
    op.create_table(
        "imagegen_styles",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("sha256", TEXT, nullable=False),
        sa.Column("body", JSONB, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="imagegen_styles_pkey"),
    )
