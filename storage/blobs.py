"""The object store in a folder, and the one door to either kind: `open_blobs`."""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit
from uuid import uuid4

from imagegen.errors import InvalidRequest, NotFound, PartUnavailable, StorageError
from imagegen.fileformats import sniff
from imagegen.layout import checked_key
from imagegen.links import FileSigner
from imagegen.ports import BlobInfo
from storage.s3 import PART, S3Blobs, type_by_name

__all__ = ["LocalBlobs", "S3Blobs", "open_blobs"]

SETTING = "IMAGEGEN_STORAGE_URL"
UNFINISHED = ".unfinished"
"""Folder of files being written: no key begins with a dot."""
ABANDONED_AFTER = 24 * 3600
"""Seconds after which an unfinished file belongs to a killed process."""
# Amazon S3 user guide, "General purpose bucket naming rules".
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_FOLDER = frozenset({errno.ENOTDIR, errno.EEXIST, errno.EISDIR})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def open_blobs(
    storage_url: str,
    *,
    endpoint_url: str | None = None,
    public_endpoint_url: str | None = None,
    public_base_url: str | None = None,
    aws: Mapping[str, str] | None = None,
    files: FileSigner | None = None,
) -> LocalBlobs | S3Blobs:
    """The object store of `s3://bucket[/prefix]` or `file:///folder`. Nothing is called or created yet.

    Raises `InvalidRequest` naming IMAGEGEN_STORAGE_URL. See `LocalBlobs` for `files`, `S3Blobs` for the others.
    """
    url = urlsplit(storage_url)
    if url.query or url.fragment:
        raise InvalidRequest.of(SETTING, "carries a ? or #", "Write s3://bucket/prefix or file:///folder alone.")
    if url.scheme == "file":
        return LocalBlobs(_folder(url.netloc, url.path), public_base_url, files)
    if url.scheme != "s3":
        raise InvalidRequest.of(SETTING, f"{storage_url!r} is no storage address", "Write s3://… or file:///….")
    if not _BUCKET.fullmatch(url.netloc):
        raise InvalidRequest.of(
            SETTING, f"{url.netloc!r} is no bucket name", "Use 3 to 63 small letters, digits, dots and hyphens."
        )
    prefix = unquote(url.path).strip("/")
    try:
        checked_key(prefix or "none")
    except StorageError as error:
        raise InvalidRequest.of(SETTING, error.message, "Write a plain prefix such as s3://bucket/pictures.") from None
    return S3Blobs(
        url.netloc,
        prefix,
        endpoint_url=endpoint_url,
        public_endpoint_url=public_endpoint_url,
        public_base_url=public_base_url,
        aws=aws,
    )


def _folder(host: str, path: str) -> Path:
    if host not in ("", "localhost"):
        raise InvalidRequest.of(SETTING, f"names the host {host!r}", "Write three slashes: file:///folder.")
    if not path.startswith("/") or path.strip("/") == "":
        raise InvalidRequest.of(SETTING, "names no folder", "Write an absolute path: file:///folder.")
    return Path(unquote(path))


