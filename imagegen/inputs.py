"""How a caller names a picture to send along, and how bytes that only the caller has become an input of ours.

    https://…        a public address (http:// too, for a host in IMAGEGEN_ALLOW_HOSTS)
    s3://bucket/key  an object in our own bucket
    job:ID           another job's published picture
    input:SHA256     a picture stored before, by its digest
    data:…           the bytes themselves, base64             over HTTP and on the command line
    a path           a file of the caller's                   on the command line

Bytes are stored under `inputs/{sha256}` at once and named `input:SHA256` from then on: no row, log or message ever
holds them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Literal
from urllib.parse import unquote_to_bytes

from imagegen.contracts import ImageRequest, Style
from imagegen.errors import BadArtifact, InvalidRequest, NotFound
from imagegen.fileformats import HEAD_BYTES, describe, parts, sniff
from imagegen.layout import input_key
from imagegen.ports import Blobs

Door = Literal["http", "cli", "celery"]
"""Where a request came in: over HTTP, from the command line, or as a Celery message."""

MAX_INPUT_BYTES = 20 * 1024 * 1024
"""The largest picture taken from a caller: Google's limit for one inline request (ai.google.dev, Gemini batch guide);
the other providers allow 10 to 30 MB a file (docs.kie.ai)."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_DATA = re.compile(r"data:[^,;]*(?:;[^,;]*)*;base64,", re.IGNORECASE)
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Kind(StrEnum):
    """The spellings of a picture."""

    HTTPS = "https"
    HTTP = "http"
    S3 = "s3"
    JOB = "job"
    INPUT = "input"
    DATA = "data"
    PATH = "path"


_SPELLINGS = "an https URL, s3://bucket/key, job:ID, or a data: URI"
_UPLOAD = "Store it with POST /api/images/inputs and send the input:SHA256 it answers, or send an https URL."


def kind_of(ref: str, field: str, door: Door) -> Kind:
    """How the reference is spelt. Raises `InvalidRequest` for what does not exist, or not at this door."""
    scheme = _SCHEME.match(ref)
    if scheme is None:
        kind = Kind.PATH
    elif scheme[1].lower() in set(Kind) - {Kind.PATH}:
        kind = Kind(scheme[1].lower())
    else:
        raise InvalidRequest.of(field, f"{scheme[1]}: names no picture we can read", f"Send {_SPELLINGS}.")
    if kind is Kind.PATH and door != "cli":
        raise InvalidRequest.of(field, "looks like a file's path, which only its own machine can read", _UPLOAD)
    if kind is Kind.DATA and door == "celery":
        raise InvalidRequest.of(field, "is a data: URI, and image bytes do not travel in messages", _UPLOAD)
    return kind


def input_ref(sha256: str) -> str:
    """How a stored input is named in a request."""
    return f"input:{sha256}"


def input_sha256(ref: str, field: str) -> str:
    """The digest in `input:SHA256`."""
    sha256 = ref.partition(":")[2].lower()
    if not _SHA256.fullmatch(sha256):
        raise InvalidRequest.of(field, "is no input:SHA256 of 64 hexadecimal digits", _UPLOAD)
    return sha256


def store_input(data: bytes, field: str, blobs: Blobs) -> str:
    """Keeps a caller's picture and returns its SHA-256. The same bytes are stored once.

    Raises `InvalidRequest` for what is no whole PNG, JPEG or WebP file; it is fully decoded where it is used.
    """
    if len(data) > MAX_INPUT_BYTES:
        raise too_large(field, len(data))
    content_type = sniff(data[:HEAD_BYTES])
    if content_type is None:
        raise InvalidRequest.of(field, f"is {describe(data[:HEAD_BYTES])}", "Send a PNG, JPEG or WebP picture.")
    try:
        parts(data, content_type)
    except BadArtifact as error:
        raise InvalidRequest.of(field, error.message, "Send the whole file.") from error
    sha256 = hashlib.sha256(data).hexdigest()
    keep(input_key(sha256), data, content_type.value, blobs)
    return sha256


