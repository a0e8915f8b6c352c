"""What must be true when the faults are over: ends, money, objects and processes, from both sides' books."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from imagegen import layout
from imagegen.states import TERMINAL
from storage.blobs import open_blobs
from tests.acceptance.system import System

TAG = re.compile(r"#([0-9a-f]{8})")
CERTAIN = {"settle", "waste"}
NOTHING = Decimal(0)
UNKNOWN = "SUBMISSION_UNKNOWN"


@dataclass
class Account:
    """One job in our books and in the provider's."""

    tag: str
    id: str
    provider: str
    status: str
    code: str | None
    prompt: str
    charges: list[dict[str, Any]] = field(default_factory=list)
    final: dict[str, tuple[str, Decimal]] = field(default_factory=dict)

    @property
    def ended(self) -> str:
        """How it ended, for people."""
        return self.status if self.code is None else f"{self.status} {self.code}"

    @property
    def charged(self) -> Decimal:
        """What the provider took."""
        return sum((Decimal(charge["amount"]) for charge in self.charges), NOTHING)

    def sum(self, *kinds: str) -> Decimal:
        """What our books say, of attempts that stand so."""
        return sum((amount for kind, amount in self.final.values() if kind in kinds), NOTHING)

    def problems(self, most: int) -> Iterable[str]:
        """What is wrong with this job."""
        open_attempts = [attempt for attempt, (kind, _) in self.final.items() if kind == "reserve"]
        certain, uncertain = self.sum(*CERTAIN), self.sum("uncertain")
        paid = sum(kind in CERTAIN for kind, _ in self.final.values())
        doubtful = sum(kind == "uncertain" for kind, _ in self.final.values())
        found = {
            "is not at its end": self.status not in TERMINAL,
            f"was charged {len(self.charges)} times": len(self.charges) > most,
            f"leaves attempts open: {open_attempts}": bool(open_attempts),
            f"has {paid} paid and {doubtful} doubtful lines": not paid <= len(self.charges) <= paid + doubtful,
            f"says {certain} + {uncertain}, the provider {self.charged}": (
                certain != self.charged if not doubtful else not certain <= self.charged <= certain + uncertain
            ),
            "is completed and not paid": self.status == "completed" and paid == 0,
        }
        return [f"{self.ended} {self.provider} {self.prompt!r} {reason}" for reason, true in found.items() if true]


def accounts(system: System) -> dict[str, Account]:
    """Every job that carries a tag in its prompt, by that tag."""
    rows = system.sql("SELECT id::text, provider, status, error_code, prompt FROM image_generation_jobs")
    found = {TAG.search(row[4])[1]: Account(TAG.search(row[4])[1], *row[:4], row[4]) for row in rows}  # type: ignore[index]
    for charge in system.charges():
        tag = TAG.search(charge["prompt"])
        assert tag is not None, charge
        found[tag[1]].charges.append(charge)
    by_id = {account.id: account for account in found.values()}
    lines = system.sql("SELECT job_id::text, attempt_id::text, kind, amount FROM imagegen_ledger ORDER BY id")
    for job_id, attempt_id, kind, amount in lines:
        before = by_id[job_id].final.get(attempt_id)
        if kind != "reserve" or before is None:
            by_id[job_id].final[attempt_id] = (kind, amount)
    return found


def problems(system: System, found: Iterable[Account], most: int = 1) -> list[str]:
    """Everything that is wrong, a sentence each."""
    wrong = [problem for account in found for problem in account.problems(most)]
    wrong += [f"object {key} belongs to nothing" for key in orphan_objects(system)]
    findings = system.cli("doctor", "--json").json["items"]
    wrong += [f"doctor: {one['kind']} {one['id']}: {one['what']}" for one in findings if one["severity"] != "info"]
    closed = system.sql("SELECT id::text, status, run FROM imagegen_batches WHERE completed_at IS NULL OR run <> 1")
    wrong += [f"batch {one[0]} is {one[1]}, run {one[2]}" for one in closed]
    return wrong


def totals(found: Iterable[Account]) -> dict[str, Decimal]:
    """Charged by the provider; settled, wasted and uncertain in our books."""
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for account in found:
        sums["charged"] += account.charged
        for kind in ("settle", "waste", "uncertain"):
            sums[kind] += account.sum(kind)
    return dict(sums)


def orphan_objects(system: System) -> list[str]:
    """Objects in the store that no row refers to."""
    known = {layout.attempt_key(row[0]) for row in system.sql("SELECT id FROM imagegen_attempts")}
    blobs = system.sql(
        "SELECT blob_sha256 FROM imagegen_attempts UNION SELECT blob_sha256 FROM image_generation_jobs "
        "UNION SELECT blob_sha256 FROM imagegen_cache"
    )
    known |= {layout.blob_key(row[0]) for row in blobs if row[0]}
    for (job_id,) in system.sql("SELECT id FROM image_generation_jobs WHERE object_key IS NOT NULL"):
        keys = layout.picture_keys(system.jobs.get(job_id))
        known |= {keys.picture, keys.thumbnail}
    store = open_blobs(system.settings.storage)
    return [info.key for info in store.list("") if info.key not in known]


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Columns as wide as they need to be."""
    lines = [heads, *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(line[at]) for line in lines) for at in range(len(heads))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def counted(words: Iterable[str]) -> str:
    """`completed 41, failed SUBMISSION_UNKNOWN 2`."""
    return ", ".join(f"{word} {number}" for word, number in sorted(Counter(words).items()))
