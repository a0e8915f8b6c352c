"""An object store in memory, for tests: it passes the same contract suite as the real ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from imagegen.errors import ImagegenError, NotFound
from imagegen.layout import checked_key
from imagegen.ports import BlobInfo


@dataclass(frozen=True, slots=True)
class _Stored:
    data: bytes
    content_type: str
    modified: datetime
    cache_control: str | None


class MemoryBlobs:
    """`Blobs` in a dictionary. `now` gives the time of change; `outage`, when set, is raised by every call."""

    def __init__(self, public_base_url: str = "https://files.test", now: Callable[[], datetime] | None = None) -> None:
        self.outage: ImagegenError | None = None
        self._public_base_url = public_base_url.rstrip("/")
        self._now = now or (lambda: datetime.now(UTC))
        self._stored: dict[str, _Stored] = {}
        self._lock = threading.Lock()

    @property
    def keys(self) -> list[str]:
        """Every key, sorted."""
        return sorted(self._stored)

    def cache_control(self, key: str) -> str | None:
        """What the object was put with."""
        return self._find(key).cache_control

    def put(self, key: str, data: bytes, content_type: str, *, cache_control: str | None = None) -> None:
        """Keeps a copy of the bytes."""
        self._reach()
        stored = _Stored(bytes(data), str(content_type), self._now(), cache_control)
        with self._lock:
            self._stored[checked_key(key)] = stored

    def get(self, key: str) -> bytes:
        """The bytes; `NotFound`."""
        return self._find(key).data

    def head(self, key: str) -> BlobInfo | None:
        """What is known of the object, or None."""
        try:
            return self._info(key, self._find(key))
        except NotFound:
            return None

    def delete(self, key: str) -> None:
        """Nothing there is fine."""
        self._reach()
        with self._lock:
            self._stored.pop(checked_key(key), None)

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """In key order."""
        self._reach()
        with self._lock:
            found = sorted((key, one) for key, one in self._stored.items() if key.startswith(prefix))
        for key, one in found:
            yield self._info(key, one)

    def copy(self, source: str, target: str, content_type: str) -> None:
        """`NotFound` where the source is missing."""
        self.put(target, self._find(source).data, content_type)

    def public_url(self, key: str) -> str:
        """Below the base URL; nothing answers there."""
        return f"{self._public_base_url}/{quote(checked_key(key))}"

    def presigned_url(self, key: str, ttl: timedelta) -> str:
        """The public URL with its life in the query."""
        return f"{self.public_url(key)}?expires={int(ttl.total_seconds())}"

    def check(self) -> None:
        """Raises the outage, if there is one."""
        self._reach()

    def _reach(self) -> None:
        if self.outage is not None:
            raise self.outage

    def _find(self, key: str) -> _Stored:
        self._reach()
        stored = self._stored.get(checked_key(key))
        if stored is None:
            raise NotFound(f"the object store has no {key!r}")
        return stored

    def _info(self, key: str, stored: _Stored) -> BlobInfo:
        return BlobInfo(key=key, bytes=len(stored.data), content_type=stored.content_type, modified=stored.modified)
