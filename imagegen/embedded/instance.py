"""A running `up`: how its home tells others where its parts are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from imagegen.embedded.home import Home, is_locked, lock_holder, write_private

FILE = "instance.json"


@dataclass(frozen=True)
class Instance:
    """Addresses by name (`postgres redis storage provider api flower`) and the settings that lead to them.

    `env` holds `IMAGEGEN_*`, provider and `AWS_*` variables: with it in the environment any process joins.
    """

    home: str
    pid: int
    addresses: Mapping[str, str]
    env: Mapping[str, str]

    @property
    def pids(self) -> dict[str, int]:
        """Process numbers of the children as they are at the moment, by name."""
        record = json.loads((Path(self.home) / "run" / "children.json").read_text())
        return {name: entry["pid"] for name, entry in record.items()}


def find_instance(home: Path) -> Instance | None:
    """The `up` that runs in this home and is ready; None where none is. `PermissionError` for another user's home."""
    if not is_locked(home):
        return None
    try:
        told = json.loads((home / "run" / FILE).read_text())
    except FileNotFoundError:
        return None
    instance = Instance(**told)
    # A killed `up` leaves its file; the next one's is not there before it is ready.
    return instance if instance.pid == lock_holder(home) else None


def publish(home: Home, instance: Instance) -> None:
    """Let others find this instance. The file holds secrets: mode 0600."""
    write_private(home.run / FILE, json.dumps(asdict(instance), indent=1))


def withdraw(home: Home) -> None:
    """Be found no more."""
    (home.run / FILE).unlink(missing_ok=True)
