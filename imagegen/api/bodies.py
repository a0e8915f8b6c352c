"""Bodies of requests, bounded in bytes and time: JSON objects, and pictures as they are or in a form."""

from __future__ import annotations

import asyncio
import json
import math
from email.message import Message
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from imagegen.api.problems import Refused
from imagegen.errors import InvalidRequest
from imagegen.inputs import MAX_INPUT_BYTES

MAX_JSON = 1024 * 1024
"""Bytes of a JSON body; pictures are stored first, and named in it."""
FORM_ROOM = 64 * 1024
"""Bytes that a form may have around its picture."""
MAX_DIGITS = 400
"""Of a whole number in JSON: those that fit a float have fewer."""
BODY_TOTAL = 60.0
"""Seconds for a body to arrive."""
_UPLOAD = "Send less; store pictures with POST /api/images/inputs and name them."


async def json_object(request: Request, *, optional: bool = False) -> dict[str, Any]:
    """The JSON object in the body; `optional`: an empty body is an empty object. Raises `Refused`, `InvalidRequest`."""
    body = await _read(request, MAX_JSON, _UPLOAD)
    if optional and not body:
        return {}
    kind = _media_type(request).get_content_type()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise _media_refused(f"{kind} is not JSON", "Send Content-Type: application/json.")
    try:
        found = json.loads(body, parse_constant=_no_number, parse_float=_finite, parse_int=_short)
    except (ValueError, RecursionError) as error:
        reason = "is nested too deeply" if isinstance(error, RecursionError) else f"is no JSON ({error})"
        raise Refused(400, InvalidRequest.of("request", reason, "Send a JSON object in UTF-8.")) from None
    if not isinstance(found, dict):
        raise InvalidRequest.of("request", "is JSON, but not an object", "Send a JSON object.")
    return found


async def picture(request: Request) -> bytes:
    """The picture in the body: the body itself, or the one file of a form. Raises `Refused`, `InvalidRequest`."""
    message = _media_type(request)
    kind, boundary = message.get_content_type(), message.get_param("boundary")
    form = kind == "multipart/form-data"
    if not form and kind != "application/octet-stream" and not kind.startswith("image/"):
        raise _media_refused(f"{kind} is neither a picture nor a form", "Send image/png, or multipart/form-data.")
    limit = MAX_INPUT_BYTES + FORM_ROOM if form else MAX_INPUT_BYTES
    body = await _read(request, limit, f"Send a picture of {MAX_INPUT_BYTES} bytes at most.")
    if not form:
        return body
    files = _files(body, str(boundary or "").encode())
    if len(files) != 1:
        raise InvalidRequest.of("file", f"the form has {len(files)} files", "Send exactly one, each picture by itself.")
    return files[0]


def _files(body: bytes, boundary: bytes) -> list[bytes]:
    """The contents of those parts of a form that have a file name (RFC 7578)."""
    if not boundary:
        raise InvalidRequest.of("Content-Type", "names no boundary", "Let your HTTP library make the form.")
    parts = (b"\r\n" + body).split(b"\r\n--" + boundary)
    if len(parts) < 2 or not parts[-1].startswith(b"--"):
        raise InvalidRequest.of("request", "is no whole form", "Let your HTTP library make the form.")
    found = []
    for part in parts[1:-1]:
        head, gap, content = part.partition(b"\r\n\r\n")
        if gap and b"filename" in head.lower():
            found.append(content)
    return found


class TooLarge(Exception):
    """A body has more bytes than are read."""


async def whole(request: Request, limit: int, seconds: float) -> bytes:
    """The body. Raises `TooLarge`, `TimeoutError` where it is slower, `ClientDisconnect` where it broke off."""
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) > limit:
        raise TooLarge
    chunks: list[bytes] = []
    size = 0
    async with asyncio.timeout(seconds):
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise TooLarge
            chunks.append(chunk)
    return b"".join(chunks)


async def _read(request: Request, limit: int, remedy: str) -> bytes:
    try:
        return await whole(request, limit, BODY_TOTAL)
    except TooLarge:
        wrong = InvalidRequest.of("request", f"has more than {limit} bytes", remedy)
        raise Refused(413, wrong, {"Connection": "close"}) from None
    except ClientDisconnect:
        raise Refused(400, InvalidRequest.of("request", "broke off", "Send it whole.")) from None
    except TimeoutError:
        wrong = InvalidRequest.of("request", f"did not arrive within {BODY_TOTAL:.0f} s", "Send it faster.")
        raise Refused(408, wrong) from None


def _media_type(request: Request) -> Message:
    message = Message()
    message["Content-Type"] = request.headers.get("content-type", "application/x-unknown")
    return message


def _media_refused(reason: str, remedy: str) -> Refused:
    return Refused(415, InvalidRequest.of("Content-Type", reason, remedy))


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


def _short(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"{text[:20]}… is too large a number")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is too large a number")
    return number
