"""One suite for what the HTTP door asks of the port `Jobs`, in memory and on PostgreSQL."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from imagegen.errors import InvalidRequest, NotFound
from imagegen.records import BatchFilter
from imagegen.states import MoveName
from tests.jobs_kit import Store, at, claimed, moved, new_batch, step

pytest_plugins = ["tests.stores"]


def admitted(store: Store, size: int = 2, seconds: float = 0, **given: Any) -> UUID:
    """The id of a new batch."""
    batch, jobs = new_batch(size, created_at=at(seconds), **given)
    store.jobs.admit(jobs, batch, worker="w1")
    return batch.id


def listed(store: Store, limit: int = 50, **where: Any) -> list[UUID]:
    found, _ = store.jobs.list_batches(BatchFilter(**where), limit=limit)
    return [batch.id for batch, _ in found]


def test_another_owners_row_is_not_found(store: Store) -> None:
    """A job or batch is there for its owner, and for who names none; for another it is as if it did not exist."""
    batch_id = admitted(store)
    batch, jobs = store.jobs.get_batch(batch_id, owner="ada")
    assert store.jobs.get(jobs[0].id, owner="ada") == store.jobs.get(jobs[0].id) == jobs[0]
    for look, row in ((store.jobs.get, jobs[0].id), (store.jobs.get_batch, batch.id)):
        said = []
        for wanted in (row, uuid4()):
            with pytest.raises(NotFound) as caught:
                look(wanted, owner="bob")
            said.append(str(caught.value).replace(str(wanted), ""))
        assert said[0] == said[1]


def test_batches_are_listed_newest_first_page_by_page(store: Store) -> None:
    """Each with its jobs in input order, once, whatever the size of a page."""
    ids = [admitted(store, seconds=number) for number in range(5)]
    seen: list[UUID] = []
    cursor = None
    while True:
        found, cursor = store.jobs.list_batches(BatchFilter(), limit=2, cursor=cursor)
        assert all([job.batch_index for job in jobs] == [0, 1] for _, jobs in found)
        assert all(store.jobs.get_batch(batch.id) == (batch, jobs) for batch, jobs in found)
        seen += [batch.id for batch, _ in found]
        if cursor is None:
            break
    assert seen == ids[::-1]
    with pytest.raises(InvalidRequest, match="cursor"):
        store.jobs.list_batches(BatchFilter(), cursor="nonsense")


def test_filters_narrow_the_list(store: Store) -> None:
    """By owner, time, and what any member is."""
    first, second = admitted(store), admitted(store, seconds=10, owner="bob")
    assert listed(store, owner="bob") == [second]
    assert listed(store, since=at(5)) == [second]
    assert listed(store, until=at(5)) == [first]
    assert listed(store, project_id="demo", job_type="master_asset") == [second, first]
    assert listed(store, project_id="other") == listed(store, job_type="inpaint") == []


def test_a_batch_is_listed_by_how_it_stands(store: Store) -> None:
    """Queued until a member is claimed, then running, then as it was closed: as the batch itself says."""
    waiting, begun, ended = (admitted(store, seconds=number) for number in range(3))
    claimed(store, store.jobs.get_batch(begun)[1][0])
    for job in store.jobs.get_batch(ended)[1]:
        moved(store, step(job, MoveName.CANCEL))
    store.jobs.close_batch(ended, at=at(5))
    for status, batch_id in (("queued", waiting), ("running", begun), ("cancelled", ended)):
        assert listed(store, status=status) == [batch_id]
        assert store.jobs.get_batch(batch_id)[0].status.value == status
    assert listed(store, status="failed") == []


def test_ended_jobs_are_told_apart(store: Store) -> None:
    """Those of the asked that have ended, and nothing of unknown ids."""
    batch, jobs = new_batch(2)
    store.jobs.admit(jobs, batch, worker="w1")
    moved(store, step(jobs[1], MoveName.CANCEL))
    assert list(store.jobs.ended([jobs[0].id, jobs[1].id, uuid4()])) == [jobs[1].id]
    assert list(store.jobs.ended([])) == []
