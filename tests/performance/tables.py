"""The benchmark's tables, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from tests.performance.figures import Figures

ROWS = (
    ("jobs per second", "jobs_per_second", "{:.1f}"),
    ("CPU seconds per 1,000 jobs", "cpu_per_1000", "{:.2f}"),
    ("  of these the pictures themselves", "cpu_of_pictures", "{:.2f}"),
    ("  without the pictures", "cpu_without_pictures", "{:.2f}"),
    ("lag from ready to published, p50 (s)", "lag_p50", "{:.2f}"),
    ("  p95", "lag_p95", "{:.2f}"),
    ("  p99", "lag_p99", "{:.2f}"),
    ("time from request to published, p50 (s)", "time_p50", "{:.2f}"),
    ("  p95", "time_p95", "{:.2f}"),
    ("  p99", "time_p99", "{:.2f}"),
    ("broker messages per job, the request's included", "messages_per_job", "{:.2f}"),
    ("monitoring events per job", "events_per_job", "{:.2f}"),
    ("Redis commands per job", "redis_commands_per_job", "{:.1f}"),
    ("polls per job", "polls_per_job", "{:.2f}"),
    ("calls to the provider per job", "http_calls_per_job", "{:.2f}"),
    ("SQL statements per job: claims and moves", "job_statements", "{:.2f}"),
    ("  polls", "poll_statements", "{:.2f}"),
    ("  sweep", "sweep_statements", "{:.2f}"),
    ("share of repeated requests answered by the cache", "cache_hits", "{:.2f}"),
    ("memory the workers gained during the run (MB)", "grown_mb", "{:.0f}"),
)
PICTURE_COLUMNS = ("original", "to", "verify", "publish", "Pillow", "bytes", "Pillow bytes")


def line(console: Console, one: Figures, turn: int, turns: int) -> None:
    """One finished run."""
    console.print(
        f"latency {one.latency}, {one.side} ({turn} of {turns}): {one.jobs_per_second:.1f} jobs/s, "
        f"{one.cpu_per_1000:.2f} CPU-s per 1,000 jobs, lag p95 {one.lag_p95:.2f} s",
        highlight=False,
    )


def comparison(sides: Sequence[Figures], latency: str) -> Table:
    """Both sides and their ratio; then where the CPU went."""
    table = Table(title=f"provider latency {latency}", title_justify="left")
    table.add_column("")
    for side in sides:
        table.add_column(side.side, justify="right")
    table.add_column("ratio", justify="right")
    for label, name, form in ROWS:
        _add(table, label, [getattr(side, name) for side in sides], form)
    table.add_section()
    parts = dict.fromkeys(part for side in sides for part in side.cpu_by_part)
    for part in parts:
        _add(table, f"CPU-s per 1,000: {part}", [side.cpu_by_part.get(part) for side in sides], "{:.2f}")
    return table


def pictures(rows: Sequence[tuple[object, ...]]) -> Table:
    """The CPU of one picture, milliseconds."""
    table = Table(title="one picture, 2752x1536 to 1920x1080 with thumbnail, CPU ms", title_justify="left")
    for column in PICTURE_COLUMNS:
        table.add_column(column, justify="left" if column in {"original", "to"} else "right")
    for row in rows:
        table.add_row(*(f"{cell:.0f}" if isinstance(cell, float) else str(cell) for cell in row))
    return table


def _add(table: Table, label: str, values: Sequence[float | None], form: str) -> None:
    cells = ["-" if value is None else form.format(value) for value in values]
    first, last = values[0], values[-1]
    ratio = f"{first / last:.2f}" if len(values) == 2 and first is not None and last else ""
    table.add_row(label, *cells, ratio)
