"""What can be told of a request before anything is read, chosen or priced. Each raises `InvalidRequest`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from imagegen.contracts import BatchRequest, ImageRequest
from imagegen.errors import InvalidRequest, Problem
from imagegen.fingerprint import canonical_json
from imagegen.references import Input

MAX_METADATA_BYTES = 16 * 1024
"""Metadata as JSON: it is kept in the row and comes back in every document."""

_UNWRITABLE = re.compile(r"[\x00\ud800-\udfff]")


class Problems:
    """Collects what is wrong, so that it is told at once."""

    def __init__(self) -> None:
        self._found: list[Problem] = []

    @contextmanager
    def collected(self, prefix: str = "") -> Iterator[None]:
        """Around one check: its problems are kept, their fields with `prefix` before them."""
        try:
            yield
        except InvalidRequest as error:
            self._found += [{**problem, "field": f"{prefix}{problem['field']}"} for problem in error.problems]

    def check(self) -> None:
        """Raises what was collected, if anything."""
        if self._found:
            raise InvalidRequest.from_problems(self._found)


def check_pair(source: Input | None, mask: Input | None) -> None:
    """Refuses a mask of another pixel size than the picture it covers."""
    if source is None or mask is None:
        return
    if (source["width"], source["height"]) != (mask["width"], mask["height"]):
        raise InvalidRequest.of(
            "mask",
            f"is {mask['width']}x{mask['height']} while sourceImage is {source['width']}x{source['height']}",
            "Send a mask exactly as large as the source image.",
        )


def refuse_unsupported(request: ImageRequest | BatchRequest) -> None:
    """Refuses fields of the contract that this release does not honour, rather than ignoring them."""
    remedies: dict[str, tuple[object, str]] = {
        "callbackUrl": (request.callback_url, "Leave it out, and poll the job or wait for it."),
        "notifyTask": (request.notify_task, "Leave it out, and read the Celery result of the job's id."),
    }
    problems: list[Problem] = [
        {"field": field, "reason": "is not supported by this release", "remedy": remedy}
        for field, (value, remedy) in remedies.items()
        if value is not None
    ]
    if problems:
        raise InvalidRequest.from_problems(problems)


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Refuses metadata that is too large or no JSON."""
    try:
        size = len(canonical_json(metadata))
    except (ValueError, TypeError) as error:
        raise InvalidRequest.of("metadata", f"is no JSON ({error})", "Send strings, numbers, lists.") from error
    if size > MAX_METADATA_BYTES:
        raise InvalidRequest.of(
            "metadata", f"has {size} bytes as JSON", f"Send {MAX_METADATA_BYTES} at most; keep the rest on your side."
        )


def check_text(body: Any, path: str = "") -> None:
    """Refuses text that neither PostgreSQL nor UTF-8 can hold: NUL and lone surrogates."""
    if isinstance(body, Mapping):
        for key, value in body.items():
            check_text(str(key), path or "request")
            check_text(value, f"{path}.{key}" if path else str(key))
    elif isinstance(body, list | tuple):
        for index, value in enumerate(body):
            check_text(value, f"{path}.{index}")
    elif isinstance(body, str) and _UNWRITABLE.search(body):
        raise InvalidRequest.of(path, "holds a NUL character or half a surrogate pair", "Send plain Unicode text.")
