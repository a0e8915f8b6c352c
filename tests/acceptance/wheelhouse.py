"""A clean environment for a wheel: the wheel itself, and of everything else exactly what it says it depends on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def build(folder: Path) -> Path:
    """The project's wheel, built into this folder without a network."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """Makes an environment in `folder` with the wheel; returns its folder of commands.

    Its dependencies come from this session's environment as links, chosen by the wheel's own metadata, so that one
    which it does not declare is missing there.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index",
         "--disable-pip-version-check", str(wheel)],
        check=True,
    )  # fmt: skip
    (site,) = (folder / "lib").glob("python*/site-packages")
    (metadata,) = site.glob("imagegen_celery-*.dist-info")
    declared = Distribution.at(metadata).requires or []
    links = linked(needed(declared), folder / "dependencies")
    (site / "dependencies.pth").write_text(f"{links}\n")
    return folder / "bin"


def linked(distributions: Iterable[Distribution], folder: Path) -> Path:
    """The folder, with a link to every file and package of these distributions."""
    folder.mkdir()
    for one in distributions:
        for top in {path.parts[0] for path in one.files or [] if path.parts[0] not in {"..", "__pycache__"}}:
            (folder / top).symlink_to(Path(str(one.locate_file(top))).resolve())
    return folder


def needed(requirements: Iterable[str], extra: str = "") -> Iterator[Distribution]:
    """The installed distributions that these requirements lead to, each once."""
    seen: set[tuple[str, str]] = set()
    todo = [(Requirement(text), extra) for text in requirements]
    told: set[str] = set()
    while todo:
        wanted, asked = todo.pop()
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": asked}):
            continue
        found = distribution(wanted.name)
        name = canonicalize_name(wanted.name)
        if name not in told:
            told.add(name)
            yield found
        for each in ("", *wanted.extras):
            if (name, each) not in seen:
                seen.add((name, each))
                todo += [(Requirement(text), each) for text in found.requires or []]
