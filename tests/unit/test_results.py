"""The three questions that a caller asks of a document."""

from __future__ import annotations

from uuid import UUID

import pytest

from imagegen.contracts import Cost
from imagegen.results import Batch, Job

ID = UUID(int=7)
WHEN = "2026-11-21T09:30:00.000Z"


@pytest.mark.parametrize(
    ("status", "erased_at", "answers"),
    [
        ("generating", None, (False, False)),
        ("completed", None, (True, True)),
        ("completed", WHEN, (True, False)),
        ("failed", None, (True, False)),
        ("cancelled", None, (True, False)),
    ],
)
def test_ok_means_that_there_is_a_picture(status: str, erased_at: str | None, answers: tuple[bool, bool]) -> None:
    """`done` at every end; `ok` only while a picture is there, which an erased job has lost."""
    job = Job(job_id=ID, status=status, erased_at=erased_at)
    assert (job.done, job.ok) == answers


def test_a_batch_is_ok_while_all_its_pictures_are_there() -> None:
    """A completed batch with an erased member is done and not ok."""
    jobs = [Job(job_id=ID, status="completed"), Job(job_id=ID, status="completed", erased_at=WHEN)]
    whole, part = (Batch(batch_id=ID, status="completed", jobs=some, cost=Cost()) for some in (jobs[:1], jobs))
    assert (whole.done, whole.ok, part.done, part.ok) == (True, True, True, False)
