"""Rows of the tables as the library's own objects, and back."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sqlalchemy import RowMapping

from imagegen.jobs import Batch, Job
from imagegen.records import Cached, Event, Facts
from imagegen.states import BatchStatus, Stage, Status

_JOB = tuple(field.name for field in fields(Job) if field.name not in {"status", "stage", "tried"})
_BATCH = tuple(field.name for field in fields(Batch) if field.name != "status")
_EVENT = tuple(field.name for field in fields(Event))
_FACTS = tuple(field.name for field in fields(Facts) if field.name != "attempt_id")
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
    )


def job_record(one: Job) -> dict[str, Any]:
    """A new job as a JSON object with the table's column names."""
    return {field.name: getattr(one, field.name) for field in fields(Job)}


def batch(row: RowMapping, prefix: str = "") -> Batch:
    """The batch of a row whose columns begin with `prefix`."""
    return Batch(**{name: row[prefix + name] for name in _BATCH}, status=BatchStatus(row[prefix + "status"]))


def batch_record(one: Batch) -> dict[str, Any]:
    """A new batch as a JSON object with the table's column names."""
    return {field.name: getattr(one, field.name) for field in fields(Batch)}


def event(row: RowMapping) -> Event:
    """The event of a row."""
    return Event(**{name: row[name] for name in _EVENT})


def facts(row: RowMapping) -> Facts:
    """What a row of `imagegen_attempts` tells."""
    return Facts(attempt_id=row["id"], **{name: row[name] for name in _FACTS})


def cached(row: RowMapping) -> Cached | None:
    """The cached picture that came along with a claimed job, or None."""
    if row[f"{CACHED}blob_sha256"] is None:
        return None
    return Cached(**{name: row[CACHED + name] for name in _CACHED})
