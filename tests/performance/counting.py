"""What the machine, Redis and PostgreSQL counted: CPU of process trees, commands, statements.

CPU is `utime + stime` of /proc/PID/stat and the same of reaped children (proc(5), fields 14 to 17), summed over a
tree of processes; a process that ends between two looks is in its parent's reaped time, so nothing is lost.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
PROC = Path("/proc")

_RECORD = re.compile(r"^\d{4}-\d\d-\d\d [\d:.]+ \S+ \[\d+\] (\w+):\s+(.*)")
_ASIDE = re.compile(
    r"(BEGIN|COMMIT|ROLLBACK|SET|SHOW|DISCARD)\b|select pg_catalog\.version|select current_schema", re.I
)
_SWEEP = re.compile(r"SKIP LOCKED|announce_at <=|SET announce_at|NOT \(?EXISTS|DELETE FROM \S*callback_counts", re.I)
_MOVE = re.compile(r"^(?!.*\bpicked AS\b).*\bmoved AS\b", re.S)
"""One job's own step, though it wakes others on the way; the sweep picks what it moves."""
_POLL = re.compile(r"jsonb_to_recordset\([^)]*\) AS seen|waiting_for IS NULL OR|percentile|AS seconds", re.I)


@dataclass(frozen=True)
class Stat:
    """One process: its parent, CPU seconds (reaped children included), resident bytes."""

    parent: int
    cpu: float
    resident: int


def read_stat(line: str) -> Stat:
    """One /proc/PID/stat. The command's name may hold spaces and parentheses, so fields are counted after its end."""
    fields = line.rpartition(")")[2].split()
    return Stat(int(fields[1]), sum(int(field) for field in fields[11:15]) / TICKS, int(fields[21]) * PAGE)


def processes() -> dict[int, Stat]:
    """Every process of this machine that can be seen."""
    found: dict[int, Stat] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            # It may end between the listing and the look.
            with suppress(OSError, IndexError):
                found[int(entry.name)] = read_stat((entry / "stat").read_text())
    return found


def tree(root: int, all_processes: Mapping[int, Stat]) -> list[int]:
    """The process and everything below it."""
    children: dict[int, list[int]] = defaultdict(list)
    for pid, stat in all_processes.items():
        children[stat.parent].append(pid)
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        if pid in all_processes:
            found.append(pid)
            waiting += children[pid]
    return found


def usage(roots: Mapping[str, int]) -> dict[str, tuple[float, int]]:
    """CPU seconds so far and resident bytes of each named tree. Shared pages count once per process."""
    stats = processes()
    found = {}
    for name, root in roots.items():
        members = [stats[pid] for pid in tree(root, stats)]
        found[name] = (sum(one.cpu for one in members), sum(one.resident for one in members))
    return found


def commands(client: Any) -> Counter[str]:
    """Calls per command since Redis started (`INFO commandstats`)."""
    return Counter({name.removeprefix("cmdstat_"): told["calls"] for name, told in client.info("commandstats").items()})


def statements(log: str) -> Iterator[str]:
    """The statements of a PostgreSQL log written with `log_statement = all`, each whole on one line."""
    current: list[str] | None = None
    for line in log.splitlines():
        record = _RECORD.match(line)
        if record is None:
            if current is not None:
                current.append(line.strip())
            continue
        if current is not None:
            yield " ".join(current)
        kind, told = record.groups()
        current = [told.removeprefix("statement:").strip()] if kind == "LOG" and told.startswith("statement:") else None
    if current is not None:
        yield " ".join(current)


def kind_of(statement: str) -> str:
    """`sweep`, `poll`, `job` (claims, moves, admission), or `aside` for what opens connections and transactions."""
    if _ASIDE.match(statement):
        return "aside"
    if _SWEEP.search(statement) and not _MOVE.search(statement):
        return "sweep"
    return "poll" if _POLL.search(statement) else "job"
