"""The checks of the object store: every object has its row, every row its object.

Objects younger than `GRACE` are left alone: they are stored before the row that names them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from uuid import UUID

from imagegen import policies
from imagegen.doctor.books import CachedBlob, Expected, Published
from imagegen.doctor.findings import Finding, Severity
from imagegen.layout import ATTEMPTS, BLOBS, INPUTS, PUBLIC_PREFIX, blob_key, thumbnail_key
from imagegen.ports import BlobInfo, Services
from imagegen.states import LIVE, Status

GRACE = policies.INPUT_GRACE
"""Age from which on an object without a row is an orphan: an input may be stored long before its request comes."""

CHUNK = 2000
"""Objects or rows compared at once."""

_JOB = re.compile(r"_([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:_placeholder)?(?:_thumb)?\.[a-z]+$")
_WHOSE = {BLOBS: "original", ATTEMPTS: "delivery of a paid call", INPUTS: "input"}


def object_findings(services: Services, grace: timedelta = GRACE) -> Iterator[Finding]:
    """Orphans, published pictures of jobs that have none, and pictures that are gone."""
    present: set[str] = set()
    before = services.clock.now() - grace
    for prefix in (BLOBS, ATTEMPTS, INPUTS):
        yield from _orphans(prefix, before, present, services)
    yield from _unpublishable(before, present, services)
    yield from _lost_pictures(present, services)
    yield from _lost_cached(present, services)


def _orphans(prefix: str, before: datetime, present: set[str], services: Services) -> Iterator[Finding]:
    for chunk in _chunks(services.blobs.list(prefix)):
        present.update(info.key for info in chunk)
        old = [info.key for info in chunk if info.modified <= before]
        for key in services.books.unreferred(prefix, old) if old else ():
            yield _deletable(
                "orphan-object", key, f"{_WHOSE[prefix]} that no row refers to", partial(_delete, prefix, before)
            )


def _delete(prefix: str, before: datetime, key: str, services: Services) -> str:
    if not services.books.unreferred(prefix, [key]):
        return "kept: a row refers to it meanwhile"
    info = services.blobs.head(key)
    if info is not None and info.modified > before:
        return "kept: it was stored again meanwhile, and its row may still come"
    services.blobs.delete(key)
    return "deleted"


def _unpublishable(before: datetime, present: set[str], services: Services) -> Iterator[Finding]:
    for chunk in _chunks(services.blobs.list(PUBLIC_PREFIX)):
        present.update(info.key for info in chunk)
        old = {info.key: _job_of(info.key) for info in chunk if info.modified <= before}
        rows = _published({job_id for job_id in old.values() if job_id is not None}, services)
        for key, job_id in old.items():
            why = _wrongly_there(rows.get(job_id) if job_id else None)
            if why is not None:
                kind = "published-without-job" if job_id not in rows else "published-without-picture"
                yield _deletable(kind, key, why, partial(_unpublish, job_id))


def _unpublish(job_id: UUID | None, key: str, services: Services) -> str:
    rows = _published({job_id} if job_id else set(), services)
    if _wrongly_there(rows.get(job_id) if job_id else None) is None:
        return "kept: its job goes on"
    services.blobs.delete(key)
    return "deleted"


def _published(job_ids: set[UUID], services: Services) -> dict[UUID | None, Published]:
    found = services.books.published(sorted(job_ids)) if job_ids else ()
    return {one.job_id: one for one in found}


def _wrongly_there(row: Published | None) -> str | None:
    """Why a published object ought not to be there; None where it ought, or may still."""
    if row is None:
        return "published, and no job has its id"
    if row.status in {Status.FAILED, Status.CANCELLED}:
        return f"published, and its job is {row.status}"
    if row.erased:
        return "published, and its job was erased"
    return None


def _job_of(key: str) -> UUID | None:
    found = _JOB.search(key)
    return UUID(found[1]) if found else None


def _deletable(kind: str, key: str, why: str, delete: Callable[[str, Services], str]) -> Finding:
    remedy = "`imagegen doctor --repair` deletes it."
    return Finding(severity="warning", kind=kind, id=key, what=why, remedy=remedy, repair=partial(delete, key))


def _lost_pictures(present: set[str], services: Services) -> Iterator[Finding]:
    after: UUID | None = None
    while page := services.books.expected(after, limit=CHUNK):
        after = page[-1].job_id
        for row in page:
            for key in _needed(row):
                if _gone(key, present, services) and _still(row, services):
                    yield _lost(row, key)


def _needed(row: Expected) -> Iterator[str]:
    if row.status is Status.COMPLETED and row.object_key is not None:
        yield row.object_key
        yield thumbnail_key(row.object_key)
    elif row.status in LIVE:
        yield from ([blob_key(row.blob_sha256)] if row.blob_sha256 else [])
        yield from row.inputs


def _still(row: Expected, services: Services) -> bool:
    """Whether the job still is where it was: what it needs no more may be gone, and so may what is being erased."""
    job = services.jobs.get(row.job_id)
    same = (job.status, job.object_key, job.blob_sha256) == (row.status, row.object_key, row.blob_sha256)
    return same and job.erase_at is None


def _lost(row: Expected, key: str) -> Finding:
    severity: Severity = "error"
    remedy = "Restore the object from a backup, or have it drawn again with a new request and `--fresh`."
    what = f"job {row.job_id} is {row.status}, and this object of it is gone"
    return Finding(severity=severity, kind="object-missing", id=key, what=what, remedy=remedy)


def _lost_cached(present: set[str], services: Services) -> Iterator[Finding]:
    after: CachedBlob | None = None
    while page := services.books.cached(after, limit=CHUNK):
        after = page[-1]
        for row in page:
            key = blob_key(row.blob_sha256)
            if _gone(key, present, services) and _still_named(row, services):
                yield Finding(
                    severity="warning", kind="cache-without-blob", id=row.fingerprint,
                    what=f"the result cache names {key}, which is gone: the next request for it fails at its upload",
                    remedy="`imagegen doctor --repair` drops the row, so that the picture is bought again.",
                    repair=partial(_forget, row),
                )  # fmt: skip


def _gone(key: str, present: set[str], services: Services) -> bool:
    return key not in present and services.blobs.head(key) is None


def _still_named(row: CachedBlob, services: Services) -> bool:
    """Whether the cache names it still: a purge drops the row before the blob."""
    found = services.jobs.cached(row.fingerprint, emulated=row.emulated)
    return found is not None and found.blob_sha256 == row.blob_sha256


def _forget(row: CachedBlob, services: Services) -> str:
    if services.blobs.head(blob_key(row.blob_sha256)) is not None:
        return "kept: its blob is there meanwhile"
    services.books.forget(row)
    return "dropped"


def _chunks(found: Iterator[BlobInfo]) -> Iterator[Sequence[BlobInfo]]:
    while chunk := list(islice(found, CHUNK)):
        yield chunk