class LocalBlobs:
    """`Blobs` as files below `root`, which is created when first written to.

    A file's content type is told by its first bytes, else by its name. `public_base_url` is where something serves
    `root`; without it, URLs are `file://` ones. `files` signs addresses there. `cache_control` is the business of
    whoever serves the files.
    """

    def __init__(self, root: Path, public_base_url: str | None = None, files: FileSigner | None = None) -> None:
        self.root = Path(root)
        self._public_base_url = public_base_url
        self._files = files

    def path(self, key: str) -> Path:
        """The file of a key; `StorageError` for a key that is not safe."""
        return self.root / checked_key(key)

    def close(self) -> None:
        """Nothing is held open."""

    def put(self, key: str, data: bytes, content_type: str, *, cache_control: str | None = None) -> None:
        """Written aside, flushed to the disk, then renamed: a reader sees whole or nothing."""
        with self._told(), self._aside() as unfinished:
            with unfinished.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            self._publish(unfinished, self.path(key))

    def get(self, key: str) -> bytes:
        """The file's bytes; `NotFound`."""
        with self._told(), _missing(key):
            return self.path(key).read_bytes()

    def head(self, key: str) -> BlobInfo | None:
        """What is known of the file, or None."""
        try:
            with self._told(), _missing(key):
                return self._info(key, self.path(key))
        except NotFound:
            return None

    def delete(self, key: str) -> None:
        """Nothing there is fine."""
        with self._told(), suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            self.path(key).unlink()

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """Files whose key begins with `prefix`, in key order. What vanishes meanwhile is left out."""
        folder = prefix.rpartition("/")[0]
        start = self.path(folder) if folder else self.root
        keys: list[str] = []
        for parent, folders, names in os.walk(start):
            folders[:] = [name for name in folders if not name.startswith(".")]
            keys += [Path(parent, name).relative_to(self.root).as_posix() for name in names if name[0] != "."]
        for key in sorted(key for key in keys if key.startswith(prefix)):
            info = self.head(key)
            if info is not None:
                yield info

    def copy(self, source: str, target: str, content_type: str) -> None:
        """As atomic as `put`; `NotFound` where the source is missing."""
        with self._told(), self._aside() as unfinished:
            with _missing(source):
                shutil.copyfile(self.path(source), unfinished)
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
            self._publish(unfinished, self.path(target))

    def public_url(self, key: str) -> str:
        """Below the public base URL, else the file's own `file://` URL."""
        if self._public_base_url is None:
            return self.path(key).absolute().as_uri()
        return f"{self._public_base_url.rstrip('/')}/{quote(checked_key(key))}"

    def presigned_url(self, key: str, ttl: timedelta) -> str:
        """The public URL with a signature that whoever serves the files checks; bare where nobody does or signs."""
        url = self.public_url(key)
        signed = self._files is not None and self._public_base_url is not None
        return f"{url}?{self._files.query(key, ttl)}" if signed and self._files else url

    def check(self) -> None:
        """The folder can be written to; what killed processes left unfinished is removed."""
        with self._told():
            aside = self._unfinished()
            if not os.access(aside, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(aside))
            for unfinished in aside.iterdir():
                with suppress(FileNotFoundError):
                    if time.time() - unfinished.stat().st_mtime > ABANDONED_AFTER:
                        unfinished.unlink()

    def _unfinished(self) -> Path:
        # Originals and inputs are nobody else's; a folder that is there already keeps its mode.
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = self.root / UNFINISHED
        folder.mkdir(exist_ok=True)
        return folder

    @contextmanager
    def _aside(self) -> Iterator[Path]:
        unfinished = self._unfinished() / uuid4().hex
        try:
            yield unfinished
        finally:
            unfinished.unlink(missing_ok=True)

    def _publish(self, unfinished: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(unfinished, target)
        # The rename itself is on the disk only when its folder is.
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _info(self, key: str, path: Path) -> BlobInfo:
        with path.open("rb") as file:
            known = sniff(file.read(16))
            stat = os.fstat(file.fileno())
        modified = datetime.fromtimestamp(stat.st_mtime, UTC)
        return BlobInfo(key=key, bytes=stat.st_size, content_type=known or type_by_name(key), modified=modified)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turns the disk's errors into ours."""
        try:
            yield
        except OSError as error:
            reason = f"{self.root}: {error.strerror or error}"
            if error.errno in _FULL:
                raise StorageError(f"{reason}: free space, or move {SETTING} to a larger disk") from error
            if error.errno in _DENIED:
                raise StorageError(f"{reason}: let this user write there, or correct {SETTING}") from error
            if error.errno == errno.ENAMETOOLONG:
                raise StorageError(f"{reason}: use a shorter key", {"retryable": False}) from error
            if error.errno in _NO_FOLDER:
                raise StorageError(f"{reason}: a file stands where a folder is needed; correct {SETTING}") from error
            raise PartUnavailable(f"the object store fails: {reason}", {"part": PART}) from error


@contextmanager
def _missing(key: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise NotFound(f"the object store has no {key!r}") from error
