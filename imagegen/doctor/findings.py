"""What the doctor tells: one finding per thing that does not agree, with what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from imagegen.ports import Services

Severity = Literal["error", "warning", "info"]
"""`error`: money or a picture is at stake; `warning`: nothing is lost, something is to be done; `info`: to be known."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """`id` names the row or object. `repair`, where it is safe, does what `remedy` says and tells what it did."""

    severity: Severity
    kind: str
    id: str
    what: str
    remedy: str
    repair: Callable[[Services], str] | None = field(default=None, compare=False, repr=False)

    def document(self) -> dict[str, Any]:
        """JSON: `{severity, kind, id, what, remedy, repairable}`."""
        told = {name: getattr(self, name) for name in ("severity", "kind", "id", "what", "remedy")}
        return {**told, "repairable": self.repair is not None}
