"""Input pictures: read and verified at admission, handed to the provider at submission.

At admission every picture is read, decoded in full and kept under `inputs/{sha256}`, so that one which cannot be
read is refused before any money moves, and a URL that dies later changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, TypedDict
from urllib.parse import urljoin, urlsplit
from uuid import UUID

from imagegen.errors import ImagegenError, InvalidRequest, NotFound, StorageError
from imagegen.guard import Lookup, checked_address, system_lookup
from imagegen.images import Limits, verify_input
from imagegen.inputs import MAX_INPUT_BYTES, Door, Kind, input_sha256, keep, kind_of, too_large
from imagegen.jobs import Job
from imagegen.layout import ATTEMPTS, BLOBS, PUBLIC_PREFIX, checked_key, input_key, job_of
from imagegen.ports import Blobs, Services
from imagegen.providers.base import InputImage, Order, Provider
from imagegen.settings_values import is_loopback
from imagegen.states import Status
from imagegen.transport import Reply

READ_TOTAL = 30.0
"""Seconds that all the pictures of one admission may take to be read."""

PROVIDER_URL_TTL = timedelta(hours=1)
"""How long a provider may fetch a picture: longer than any of them keeps an order waiting."""

MAX_REDIRECTS = 3
_MOVED = {301, 302, 303, 307, 308}
_READABLE = "Make it readable without a login, or upload the picture."
_LIMITS = Limits(max_bytes=MAX_INPUT_BYTES)


class Input(TypedDict):
    """A picture sent along, as the job's plan keeps it: JSON. `kind` is how the caller named it; size in pixels."""

    kind: str
    key: str
    sha256: str
    contentType: str
    width: int
    height: int
    bytes: int


class Resolver:
    """Reads the pictures of one admission. The same reference is read once, however often it is named."""

    def __init__(self, services: Services, *, door: Door, owner: str, lookup: Lookup = system_lookup) -> None:
        self._services = services
        self._door = door
        self._owner = owner
        self._lookup = lookup
        self._until = services.clock.monotonic() + READ_TOTAL
        self._seen: dict[str, Input] = {}

    def resolve(self, ref: str, field: str) -> Input:
        """The verified picture, stored. Raises `InvalidRequest` naming `field`, the reason and the remedy.

        data: URIs and paths are no longer accepted here: `inputs.with_stored_inputs` comes first.
        """
        if ref not in self._seen:
            self._seen[ref] = self._resolve(ref, field)
        return self._seen[ref]

    def _resolve(self, ref: str, field: str) -> Input:
        kind = kind_of(ref, field, self._door)
        match kind:
            case Kind.JOB:
                return self._of_job(ref, field)
            case Kind.INPUT:
                return self._verified(kind, self._stored(input_key(input_sha256(ref, field)), field), field)
            case Kind.S3:
                return self._verified(kind, self._stored(self._s3_key(ref, field), field), field)
            case Kind.HTTPS | Kind.HTTP:
                return self._verified(kind, self._fetched(ref, field), field)
            case Kind.DATA | Kind.PATH:
                raise InvalidRequest.of(field, "was not stored before", "Send an https URL or input:SHA256.")

    def _verified(self, kind: Kind, data: bytes, field: str) -> Input:
        picture = verify_input(data, field, _LIMITS)
        key = input_key(picture.sha256)
        keep(key, data, picture.content_type.value, self._services.blobs)
        return Input(
            kind=kind.value, key=key, sha256=picture.sha256, contentType=picture.content_type.value,
            width=picture.width, height=picture.height, bytes=picture.bytes,
        )  # fmt: skip

    def _stored(self, key: str, field: str) -> bytes:
        try:
            info = self._services.blobs.head(key)
            if info is not None and info.bytes > MAX_INPUT_BYTES:
                raise too_large(field, info.bytes)
            return self._services.blobs.get(key)
        except NotFound as error:
            raise _not_stored(field) from error
        except StorageError as error:
            raise InvalidRequest.of(field, f"cannot be read: {error}", "Name an object we may read.") from error

    def _s3_key(self, ref: str, field: str) -> str:
        home = self._services.storage_url
        if home is None or not home.startswith("s3://"):
            raise InvalidRequest.of(field, "is in S3, and no bucket is configured", "Send an https URL instead.")
        prefix = home.rstrip("/") + "/"
        key = ref.removeprefix(prefix)
        # Originals and unpublished bytes belong to whoever paid for them, published pictures to their job's owner.
        if not ref.startswith(prefix) or key.startswith((BLOBS, ATTEMPTS)):
            raise InvalidRequest.of(field, "is not in the part of our bucket open to callers", f"Send {prefix}…")
        if key.startswith(PUBLIC_PREFIX) and not self._owns(key):
            raise _not_stored(field)
        try:
            return checked_key(key)
        except StorageError as error:
            raise InvalidRequest.of(field, str(error), "Send the key of an object as it is listed.") from error

    def _owns(self, key: str) -> bool:
        """Whether a published picture is this owner's; what no job of ours is named in, everybody may name."""
        job_id = job_of(key)
        try:
            return job_id is None or self._services.jobs.get(job_id, owner=self._owner) is not None
        except NotFound:
            return False

    def _of_job(self, ref: str, field: str) -> Input:
        job = self._finished(ref, field)
        if job.sha256 is None or job.object_key is None or job.content_type is None:
            raise InvalidRequest.of(field, "that job has no picture", "Name another job.")
        if job.placeholder or job.emulated != self._services.emulated:
            what = "a placeholder" if job.placeholder else "an emulated one" if job.emulated else "a real one"
            raise InvalidRequest.of(field, f"that job's picture is {what}", "Name a job whose picture fits this one.")
        if (job.bytes or 0) > MAX_INPUT_BYTES:
            raise too_large(field, job.bytes or 0)
        key = input_key(job.sha256)
        blobs = self._services.blobs
        try:
            _touch_or_copy(key, job.object_key, job.content_type, blobs)
        except NotFound as error:
            raise InvalidRequest.of(field, "the job's picture was removed", "Name another job.") from error
        return Input(
            kind=Kind.JOB.value, key=key, sha256=job.sha256, contentType=job.content_type,
            width=job.width, height=job.height, bytes=job.bytes or 0,
        )  # fmt: skip

    def _finished(self, ref: str, field: str) -> Job:
        try:
            job = self._services.jobs.get(UUID(ref.partition(":")[2]))
        except ValueError as error:
            raise InvalidRequest.of(field, "is no job:ID", "Send job: and the id of a completed job.") from error
        except NotFound as error:
            raise _no_such_job(field) from error
        if job.owner != self._owner:
            raise _no_such_job(field)
        if job.status is not Status.COMPLETED:
            raise InvalidRequest.of(field, f"that job is {job.status}", "Wait until it is completed, or name another.")
        return job

    def _fetched(self, url: str, field: str) -> bytes:
        """The bytes at a URL; every redirect is checked like the URL itself."""
        for _ in range(MAX_REDIRECTS + 1):
            addresses = checked_address(url, field, self._services.allow_hosts, self._lookup)
            reply = self._asked(url, addresses, field)
            if reply.status not in _MOVED:
                break
            url = urljoin(url, reply.headers.get("Location", ""))
        if reply.status != 200:
            raise InvalidRequest.of(field, f"answers {reply.status}", _READABLE)
        return reply.body

    def _asked(self, url: str, addresses: Sequence[str], field: str) -> Reply:
        left = self._until - self._services.clock.monotonic()
        if left <= 0:
            raise InvalidRequest.of(
                field, f"was not reached within the {READ_TOTAL:.0f} s for all pictures", "Send fewer, or upload them."
            )
        try:
            return self._services.transport.call("GET", url, total=left, max_bytes=MAX_INPUT_BYTES, addresses=addresses)
        except ImagegenError as error:
            raise InvalidRequest.of(field, f"cannot be read: {error}", _READABLE) from error


