"""The whole examination, and the repair of what is safe to repair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from imagegen.doctor.accounts import provider_findings
from imagegen.doctor.checks import database_findings
from imagegen.doctor.findings import Finding
from imagegen.doctor.objects import GRACE, object_findings
from imagegen.ports import Services
from imagegen.settings import Settings

_ORDER = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True, kw_only=True)
class Repaired:
    """A finding and what its repair did."""

    finding: Finding
    done: str


def examine(services: Services, settings: Settings, *, grace: timedelta = GRACE) -> list[Finding]:
    """Every finding, the worst first. Reads alone; raises `PartUnavailable` where a part cannot be asked."""
    found = [*database_findings(services), *object_findings(services, grace), *provider_findings(settings)]
    return sorted(found, key=lambda one: _ORDER[one.severity])


def clean(findings: Sequence[Finding]) -> bool:
    """Whether the books balance: what is merely to be known does not count."""
    return all(one.severity == "info" for one in findings)


def repair(findings: Sequence[Finding], services: Services) -> Iterator[Repaired]:
    """Does the repairs that are safe, one by one."""
    for one in findings:
        if one.repair is not None:
            yield Repaired(finding=one, done=one.repair(services))
