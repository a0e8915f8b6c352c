"""PostgreSQL beside the double under anything at any time (`tests.jobs_machine`): they agree step for step."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sqlalchemy import delete

from imagegen.testing.memory import MemoryJobs
from storage.engine import Database
from storage.jobs import PostgresJobs
from storage.tables import METADATA
from tests.jobs_kit import MemoryStore, PostgresStore, Store
from tests.jobs_machine import run

pytest_plugins = ["tests.stores"]


@pytest.mark.parametrize(
    ("examples", "steps"),
    [pytest.param(20, 50, id="few"), pytest.param(80, 60, id="many", marks=pytest.mark.chaos)],
)
@pytest.mark.timeout(400)
def test_both_stores_agree_after_every_step(database: Database, examples: int, steps: int) -> None:
    """Rows, history, books and answers of both stores are the same, whatever happens in whatever order."""

    def empty() -> Sequence[Store]:
        for table in reversed(METADATA.sorted_tables):
            database.run(delete(table))
        return [MemoryStore(MemoryJobs()), PostgresStore(PostgresJobs(database), database)]

    run(empty, examples, steps)
