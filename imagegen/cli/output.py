"""What commands print: one JSON document on standard output, or lines for people; errors and their exit codes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import click

from imagegen.contracts import BatchDocument, JobDocument, JobError
from imagegen.errors import (
    BudgetExceeded,
    IdempotencyConflict,
    ImagegenError,
    InvalidRequest,
    NotFound,
    NotServed,
    PartUnavailable,
    Problem,
    QuotaExhausted,
    StillRunning,
    StorageError,
    rebuild,
)
from imagegen.results import Batch
from imagegen.states import BatchStatus, Status

DONE, FAILED, USAGE, UNREACHABLE, STILL_RUNNING, REFUSED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
"""Exit codes: done; failed, cancelled or partial; wrong usage; a part is away; at `--timeout`; refused; Ctrl-C."""

_CODES: dict[type[ImagegenError], int] = {
    InvalidRequest: USAGE,
    NotFound: USAGE,
    NotServed: USAGE,
    PartUnavailable: UNREACHABLE,
    StorageError: UNREACHABLE,
    StillRunning: STILL_RUNNING,
    BudgetExceeded: REFUSED,
    QuotaExhausted: REFUSED,
    IdempotencyConflict: REFUSED,
}

Document = JobDocument | BatchDocument


def exit_code(error: ImagegenError) -> int:
    """The exit code of a command that ended with this error."""
    return next((code for kind, code in _CODES.items() if isinstance(error, kind)), FAILED)


def emit(document: Any) -> None:
    """The one JSON document of a `--json` command, on standard output."""
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))


def emit_error(error: ImagegenError, as_json: bool) -> None:
    """The error for people on standard error, or for programs as JSON on standard output."""
    problems = error.problems if isinstance(error, InvalidRequest) else []
    if as_json:
        told = {"budget": error.details} if isinstance(error, BudgetExceeded) else {}
        emit({"error": error.document(), "problems": problems, **told})
        return
    if len(problems) == 1:
        click.echo(f"error {error.code}: {_sentence(problems[0])}", err=True)
        return
    headline = f"{len(problems)} problems" if problems else error.message
    click.echo(f"error {error.code}: {headline}", err=True)
    for problem in problems:
        click.echo(f"  {_sentence(problem)}", err=True)


def _sentence(problem: Problem) -> str:
    return f"{problem['field']}: {problem['reason']}. {problem['remedy']}"


def dollars(amount: float | Decimal | None) -> str:
    """`$0.039`; at least two decimals, at most six; a dash while unknown."""
    if amount is None:
        return "-"
    exact = f"{Decimal(str(amount)):.6f}".rstrip("0")
    whole, _, cents = exact.partition(".")
    return f"${whole}.{cents:0<2}"


def jobs_of(document: Document) -> Sequence[JobDocument]:
    """The jobs of a batch in input order, or the one job itself."""
    return document.jobs if isinstance(document, BatchDocument) else [document]


def label(job: JobDocument) -> str:
    """What people call this job: its character, its asset, its place in the batch, or the first of its id."""
    if job.character or job.asset_id:
        return str(job.character or job.asset_id)
    return f"job {job.index + 1}" if job.index is not None else str(job.job_id)[:8]


def outcome_code(document: Document) -> int:
    """The exit code of a command that waited for this document."""
    if document.status in {Status.COMPLETED, BatchStatus.COMPLETED}:
        return DONE
    refused = refusal(document)
    return FAILED if refused is None else exit_code(rebuild(refused.model_dump()))


def refusal(document: Document) -> JobError | None:
    """Why it was never accepted; None for what was. Only the Celery door learns this from a document."""
    error = document.error if isinstance(document, JobDocument | Batch) else None
    return error if document.created_at is None else None


def summary(document: Document) -> str:
    """A line per job, and one for the batch."""
    lines = [_job_line(job) for job in jobs_of(document)]
    error = refusal(document)
    if isinstance(document, BatchDocument) and error is not None:
        lines.append(f"failed batch {document.batch_id}  {error.code}: {error.message}")
    elif isinstance(document, BatchDocument):
        good = sum(job.status == Status.COMPLETED for job in document.jobs)
        cost = dollars(document.cost.actual if document.cost.actual is not None else document.cost.estimated)
        lines.append(f"batch {document.batch_id} {document.status}  {good} of {len(document.jobs)}  {cost}")
    return "\n".join(lines)


def _job_line(job: JobDocument) -> str:
    parts = [f"{job.status} {job.job_id}"]
    if job.error is not None:
        billed = {"yes": "billed", "no": "not billed", "unknown": "perhaps billed"}[job.error.billed]
        stage = f"{job.error.failure_stage}, " if job.error.failure_stage else ""
        return f"{parts[0]}  {job.error.code}: {job.error.message} ({stage}{billed})"
    if job.provider and job.model:
        parts.append(f"{job.provider}/{job.model}")
    if job.width and job.height:
        parts.append(f"{job.width}x{job.height}")
    known = job.cost.actual if job.cost.actual is not None else job.cost.estimated
    parts.append(dollars(known) if job.cost.actual is not None or known is None else f"about {dollars(known)}")
    parts += ["from the cache"] * job.cache_hit + ["emulated"] * job.emulated + ["placeholder"] * job.placeholder
    if job.waiting_for is not None:
        parts.append(f"waits: {job.waiting_for.reason}" + _until(job.waiting_for.until))
    if job.erased_at is not None:
        parts.append(f"erased {_seconds(job.erased_at)} UTC")
    if job.public_url:
        parts.append(job.public_url)
    return "  ".join(parts)


def _until(moment: str | None) -> str:
    return "" if moment is None else f" until {_seconds(moment)} UTC"


def _seconds(moment: str) -> str:
    return moment[:19].replace("T", " ")


def counted(count: int, name: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{count} {name}{'' if count == 1 else 's'}"


def shown(text: str) -> str:
    """What its owner named, for a terminal: characters that would steer it are written out."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def columns(rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> str:
    """Aligned columns, the first row a heading; the columns in `right` are set to the right."""
    rows = [[shown(cell) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
