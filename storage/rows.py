"""Rows of the tables as the library's own objects, and back."""

from __future__ import annotations

from dataclasses import fields
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping

from imagegen.jobs import Batch, Job
from imagegen.records import Attempt, Cached, Event
from imagegen.states import BatchStatus, Stage, Status

_JOB = tuple(field.name for field in fields(Job) if field.name not in {"status", "stage", "tried", "aliases"})
_BATCH = tuple(field.name for field in fields(Batch) if field.name not in {"status", "aliases"})
_EVENT = tuple(field.name for field in fields(Event))
_ATTEMPT = tuple(field.name for field in fields(Attempt))
_CACHED = tuple(field.name for field in fields(Cached))
CACHED = "cached_"
BATCH = "batches_"
"""Prefixes of the columns that come along with a job's own."""


def job(row: RowMapping) -> Job:
    """The job of a row of `image_generation_jobs`."""
    return Job(
        **{name: row[name] for name in _JOB},
        status=Status(row["status"]),
        stage=Stage(row["stage"]),
        tried=tuple(row["tried"]),
        aliases=_ids(row["aliases"]),
    )


def job_record(one: Job) -> dict[str, Any]:
    """A new job as a JSON object with the table's column names."""
    return {field.name: getattr(one, field.name) for field in fields(Job)}


def batch(row: RowMapping, prefix: str = "") -> Batch:
    """The batch of a row whose columns begin with `prefix`."""
    return Batch(
        **{name: row[prefix + name] for name in _BATCH},
        status=BatchStatus(row[prefix + "status"]),
        aliases=_ids(row[prefix + "aliases"]),
    )


def batch_record(one: Batch) -> dict[str, Any]:
    """A new batch as a JSON object with the table's column names."""
    return {field.name: getattr(one, field.name) for field in fields(Batch)}


def event(row: RowMapping) -> Event:
    """The event of a row."""
    return Event(**{name: row[name] for name in _EVENT})


def attempt(row: RowMapping) -> Attempt:
    """The attempt of a row."""
    return Attempt(**{name: row[name] for name in _ATTEMPT})


def _ids(texts: list[str]) -> tuple[UUID, ...]:
    return tuple(UUID(one) for one in texts)


def cached(row: RowMapping) -> Cached | None:
    """The cached picture that came along with a claimed job, or None."""
    if row[f"{CACHED}blob_sha256"] is None:
        return None
    return Cached(**{name: row[CACHED + name] for name in _CACHED})
