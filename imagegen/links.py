"""How documents name pictures: the permanent public address of their row, or one signed at the moment of reading.

row      public_url, object_key             permanent, never signed
document publicUrl, thumbnailUrl            `Links.job`, `Links.batch`: every door makes its documents here
/files   ?expires=…&signature=…             `FileSigner`: a local store's own signatures, checked by `Links.admits`
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from imagegen.contracts import BatchDocument, JobDocument
from imagegen.jobs import Batch, Job
from imagegen.layout import PUBLIC_PREFIX, thumbnail_key

LONGEST = timedelta(days=7)
"""The longest life of a signature version 4 URL (Amazon S3 user guide, "Sharing objects with presigned URLs"); the
local store keeps to it too, so that a move to S3 changes nothing."""
_PURPOSE = b"imagegen /files 1"
_DIGITS = 12


class FileSigner:
    """Signs addresses below `/files` with a key of its own, derived from the secret of the tokens."""

    def __init__(self, secret: str, now: Callable[[], datetime]) -> None:
        self._key = hmac.new(secret.encode(), _PURPOSE, hashlib.sha256).digest()
        self._now = now

    def query(self, key: str, ttl: timedelta) -> str:
        """`expires=UNIX-SECONDS&signature=HEX` for an object's key."""
        expires = int((self._now() + ttl).timestamp())
        return f"expires={expires}&signature={self._signature(key, expires)}"

    def holds(self, key: str, expires: str, signature: str) -> bool:
        """Whether the signature is ours, for this key, and not over."""
        if not (expires.isascii() and expires.isdigit() and len(expires) <= _DIGITS):
            return False
        ours = self._signature(key, int(expires))
        return hmac.compare_digest(ours.encode(), signature.encode()) and self._now().timestamp() < int(expires)

    def _signature(self, key: str, expires: int) -> str:
        return hmac.new(self._key, f"{expires}\n{key}".encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Links:
    """`sign`: gives an object's key an address that ends; None: addresses are public. `files`: who signs `/files`."""

    sign: Callable[[str], str] | None = None
    files: FileSigner | None = None

    def job(self, job: Job) -> JobDocument:
        """What its owner sees."""
        return self._addressed(job).document()

    def batch(self, batch: Batch, jobs: Sequence[Job]) -> BatchDocument:
        """The batch and its jobs in input order, as their owner sees them."""
        return batch.document([self._addressed(job) for job in jobs])

    def admits(self, key: str, expires: str, signature: str) -> bool:
        """Whether a reader of `/files` may have this object: it is public, or the signature holds."""
        if self.files is None:
            return self.sign is None
        public = self.sign is None and key.startswith(PUBLIC_PREFIX)
        return public or self.files.holds(key, expires, signature)

    def _addressed(self, job: Job) -> Job:
        if self.sign is None or job.public_url is None or job.object_key is None:
            return job
        thumbnail = None if job.thumbnail_url is None else self.sign(thumbnail_key(job.object_key))
        return replace(job, public_url=self.sign(job.object_key), thumbnail_url=thumbnail)