def keep(key: str, data: bytes, content_type: str, blobs: Blobs) -> None:
    """Puts what is named by its content, unless it is there: then it is young again, and no erasure takes it away."""
    try:
        blobs.copy(key, key, content_type)
    except NotFound:
        blobs.put(key, data, content_type)


def too_large(field: str, size: int) -> InvalidRequest:
    """The error for a picture of `size` bytes."""
    return InvalidRequest.of(field, f"has {size} bytes", f"Send a picture of {MAX_INPUT_BYTES} bytes at most.")


def with_stored_inputs(request: ImageRequest, *, door: Door, blobs: Blobs) -> ImageRequest:
    """The request with its data: URIs and paths stored and named by digest; every other spelling stays.

    Raises `InvalidRequest` naming every wrong field.
    """
    problems: list[InvalidRequest] = []

    def stored(ref: str, field: str) -> str:
        try:
            return _stored(ref, field, door, blobs)
        except InvalidRequest as error:
            problems.append(error)
            return ref

    changes: dict[str, object] = {
        "reference_images": [stored(ref, f"referenceImages.{i}") for i, ref in enumerate(request.reference_images)],
        "source_image": stored(request.source_image, "sourceImage") if request.source_image else None,
        "mask": stored(request.mask, "mask") if request.mask else None,
    }
    if request.style is not None:
        references = [stored(ref, f"style.references.{i}") for i, ref in enumerate(request.style.references)]
        changes["style"] = request.style.model_copy(update={"references": references})
    if problems:
        raise InvalidRequest.from_problems([problem for error in problems for problem in error.problems])
    return request.model_copy(update=changes)


def style_with_stored_inputs(style: Style, *, door: Door, blobs: Blobs) -> Style:
    """The capsule fit to be kept: its data: URIs and paths stored and named by digest. Raises `InvalidRequest`."""
    references = [_stored(ref, f"references.{index}", door, blobs) for index, ref in enumerate(style.references)]
    return style.model_copy(update={"references": references})


def _stored(ref: str, field: str, door: Door, blobs: Blobs) -> str:
    kind = kind_of(ref, field, door)
    if kind is Kind.DATA:
        return input_ref(store_input(_data_bytes(ref, field), field, blobs))
    if kind is Kind.PATH:
        return input_ref(store_input(_file_bytes(Path(ref).expanduser(), field), field, blobs))
    return ref


def _data_bytes(ref: str, field: str) -> bytes:
    head = _DATA.match(ref)
    if head is None:
        raise InvalidRequest.of(field, "is no base64 data: URI", "Write data:image/png;base64,… .")
    try:
        return base64.b64decode(unquote_to_bytes(ref[head.end() :]), validate=True)
    except binascii.Error as error:
        raise InvalidRequest.of(field, f"holds broken base64 ({error})", "Encode the file as base64.") from error


def _file_bytes(path: Path, field: str) -> bytes:
    try:
        # A device or a pipe may never end.
        if not path.is_file():
            raise InvalidRequest.of(field, f"{path} is no file", f"Name a picture file, or send {_SPELLINGS}.")
        if (size := path.stat().st_size) > MAX_INPUT_BYTES:
            raise too_large(field, size)
        return path.read_bytes()
    except OSError as error:
        raise InvalidRequest.of(
            field, f"{path} cannot be read ({error.strerror or error})", "Make the file readable."
        ) from error


def all_refs(request: ImageRequest, style: Style | None, style_field: str) -> Sequence[tuple[str, str]]:
    """Every picture of the request with its field, in the order sent: source, mask, references, the style's own."""
    found = [("sourceImage", request.source_image), ("mask", request.mask)]
    found += [(f"referenceImages.{index}", ref) for index, ref in enumerate(request.reference_images)]
    found += [(f"{style_field}.{index}", ref) for index, ref in enumerate(style.references if style else [])]
    return [(field, ref) for field, ref in found if ref is not None]
