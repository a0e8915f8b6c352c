"""Which processes of this machine still work in a folder."""

from __future__ import annotations

from pathlib import Path


def leftovers(home: Path) -> list[str]:
    """Command lines of processes that name this folder in their arguments or their environment."""
    sign = str(home).encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes()
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            around = (process / "environ").read_bytes()
        except OSError:
            continue
        if state not in "ZX" and sign in told + around:
            found.append(told.replace(b"\0", b" ").decode(errors="replace"))
    return found
