"""The emulator as a process of its own."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Collection
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from imagegen.emulator.emulator import Emulator
from imagegen.emulator.world import FUNDS, read_rules
from imagegen.errors import InvalidRequest


def serve(
    port: int = 0,
    latency: str = "0",
    faults: Path | None = None,
    *,
    plain: bool = False,
    key: str | None = None,
    host: str = "127.0.0.1",
    seed: int = 0,
    funds: Decimal = FUNDS,
    allow_hosts: Collection[str] = (),
    limits: str = "",
    say: Callable[[str], None] = print,
) -> None:
    """Runs until SIGINT or SIGTERM. Says `emulator ADDRESS` and then `ready`; call it from the main thread.

    Raises InvalidRequest for a bad latency, limit or fault script, PartUnavailable for a busy port.
    """
    rules = read_script(faults) if faults else []
    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    emulator = Emulator(
        port, latency, rules, plain, key,
        host=host, seed=seed, funds=funds, allow_hosts=allow_hosts, limits=limits,
    )  # fmt: skip
    try:
        with emulator:
            say(f"emulator {emulator.url}")
            say("ready")
            stop.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def read_script(path: Path) -> list[Any]:
    """The rules of a JSON or YAML file."""
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidRequest.of("faults", f"{path} cannot be read: {error}", "Give a JSON or YAML file.") from error
    return list(read_rules(document if document is not None else []))
