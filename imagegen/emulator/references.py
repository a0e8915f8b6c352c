"""Reference pictures that callers send along: looked at as the real services look at them."""

from __future__ import annotations

import io
from collections import OrderedDict
from hashlib import sha256
from threading import Lock

from PIL import Image, UnidentifiedImageError

from imagegen.emulator.picture.sitting import Reference

ACCEPTED = ("JPEG", "PNG", "WEBP")
THUMB = 320
"""Longest side of the miniature that is kept for drawing, pixels."""

REMEMBERED = 64


class NotAPicture(Exception):
    """The bytes are no whole JPEG, PNG or WebP picture."""


class References:
    """Decodes reference pictures fully; the last `REMEMBERED` are kept as miniatures. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: OrderedDict[str, Reference] = OrderedDict()

    def look_at(self, data: bytes) -> Reference:
        """The picture's size, digest and miniature; NotAPicture where it does not decode."""
        digest = sha256(data).hexdigest()
        with self._lock:
            known = self._known.get(digest)
            if known is not None:
                self._known.move_to_end(digest)
                return known
        reference = _decode(digest, data)
        with self._lock:
            self._known[digest] = reference
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return reference


def _decode(digest: str, data: bytes) -> Reference:
    try:
        with Image.open(io.BytesIO(data), formats=ACCEPTED) as picture:
            size = picture.size
            picture.load()
            thumb = picture.convert("RGB")
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise NotAPicture(str(error)) from error
    thumb.thumbnail((THUMB, THUMB), Image.Resampling.BILINEAR)
    return Reference(digest, size[0], size[1], thumb)
