"""What can be told of a request before anything is read, chosen or priced. Each raises `InvalidRequest`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from imagegen.contracts import BatchRequest, ImageRequest
from imagegen.errors import InvalidRequest, Problem
from imagegen.fingerprint import canonical_json
from imagegen.guard import Lookup, checked_address, system_lookup
from imagegen.references import Input
from imagegen.webhooks import SETTING

MAX_METADATA_BYTES = 16 * 1024
"""Metadata as JSON: it is kept in the row and comes back in every document."""

RESERVED_TASKS = ("imagegen.", "celery.")
"""How the names of tasks begin that no caller may have called with a document."""

MAX_AHEAD = timedelta(days=3653)

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


def check_targets(
    request: ImageRequest | BatchRequest, *, signing: bool, allow_hosts: Sequence[str], lookup: Lookup = system_lookup
) -> None:
    """Refuses whom we could not, or must not, tell of the end. `signing`: whether webhooks can be signed."""
    problems = Problems()
    if request.callback_url is not None:
        with problems.collected():
            if not signing:
                raise InvalidRequest.of(
                    "callbackUrl", "cannot be told: webhooks are not signed here",
                    f"Set {SETTING}, or leave it out and wait for the job.",
                )  # fmt: skip
            checked_address(request.callback_url, "callbackUrl", allow_hosts, lookup)
    if request.notify_task is not None and request.notify_task.name.startswith(RESERVED_TASKS):
        with problems.collected():
            raise InvalidRequest.of("notifyTask.name", "is no task of yours", "Name a task of your own application.")
    problems.check()


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


def check_schedule(request: ImageRequest, now: datetime) -> None:
    """Refuses a start that nobody will live to see: a mistyped year, or one that no calendar here reaches."""
    if request.scheduled_at is not None and request.scheduled_at - now > MAX_AHEAD:
        raise InvalidRequest.of("scheduledAt", "is more than ten years ahead", "Send an earlier time.")


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
