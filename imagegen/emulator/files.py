"""Result files at `/files/{name}`, and the ways they come out spoilt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from threading import Lock

from imagegen.emulator.faults import FILE, Faults, Moment, Rule
from imagegen.emulator.ledger import Ledger
from imagegen.emulator.picture.sitting import CONTENT_TYPES, Sitting
from imagegen.emulator.picture.studio import Studio
from imagegen.emulator.wire import DROP, Reply, Request

HTML = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
TEXT = b"This is not the picture you are looking for.\n"


@dataclass
class ResultFile:
    """A picture that can be fetched. `tries` counts downloads; `fresh` tells whether its address still works."""

    provider: str
    sitting: Sitting
    damage: Rule | None = None
    tries: int = 0
    fresh: bool = True


def spoil(damage: Rule | None, studio: Studio, sitting: Sitting) -> tuple[bytes, str]:
    """The file's bytes and content type, after the damage."""
    content_type = CONTENT_TYPES[sitting.format]
    if damage is None:
        return studio.picture(sitting), content_type
    if damage.fault == "html_file":
        return HTML, "text/html; charset=utf-8"
    if damage.fault == "wrong_file":
        return TEXT, content_type
    if damage.fault == "wrong_size":
        size = (int(damage.params["width"]), int(damage.params["height"]))
        return studio.picture(replace(sitting, width=size[0], height=size[1])), content_type
    data = studio.picture(sitting)
    return (data[: len(data) // 2] if damage.fault == "truncated_file" else data), content_type


class Files:
    """All result files by name. Thread-safe."""

    def __init__(self, studio: Studio, ledger: Ledger, faults: Faults) -> None:
        self._studio = studio
        self._ledger = ledger
        self._faults = faults
        self._lock = Lock()
        self._files: dict[str, ResultFile] = {}

    def put(self, name: str, file: ResultFile) -> None:
        """Publishes a file under a name of its own."""
        with self._lock:
            self._files.setdefault(name, file)

    def refused(self, name: str) -> bool:
        """Whether somebody was already turned away from this expired address."""
        with self._lock:
            file = self._files.get(name)
            return file is not None and not file.fresh and file.tries > 0

    def reset(self) -> None:
        """No files."""
        with self._lock:
            self._files.clear()

    def fetch(self, request: Request) -> Reply:
        """`GET /files/{name}`."""
        self._ledger.count("downloads")
        with self._lock:
            file = self._files.get(request.path.removeprefix("/files/"))
            if file is None:
                return _plain(404, b"Not Found\n")
            file.tries += 1
            tries, damage = file.tries, file.damage
        struck = self._faults.first(Moment.ANSWER, file.provider, FILE, request.path, file.sitting.prompt)
        if struck is not None:
            return self._struck(struck, file)
        if not file.fresh:
            return _plain(403, b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>")
        if damage is not None and damage.params.get("downloads") not in (None,) and tries > damage.params["downloads"]:
            damage = None
        if damage is not None and damage.fault == "missing_file":
            return _plain(404, b"Not Found\n")
        return self._send(file, damage)

    def _send(self, file: ResultFile, damage: Rule | None = None, hold: float = 0.0) -> Reply:
        data, content_type = spoil(damage, self._studio, file.sitting)
        return Reply(200, data, content_type, {"Cache-Control": "max-age=600"}, hold=hold)

    def _struck(self, rule: Rule, file: ResultFile) -> Reply:
        if rule.fault in ("lost_answer", "not_charged_drop"):
            return DROP
        if rule.fault == "hang":
            return self._send(file, hold=float(rule.params["seconds"]))
        status = {"rate_limit": 429, "bad_key": 403, "no_credit": 402, "maintenance": 503}.get(rule.fault)
        return _plain(status or int(rule.params["status"]), f"{rule.fault}\n".encode())


def _plain(status: int, body: bytes) -> Reply:
    return Reply(status, body, "text/plain; charset=utf-8")
