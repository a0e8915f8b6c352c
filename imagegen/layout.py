"""Where things lie in the object store: the one place that makes keys.

    project_{p}/branch_{b}/master-assets/{asset}_{job}.png                    published pictures of `master_asset`
    project_{p}/branch_{b}/scene_{s}/shot_{t}/start_frame_{job}.png           of frames and edits; what is unknown
    project_{p}/branch_{b}/scene_{s}/shot_{t}/start_frame_{job}_thumb.webp    is left out
    blobs/{sha256}   originals, by content       attempts/{attempt_id}   bytes of one paid call       inputs/{sha256}

Only `project_*` may be public. A published key ends in the whole job id: readers who may not list cannot guess it,
and no two jobs share it. A placeholder's has `_placeholder` after it.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from uuid import UUID

from imagegen.contracts import JobType
from imagegen.errors import StorageError
from imagegen.fileformats import ContentType
from imagegen.jobs import Job

PUBLIC_PREFIX = "project_"
BLOBS, ATTEMPTS, INPUTS = "blobs/", "attempts/", "inputs/"
MAX_SEGMENT = 80
MAX_KEY_BYTES = 1024
"""S3's limit for a key, prefix included (Amazon S3 user guide, "Naming Amazon S3 objects")."""

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_JOB = re.compile(r"_([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:_placeholder)?(?:_thumb)?\.[a-z]+$")


@dataclass(frozen=True, slots=True)
class PictureKeys:
    """Keys of a job's published picture and of its thumbnail."""

    picture: str
    thumbnail: str


def picture_keys(job: Job) -> PictureKeys:
    """Where this job's picture is published."""
    return _keys(job, _stem(job))


def placeholder_keys(job: Job) -> PictureKeys:
    """Where this job's placeholder is published: never where a picture is, for those are cached for good."""
    return _keys(job, f"{_stem(job)}_placeholder")


def _keys(job: Job, stem: str) -> PictureKeys:
    return PictureKeys(f"{stem}.{ContentType.of(job.format).extension}", f"{stem}_thumb.webp")


def _stem(job: Job) -> str:
    folder = f"{PUBLIC_PREFIX}{segment(job.project_id)}/branch_{segment(job.branch_id)}"
    if job.job_type == JobType.MASTER_ASSET:
        name = slug(job.asset_id or job.character or "asset")
        return f"{folder}/master-assets/{name}_{job.id}"
    scene = f"/scene_{segment(job.scene_id)}" if job.scene_id else ""
    shot = f"/shot_{segment(job.shot_id)}" if job.shot_id else ""
    return f"{folder}{scene}{shot}/{slug(job.job_type, '_')}_{job.id}"


def thumbnail_key(picture: str) -> str:
    """The thumbnail that lies beside a published picture."""
    return f"{picture.rpartition('.')[0]}_thumb.webp"


def job_of(published: str) -> UUID | None:
    """The job whose picture, thumbnail or placeholder lies at this key; None where the key names none."""
    found = _JOB.search(published)
    return UUID(found[1]) if found else None


def blob_key(sha256: str) -> str:
    """An original by its content's SHA-256 (hexadecimal): the result cache too."""
    return BLOBS + sha256


def attempt_key(attempt_id: UUID) -> str:
    """What one paid call delivered, before it is known to be a picture."""
    return f"{ATTEMPTS}{attempt_id}"


def input_key(sha256: str) -> str:
    """A reference, source image or mask that a caller sent."""
    return INPUTS + sha256


def slug(text: str, separator: str = "-") -> str:
    """Lower-case ASCII letters, digits and separators, 1 to 80 characters; two texts may share one."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = re.findall(r"[a-z0-9]+", ascii_text)
    return separator.join(words)[:MAX_SEGMENT].strip(separator) or _digest(text)


def segment(name: str) -> str:
    """A caller's id as one folder name. Different ids stay different: what had to be changed gains a digest."""
    if _SAFE.fullmatch(name) and len(name) <= MAX_SEGMENT:
        return name
    digest = _digest(name)
    shown = slug(name)[: MAX_SEGMENT - len(digest) - 1].rstrip("-")
    return digest if shown == digest else f"{shown}-{digest}"


def checked_key(key: str) -> str:
    """The key itself; `StorageError` for one that could leave its folder or that a store would refuse."""
    segments = key.split("/")
    unsafe = any(not part or part.startswith(".") for part in segments)
    odd = "\\" in key or any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in key)
    if unsafe or odd or len(key.encode("utf-8", "replace")) > MAX_KEY_BYTES:
        raise StorageError(
            f"{key[:120]!r} is no safe object key: it needs plain, non-empty segments that do not begin with a dot",
            {"retryable": False},
        )
    return key


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
