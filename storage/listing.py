"""Lists of jobs, newest first, page by page: the cursor is the last row's place, so pages never shift."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, exists, select, tuple_

from imagegen.errors import InvalidRequest
from imagegen.jobs import Batch, Job
from imagegen.records import BatchFilter, JobFilter
from storage import batches
from storage.tables import BATCHES, JOBS

_EQUAL = {"code": "error_code"} | {
    name: name for name in ("owner", "status", "provider", "project_id", "job_type", "batch_id", "replaces", "emulated")
}


def cursor_after(row: Job | Batch) -> str:
    """The opaque place behind this job or batch."""
    return cursor_of(row.created_at, row.id)


def cursor_of(moment: datetime, identity: UUID) -> str:
    """The opaque place behind the row of this moment and id."""
    place = json.dumps([moment.isoformat(), str(identity)]).encode()
    return base64.urlsafe_b64encode(place).decode().rstrip("=")


def place(cursor: str) -> tuple[datetime, UUID]:
    """The place that a cursor names; raises `InvalidRequest`."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        created_at, job_id = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        moment = datetime.fromisoformat(created_at)
        if moment.tzinfo is None:
            raise ValueError("no time zone")
        return moment, UUID(job_id)
    except (ValueError, TypeError, AttributeError, binascii.Error) as error:
        raise InvalidRequest.of(
            "cursor", "is not one of ours", "Send `nextCursor` of the page before as it is, or leave it out."
        ) from error


def page(where: JobFilter, limit: int, cursor: str | None) -> Select[Any]:
    """One row more than `limit`, which tells whether there is another page."""
    row = JOBS.c
    chosen = select(JOBS).order_by(row.created_at.desc(), row.id.desc()).limit(limit + 1)
    for field, name in _EQUAL.items():
        wanted = getattr(where, field)
        if wanted is not None:
            chosen = chosen.where(row[name] == wanted)
    if where.since is not None:
        chosen = chosen.where(row.created_at >= where.since)
    if where.until is not None:
        chosen = chosen.where(row.created_at < where.until)
    if cursor is not None:
        created_at, job_id = place(cursor)
        chosen = chosen.where(tuple_(row.created_at, row.id) < tuple_(created_at, job_id))
    return chosen


def batch_page(where: BatchFilter, limit: int, cursor: str | None) -> Select[Any]:
    """One batch more than `limit`, each with its jobs in input order."""
    row, member = BATCHES.c, JOBS.c
    chosen = select(BATCHES).order_by(row.created_at.desc(), row.id.desc()).limit(limit + 1)
    asked = {member.project_id: where.project_id, member.job_type: where.job_type}
    alike = [column == wanted for column, wanted in asked.items() if wanted is not None]
    if alike:
        chosen = chosen.where(exists().where(member.batch_id == row.id, *alike))
    if where.owner is not None:
        chosen = chosen.where(row.owner == where.owner)
    if where.status is not None:
        chosen = chosen.where(batches.stands(where.status))
    if where.since is not None:
        chosen = chosen.where(row.created_at >= where.since)
    if where.until is not None:
        chosen = chosen.where(row.created_at < where.until)
    if cursor is not None:
        chosen = chosen.where(tuple_(row.created_at, row.id) < tuple_(*place(cursor)))
    listed = chosen.subquery("page")
    order = (listed.c.created_at.desc(), listed.c.id.desc(), member.batch_index)
    return batches.with_members(listed).order_by(*order)
