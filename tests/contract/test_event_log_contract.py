"""One suite for the port `EventLog`, in memory and on PostgreSQL."""

from __future__ import annotations

from uuid import UUID, uuid4

from imagegen.ports_events import Line, Place, Scope
from imagegen.states import MoveName
from tests.jobs_kit import Store, admit, at, claimed, completed, moved, new_batch, step

pytest_plugins = ["tests.stores"]
NOTHING, EVERYTHING = Place(0), Place(10**9)


def all_of(store: Store, scope: Scope, begin: Place = NOTHING, end: Place = EVERYTHING, limit: int = 100) -> list[Line]:
    return list(store.event_log.between(scope, begin, end, limit=limit))


def told(lines: list[Line]) -> list[tuple[UUID, str]]:
    return [(line.job_id, line.move) for line in lines]


def test_the_log_is_every_history_in_one_order(store: Store) -> None:
    """Each move of each job once, in the order of its number, with whose it is, its run, status and time."""
    one, other = admit(store), admit(store, owner="bob")
    claimed(store, other, seconds=1)
    claimed(store, one, seconds=2)
    news = store.event_log.after(0, [], limit=100)
    seen = [line for line in news.lines if line.job_id in {one.id, other.id}]
    assert told(seen) == [(one.id, "admit"), (other.id, "admit"), (other.id, "claim"), (one.id, "claim")]
    assert [line.id for line in news.lines] == sorted(line.id for line in news.lines)
    last = seen[-1]
    assert (last.owner, last.batch_id, last.run, last.status, last.stage) == ("ada", None, 1, "processing", "generate")
    assert last.at == at(2)


def test_what_is_new_comes_page_by_page(store: Store) -> None:
    """Behind a number, no more than asked for; asked again behind the last one, the rest; then nothing."""
    jobs = [admit(store).id for _ in range(5)]
    begin = all_of(store, Scope())[0].id - 1
    first = store.event_log.after(begin, [], limit=3).lines
    rest = store.event_log.after(first[-1].id, [], limit=3).lines
    assert [line.job_id for line in [*first, *rest]] == jobs
    assert list(store.event_log.after(rest[-1].id, [], limit=3).lines) == []


def test_a_missing_number_is_looked_for_by_itself(store: Store) -> None:
    """Numbers that are asked for come before what is new, if they can be seen; ones that nobody has are no fault."""
    for _ in range(3):
        admit(store)
    numbers = [line.id for line in all_of(store, Scope())]
    news = store.event_log.after(numbers[2], [numbers[0], 10**12], limit=10)
    assert [line.id for line in news.lines] == [numbers[0]]
    news = store.event_log.after(numbers[1], [numbers[0]], limit=10)
    assert [line.id for line in news.lines] == [numbers[0], numbers[2]]


def test_the_log_has_an_end(store: Store) -> None:
    """Its newest number, nothing missing that can be seen; no transaction of ours is left that could add below it."""
    for _ in range(3):
        admit(store)
    newest, numbers = store.event_log.newest(), [line.id for line in all_of(store, Scope())]
    assert newest.last == numbers[-1]
    assert newest.missing.isdisjoint(numbers)
    assert newest.horizon.ended <= newest.horizon.begun
    assert store.event_log.after(newest.last, [], limit=10).horizon.ended >= newest.horizon.ended


def test_an_empty_log_has_an_end_too(store: Store) -> None:
    """Nothing written: the end is at its beginning, and nothing is missing."""
    newest = store.event_log.newest()
    assert (newest.last, newest.missing) == (0, frozenset())
    assert list(store.event_log.after(0, [1, 2], limit=10).lines) == []


def test_a_scope_holds_its_own(store: Store) -> None:
    """One job's lines, one batch's, one owner's, everybody's; nothing of anybody else."""
    batch, members = new_batch(2)
    store.jobs.admit(members, batch, worker="w1")
    mine, bobs = admit(store), admit(store, owner="bob")
    claimed(store, members[1])
    assert {line.job_id for line in all_of(store, Scope())} == {mine.id, bobs.id, *(one.id for one in members)}
    assert told(all_of(store, Scope(job_id=members[1].id))) == [(members[1].id, "admit"), (members[1].id, "claim")]
    assert {line.job_id for line in all_of(store, Scope(batch_id=batch.id))} == {one.id for one in members}
    assert told(all_of(store, Scope(owner="bob"))) == [(bobs.id, "admit")]
    assert all_of(store, Scope(owner="carol")) == all_of(store, Scope(job_id=uuid4())) == []
    assert all_of(store, Scope(job_id=mine.id, owner="bob")) == []


def test_from_one_place_to_another(store: Store) -> None:
    """What the end has passed and the beginning has not, open numbers of either counted, first things first."""
    for _ in range(6):
        admit(store)
    n = [line.id for line in all_of(store, Scope())]

    def numbers(begin: Place, end: Place, limit: int = 100) -> list[int]:
        return [n.index(line.id) for line in all_of(store, Scope(), begin, end, limit)]

    assert numbers(Place(n[1]), Place(n[4])) == [2, 3, 4]
    assert numbers(Place(n[3], frozenset({n[0], n[2]})), Place(n[4])) == [0, 2, 4]
    assert numbers(Place(n[0]), Place(n[4], frozenset({n[2]}))) == [1, 3, 4]
    assert numbers(Place(n[2], frozenset({n[1]})), Place(n[3], frozenset({n[1]}))) == [3]
    assert numbers(Place(0), EVERYTHING, 2) == [0, 1]
    assert numbers(Place(n[4]), Place(n[4])) == numbers(Place(n[5]), Place(n[2])) == []


def test_jobs_and_batches_are_read_together(store: Store) -> None:
    """Those that exist, as they stand, batches with their jobs in input order; the others are gone."""
    batch, members = new_batch(2)
    store.jobs.admit(members, batch, worker="w1")
    done, nobody = completed(store, admit(store)), uuid4()
    assert {job.id: job.status for job in store.event_log.jobs([done.id, nobody])} == {done.id: done.status}
    ((found, jobs),) = store.event_log.batches([nobody, batch.id])
    assert (found.id, [job.id for job in jobs]) == (batch.id, [one.id for one in members])
    for member in members:
        moved(store, step(member, MoveName.CANCEL))
    store.jobs.close_batch(batch.id, at=at(1))
    ((found, _),) = store.event_log.batches([batch.id])
    assert found.status == "cancelled"
    assert store.event_log.gone([done.id, batch.id, nobody, members[0].id]) == {nobody}
    assert store.event_log.gone([]) == frozenset()
    assert list(store.event_log.jobs([])) == []
    assert list(store.event_log.batches([])) == []
