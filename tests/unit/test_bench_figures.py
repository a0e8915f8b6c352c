"""The benchmark's arithmetic."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from tests.performance.counting import TICKS, Stat, kind_of, read_stat, statements, tree
from tests.performance.figures import Counted, Figures, figures, median_of, quantile

LOG = """\
2026-01-02 03:04:05.678 UTC [12] LOG:  database system is ready to accept connections
2026-01-02 03:04:05.700 UTC [13] LOG:  statement: BEGIN
2026-01-02 03:04:05.701 UTC [13] LOG:  statement: WITH moved AS
\t(UPDATE image_generation_jobs SET stage='poll')
\t SELECT * FROM moved
2026-01-02 03:04:05.702 UTC [13] ERROR:  deadlock detected
2026-01-02 03:04:05.702 UTC [13] STATEMENT:  UPDATE imagegen_cache
2026-01-02 03:04:05.703 UTC [14] LOG:  statement: SELECT id FROM image_generation_jobs FOR UPDATE SKIP LOCKED
"""


def run(jobs: int = 4, seconds: float = 2.0, statements: Mapping[str, int] | None = None) -> Counted:
    """A run with round figures."""
    return Counted(
        side="imagegen",
        latency="0",
        jobs=jobs,
        seconds=seconds,
        cpu={"generate": 0.01 * jobs, "postgres": 0.02 * jobs},
        grown={"generate": 1_000_000, "postgres": 500_000},
        lags=[0.1, 0.2, 0.3],
        times=[1.0, 2.0, 3.0],
        messages=16,
        events=8,
        commands=40,
        polls=4,
        requests=12,
        pictures=jobs,
        picture_cpu=0.008,
        statements=statements or {},
    )


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1.0), (0.5, 2.5), (0.95, 3.85), (1.0, 4.0)], ids=["least", "middle", "p95", "most"]
)
def test_quantiles_lie_between_neighbours_in_proportion(share: float, expected: float) -> None:
    """A quantile is exact on a value and linear between two, whatever their order."""
    assert quantile([4.0, 1.0, 3.0, 2.0], share) == pytest.approx(expected)


def test_no_values_have_no_quantile() -> None:
    """Nothing measured is not a number, and no error."""
    assert math.isnan(quantile([], 0.5))


def test_figures_are_per_job_and_per_thousand() -> None:
    """Counts become figures per job, CPU per 1,000 jobs, in all and by part; memory is the workers' alone."""
    found = figures(run(statements={"job": 32, "poll": 2, "sweep": 6, "aside": 99}))
    assert found.jobs_per_second == 2.0
    assert found.cpu_per_1000 == pytest.approx(30.0)
    assert (found.cpu_of_pictures, found.cpu_without_pictures) == pytest.approx((8.0, 22.0))
    assert found.cpu_by_part == pytest.approx({"generate": 10.0, "postgres": 20.0})
    assert (found.messages_per_job, found.events_per_job, found.polls_per_job) == (4.0, 2.0, 1.0)
    assert (found.job_statements, found.poll_statements, found.sweep_statements) == (8.0, 0.5, 1.5)
    assert found.grown_mb == 1.0


def test_a_side_without_a_database_has_no_statements() -> None:
    """Nothing is counted where nothing can be, instead of a zero that looks measured."""
    assert figures(run()).job_statements is None


def test_the_median_is_taken_figure_by_figure() -> None:
    """One slow run of three moves neither throughput nor CPU, and what is None stays None."""
    runs = [figures(run(seconds=seconds)) for seconds in (1.0, 2.0, 40.0)]
    middle = median_of(runs)
    assert isinstance(middle, Figures)
    assert middle.jobs_per_second == 2.0
    assert middle.cpu_by_part["postgres"] == pytest.approx(20.0)
    assert middle.job_statements is None


def test_cpu_counts_reaped_children() -> None:
    """The CPU of a process is its own user and system time and that of the children it has reaped."""
    fields = ["S", "7", *["0"] * 9, "10", "20", "30", "40", *["0"] * 6, "3"]
    stat = read_stat(f"42 (a (strange) name) {' '.join(fields)}\n")
    assert stat.parent == 7
    assert stat.cpu == pytest.approx(100 / TICKS)


def test_a_tree_holds_grandchildren_and_nobody_else() -> None:
    """What a supervised process started counts for it; a process that has ended is left out."""
    there = {pid: Stat(parent, 0.0, 0) for pid, parent in {1: 0, 10: 1, 11: 10, 12: 11, 20: 1}.items()}
    assert sorted(tree(10, there)) == [10, 11, 12]
    assert tree(99, there) == []


def test_statements_are_whole_and_errors_are_none() -> None:
    """A statement over several lines is one; messages of the server and failed statements' echoes do not count."""
    assert list(statements(LOG)) == [
        "BEGIN",
        "WITH moved AS (UPDATE image_generation_jobs SET stage='poll') SELECT * FROM moved",
        "SELECT id FROM image_generation_jobs FOR UPDATE SKIP LOCKED",
    ]


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("BEGIN", "aside"),
        ("SHOW standard_conforming_strings", "aside"),
        ("SELECT id FROM image_generation_jobs FOR UPDATE SKIP LOCKED", "sweep"),
        ("WITH moved AS (UPDATE image_generation_jobs SET stage='upload') SELECT * FROM moved", "job"),
        ("WITH moved AS (UPDATE …), first AS (SELECT id FROM … FOR UPDATE SKIP LOCKED) SELECT * FROM moved", "job"),
        ("WITH picked AS (SELECT … SKIP LOCKED), moved AS (UPDATE …) SELECT * FROM moved", "sweep"),
    ],
)
def test_statements_are_told_apart(statement: str, kind: str) -> None:
    """Transactions and sessions stand aside, the sweep is counted by itself, the rest belongs to the job."""
    assert kind_of(statement) == kind
