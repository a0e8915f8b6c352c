"""What one picture costs in CPU: `python -m tests.performance.picture_cost` prints the table.

A drawn 2752x1536 original (the size of a 2K answer at 16:9) becomes 1920x1080 with its thumbnail, by `publish_form` and
by Pillow with its defaults. Milliseconds of process CPU (`time.process_time`), median of five.
"""

from __future__ import annotations

import io
import statistics
import sys
import time
from collections.abc import Callable

import pyvips
from PIL import Image

from imagegen.contracts import Format
from imagegen.images import publish_form, verify

ORIGINAL = (2752, 1536)
TARGET = (1920, 1080)
ROUNDS = 5


def original(width: int, height: int, seed: int = 1) -> pyvips.Image:
    """A picture with soft shapes, fine texture and grain, about as hard to compress as a painted scene."""
    bands = []
    for band in (seed, seed + 1, seed + 2):
        soft = pyvips.Image.perlin(width, height, cell_size=200, seed=band) * 90 + 128
        fine = pyvips.Image.perlin(width, height, cell_size=9, seed=band + 30) * 8
        bands.append(soft + fine + pyvips.Image.gaussnoise(width, height, mean=0, sigma=1, seed=band))
    return bands[0].bandjoin(bands[1:]).cast("uchar").copy(interpretation="srgb").copy_memory()


def cpu_ms(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Median CPU milliseconds of the process for one call."""
    spent = []
    for _ in range(rounds):
        begun = time.process_time()
        work()
        spent.append((time.process_time() - begun) * 1000)
    return statistics.median(spent)


def by_pillow(data: bytes, format: str) -> bytes:
    """The same work with Pillow's defaults: decode, resize to cover, crop, encode, thumbnail."""
    with Image.open(io.BytesIO(data)) as picture:
        scale = max(TARGET[0] / picture.width, TARGET[1] / picture.height)
        large = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
    left, top = (large.width - TARGET[0]) // 2, (large.height - TARGET[1]) // 2
    cut = large.crop((left, top, left + TARGET[0], top + TARGET[1]))
    encoded = io.BytesIO()
    cut.save(encoded, format)
    cut.thumbnail((480, 480))
    cut.save(io.BytesIO(), "WEBP")
    return encoded.getvalue()


def rows() -> list[tuple[str, str, float, float, float, int, int]]:
    """Per original and target format: CPU ms to verify, by us, by Pillow, and the bytes of both results."""
    picture = original(*ORIGINAL)
    originals = {"png": picture.pngsave_buffer(), "jpeg": picture.jpegsave_buffer(Q=92)}
    fitting = picture.crop(0, 0, *TARGET)
    originals["png, fits"], originals["jpeg, fits"] = fitting.pngsave_buffer(), fitting.jpegsave_buffer(Q=92)
    table = []
    for name, data in originals.items():
        targets = [name.partition(",")[0]] if "fits" in name else list(Format)
        for target in targets:
            table.append(
                (
                    name,
                    str(target),
                    cpu_ms(lambda data=data: verify(data)),  # type: ignore[misc]
                    cpu_ms(lambda data=data, target=target: publish_form(data, *TARGET, target)),  # type: ignore[misc]
                    cpu_ms(lambda data=data, target=target: by_pillow(data, target), rounds=2),  # type: ignore[misc]
                    len(publish_form(data, *TARGET, target).data),
                    len(by_pillow(data, target)),
                )
            )
    return table


def main() -> None:
    """Prints the table to standard output."""
    out = sys.stdout.write
    out(f"{ORIGINAL[0]}x{ORIGINAL[1]} to {TARGET[0]}x{TARGET[1]} with thumbnail, CPU ms per picture\n")
    out(f"{'original':<12}{'to':<6}{'verify':>8}{'publish':>9}{'Pillow':>8}{'bytes':>10}{'Pillow':>10}\n")
    for source, target, verified, ours, pillow, size, pillow_size in rows():
        out(f"{source:<12}{target:<6}{verified:>8.1f}{ours:>9.1f}{pillow:>8.0f}{size:>10}{pillow_size:>10}\n")


if __name__ == "__main__":
    main()
