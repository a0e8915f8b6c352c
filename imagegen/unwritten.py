"""An object store for a dry run: it reads the real one, and keeps in memory what would have been written."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from imagegen.ports import BlobInfo, Blobs

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class Unwritten:
    """`Blobs` that changes nothing. What was put is read back from memory; it is gone with this object."""

    def __init__(self, store: Blobs) -> None:
        self._store = store
        self._kept: dict[str, tuple[bytes, str]] = {}

    def put(self, key: str, data: bytes, content_type: str, *, cache_control: str | None = None) -> None:
        """Remembered."""
        self._kept[key] = data, content_type

    def get(self, key: str) -> bytes:
        """The remembered bytes, else the store's; raises `NotFound`."""
        return self._kept[key][0] if key in self._kept else self._store.get(key)

    def head(self, key: str) -> BlobInfo | None:
        """Of the remembered bytes, else of the store's."""
        if key not in self._kept:
            return self._store.head(key)
        data, content_type = self._kept[key]
        return BlobInfo(key=key, bytes=len(data), content_type=content_type, modified=_BEGINNING)

    def delete(self, key: str) -> None:
        """Forgets what was remembered; the store keeps what it has."""
        self._kept.pop(key, None)

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """The store's own objects."""
        return self._store.list(prefix)

    def copy(self, source: str, target: str, content_type: str) -> None:
        """Remembered under the other key; raises `NotFound`."""
        self.put(target, self.get(source), content_type)

    def public_url(self, key: str) -> str:
        """As the store gives it."""
        return self._store.public_url(key)

    def presigned_url(self, key: str, ttl: timedelta) -> str:
        """As the store gives it; signing asks nobody."""
        return self._store.presigned_url(key, ttl)

    def check(self) -> None:
        """The store's own."""
        self._store.check()