def _touch_or_copy(key: str, source: str, content_type: str, blobs: Blobs) -> None:
    """What is there already is young again (`inputs.keep`), even where its source is gone."""
    try:
        blobs.copy(key, key, content_type)
    except NotFound:
        blobs.copy(source, key, content_type)


def _not_stored(field: str) -> InvalidRequest:
    return InvalidRequest.of(field, "is not in the object store", "Upload it first, or correct it.")


def _no_such_job(field: str) -> InvalidRequest:
    return InvalidRequest.of(field, "there is no such job of this owner", "Name a completed job of the same owner.")


def check_reachable(inputs: Sequence[Input], services: Services, provider: Provider) -> None:
    """Refuses at admission what `to_provider` could not hand over. Raises `InvalidRequest`."""
    if inputs and not provider.takes_bytes:
        _provider_url(inputs[0]["key"], services, provider)


def to_provider(inputs: Sequence[Mapping[str, Any]], services: Services, provider: Provider) -> tuple[InputImage, ...]:
    """The pictures of a plan as the provider takes them: bytes, or URLs it can fetch for an hour.

    Raises `InvalidRequest` where it could fetch none, `NotFound` where a picture was erased since admission.
    """
    if provider.takes_bytes:
        return tuple(InputImage(content_type=one["contentType"], data=services.blobs.get(one["key"])) for one in inputs)
    return tuple(
        InputImage(content_type=one["contentType"], url=_provider_url(one["key"], services, provider)) for one in inputs
    )


def _provider_url(key: str, services: Services, provider: Provider) -> str:
    url = services.blobs.presigned_url(key, PROVIDER_URL_TTL)
    if urlsplit(url).scheme not in {"http", "https"} or (is_loopback(url) and not services.emulated):
        raise InvalidRequest.of(
            "provider",
            f"{provider.name} fetches references by URL, and our object store has none it can reach",
            "Set IMAGEGEN_PUBLIC_BASE_URL or an S3 store, or choose a provider that takes bytes.",
        )
    return url


def order(job: Job, services: Services) -> Order:
    """What to buy for a job, from the plan made at its admission."""
    provider = services.provider(job.provider)
    plan = job.plan

    def given(name: str) -> InputImage | None:
        return to_provider([plan[name]], services, provider)[0] if plan.get(name) else None

    return Order(
        prompt=job.sent_prompt, model=job.model, ratio=plan["ratio"], tier=plan["tier"], format=plan["format"],
        seed=job.request.get("seed"), references=to_provider(plan.get("references", []), services, provider),
        source=given("source"), mask=given("mask"),
    )  # fmt: skip
