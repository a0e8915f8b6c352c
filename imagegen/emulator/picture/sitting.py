"""What is asked of the emulator's hand: one picture, fully described."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image

CONTENT_TYPES = {"png": "image/png", "jpeg": "image/jpeg"}


@dataclass(frozen=True)
class Reference:
    """A picture sent along: its digest tells it apart; the miniature is for drawing."""

    digest: str
    width: int
    height: int
    thumb: Image.Image = field(compare=False, repr=False)


@dataclass(frozen=True)
class Sitting:
    """One picture: `format` is png or jpeg; equal sittings give equal bytes."""

    prompt: str
    width: int
    height: int
    format: str = "jpeg"
    seed: int = 0
    references: tuple[Reference, ...] = ()
