"""The folder of one instance (`IMAGEGEN_HOME`): its parts, its one lock, its sockets and its secrets."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
import tempfile
import time
from pathlib import Path

from imagegen.errors import PartUnavailable

# sun_path holds 108 bytes with its closing zero.
LONGEST_SOCKET = 107
# A look at the lock holds it for an instant, so a refusal is asked again before it is believed.
LOCK_TRIES, LOCK_PAUSE = 20, 0.02


class Home:
    """Paths below one instance's folder. Everything in it is closed to other users of the machine."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.run = self.path / "run"
        self.logs = self.path / "logs"
        self._short: list[Path] = []

    def prepare(self) -> None:
        """Create the folder, `run` and `logs`. An existing folder keeps its mode."""
        if not self.path.exists():
            # Root's PostgreSQL is another user, who must be able to pass, not to look.
            self.path.mkdir(parents=True, mode=0o711 if os.geteuid() == 0 else 0o700)
        for folder in (self.run, self.logs):
            folder.mkdir(mode=0o700, exist_ok=True)

    def log(self, name: str) -> Path:
        """The log file of a child."""
        return self.logs / f"{name}.log"

    def secret(self, name: str, prefix: str = "") -> str:
        """A random secret kept in `run/NAME`, mode 0600, made at first use."""
        path = self.run / name
        if not path.exists():
            write_private(path, prefix + secrets.token_urlsafe(32))
        return path.read_text().strip()

    def socket_folder(self, part: str, longest_name: str, owner: tuple[int, int]) -> Path:
        """A folder of mode 0700 for `part`'s sockets: below the part's own, or a short one where that cannot serve.

        It cannot when it is too long, and when a client would take it for a list of hosts or for host and port.
        """
        below = self.path / part / "socket"
        if len(os.fsencode(below / longest_name)) <= LONGEST_SOCKET and not set(",:") & set(str(below)):
            below.mkdir(mode=0o700, exist_ok=True)
            own(below, owner)
            return below
        return self._short_folder(part, longest_name, owner)

    def _short_folder(self, part: str, longest_name: str, owner: tuple[int, int]) -> Path:
        """The short folder remembered in `run/PART-socket.path`, if it is still ours alone, else a new one."""
        note = self.run / f"{part}-socket.path"
        folder = Path(note.read_text()) if note.exists() else None
        if folder is None or not _is_private(folder, owner[0]):
            base = tempfile.gettempdir()
            if len(os.fsencode(Path(base, "imagegen-12345678", longest_name))) > LONGEST_SOCKET:
                base = "/tmp"
            folder = Path(tempfile.mkdtemp(prefix="imagegen-", dir=base))
            own(folder, owner)
            write_private(note, str(folder))
        self._short.append(folder)
        return folder

    def remove_short_folders(self) -> None:
        """Remove what `socket_folder` made outside the home; call when the parts have stopped."""
        while self._short:
            shutil.rmtree(self._short.pop(), ignore_errors=True)


def own(path: Path, owner: tuple[int, int]) -> None:
    """Give `path` to `owner` (uid, gid) unless it is theirs."""
    if path.stat().st_uid != owner[0]:
        os.chown(path, *owner)


def write_private(path: Path, text: str) -> None:
    """Replace a file of mode 0600 in one step."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    fresh.replace(path)


def _is_private(folder: Path, uid: int) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == uid and stat.S_IMODE(found.st_mode) == 0o700


class HomeLock:
    """The lock that one `up` holds on its home; the kernel frees it however the holder ends."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._path = home.run / "lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take it, or raise `PartUnavailable` naming the process that holds it."""
        self._home.prepare()
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        for _ in range(LOCK_TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(LOCK_PAUSE)
        else:
            os.close(descriptor)
            raise PartUnavailable(
                f"imagegen already runs in {self._home.path} (pid {lock_holder(self._home.path)}). "
                "Stop it, or choose another IMAGEGEN_HOME.",
                {"part": "home", "pid": lock_holder(self._home.path)},
            )
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        self._descriptor = descriptor

    def release(self) -> None:
        """Give it back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def lock_holder(home: Path) -> int:
    """The process that holds the home's lock, or held it last; 0 where none ever did."""
    text = (home / "run" / "lock").read_text().strip()
    return int(text) if text.isdigit() else 0


def is_locked(home: Path) -> bool:
    """Whether an `up` runs in this home at the moment."""
    try:
        descriptor = os.open(home / "run" / "lock", os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
