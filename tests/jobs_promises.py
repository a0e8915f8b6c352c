"""What must hold after every step of the machine (`tests.jobs_machine`), on all of its stores at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from enum import Enum
from itertools import pairwise
from typing import Any
from uuid import UUID

from hypothesis.stateful import RuleBasedStateMachine, invariant

from imagegen.jobs import Job
from imagegen.states import MOVES, MoveName, Stage, Status
from tests.jobs_kit import Store

MAX_PAID = 2


class Promises(RuleBasedStateMachine):
    """Stores that are told the same, the jobs in them, and whose owner allowed another purchase."""

    def __init__(self, stores: Sequence[Store]) -> None:
        super().__init__()
        self.stores = stores
        self.ids: list[UUID] = []
        self.batches: list[UUID] = []
        self.sent: list[Job] = []
        self.bought: set[UUID] = set()

    def every(self, action: Callable[[Store], Any]) -> Any:
        """What all stores answer; they must agree."""
        answers = [action(store) for store in self.stores]
        for other in answers[1:]:
            assert plain(other) == plain(answers[0])
        return answers[0]

    def job(self, job_id: UUID) -> Job:
        """The job as it stands."""
        return self.stores[0].jobs.get(job_id)

    @invariant()
    def stores_agree(self) -> None:
        for job_id in self.ids:
            self.every(lambda store, one=job_id: store.jobs.get(one))
            self.every(lambda store, one=job_id: [told(event) for event in store.jobs.history(one)])
            self.every(lambda store, one=job_id: sorted(store.ledger(one), key=str))
        for sent in self.sent:
            self.every(lambda store, one=sent.attempt_id: store.jobs.attempt(one))
        for batch_id in self.batches:
            self.every(lambda store, one=batch_id: store.jobs.get_batch(one)[0])

    @invariant()
    def history_leads_here(self) -> None:
        for job in map(self.job, self.ids):
            first, *events = self.stores[0].jobs.history(job.id)
            status, stage = Status(first.status), Stage(first.stage or "")
            assert (first.move, status) == ("admit", Status.QUEUED)
            for event in events:
                lawful = MOVES[MoveName(event.move)]
                assert status in lawful.sources
                assert lawful.stages is None or stage in lawful.stages
                assert lawful.target in {None, Status(event.status)}
                assert lawful.target or status == event.status or event.move == "retry"
                status, stage = Status(event.status), Stage(event.stage or "")
            assert (job.status, job.stage) == (status, stage)

    @invariant()
    def rows_are_timed(self) -> None:
        for job in map(self.job, self.ids):
            assert (job.next_run_at is None) == job.terminal
            assert not job.terminal or (job.claim, job.waiting_for, job.woken) == (None, None, False)
            assert job.paid_attempts <= job.max_paid_attempts
            assert job.max_paid_attempts == MAX_PAID or job.id in self.bought

    @invariant()
    def books_are_kept(self) -> None:
        for job in map(self.job, self.ids):
            lines = self.stores[0].entries(job.id)
            told = [(line.attempt_id, line.kind, line.run) for line in lines]
            assert len(told) == len(set(told))
            kinds: dict[Any, list[str]] = {line.attempt_id: [] for line in lines}
            for line in lines:
                kinds[line.attempt_id].append(line.kind)
            assert len(kinds) == job.attempts
            assert all(one != next_one for own in kinds.values() for one, next_one in pairwise(own))
            unsettled = {attempt for attempt, own in kinds.items() if own == ["reserve"]}
            assert unsettled <= {job.attempt_id}
            assert not (job.terminal and unsettled)


def plain(value: Any) -> Any:
    """As two stores can be compared: rows of either, without the numbers that only one of them gives."""
    if hasattr(value, "__dataclass_fields__"):
        return plain({name: getattr(value, name) for name in value.__dataclass_fields__ if name != "continuation"})
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    return value


def told(event: Any) -> dict[str, Any]:
    """An event without its number."""
    return {name: value for name, value in asdict(event).items() if name != "id"}
