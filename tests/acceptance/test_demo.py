"""`imagegen demo` on an empty machine: four characters from their briefs to pictures."""

from __future__ import annotations

import os
import subprocess
from hashlib import sha256
from pathlib import Path

from imagegen.images import verify
from tests.acceptance.system import IMAGEGEN, ROOT
from tests.processes import leftovers

SECONDS = 180.0
"""A quiet machine takes fifteen; a busy one may take its time, and something that hangs fails all the same."""


def test_the_demo_makes_four_pictures_and_leaves_nothing_running(tmp_path: Path) -> None:
    """Four different pictures and a contact sheet, four charges in the table, no process left."""
    home = tmp_path / "my empty home"
    told = subprocess.run(
        [str(IMAGEGEN), "demo"], capture_output=True, text=True, cwd=ROOT, env=environment(home), timeout=SECONDS,
        check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert leftovers(home) == []
    *pictures, sheet = [Path(line) for line in told.stdout.splitlines() if line.startswith(str(home))]
    assert sheet == home / "demo" / "contact-sheet.png"
    assert verify(sheet.read_bytes()).content_type == "image/png"
    assert len(pictures) == 4
    assert len({sha256(path.read_bytes()).hexdigest() for path in pictures}) == 4
    for path in pictures:
        assert path.parent == home / "demo"
        assert verify(path.read_bytes()).width >= 512
    table = told.stdout
    assert "what it cost" in table
    for name in ("Marisol Tern", "Grandfather Pell", "completed", "estimated", "actual"):
        assert name in table
    assert "the emulator's own books: 4 pictures, 4 charges, $" in table


def environment(home: Path) -> dict[str, str]:
    """A shell with keys and addresses that the demo must not use."""
    around = {
        "GEMINI_API_KEY": "key-real", "NANO_BANANA_API_KEY": "key-real", "USE_REAL_IMAGE": "true",
        "IMAGEGEN_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "IMAGEGEN_REDIS_URL": "redis://127.0.0.1:1/0",
    }  # fmt: skip
    return {**os.environ, **around, "IMAGEGEN_HOME": str(home)}
