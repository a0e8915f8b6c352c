"""Chains that park: which messages follow a link, and what a resumed job goes on with. No message is sent here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from celery import Celery

from imagegen import policies
from imagegen.jobs import Job
from imagegen.outcomes import Advance, Finish, Lost, Outcome, Park
from imagegen.states import Stage, Status
from imagegen.testing.memory import ManualClock
from tasks.canvas import LINKS, CeleryHints, abandon, continuation, follow, image_chain, name_of, remaining, urgency
from tests.jobs_kit import new_job

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
CHORD = {"task": "imagegen.finish_batch"}


@pytest.fixture(scope="module")
def app() -> Celery:
    """An application that nobody connects."""
    return Celery("test", broker="memory://", backend=None, set_as_current=False)


def hints(app: Celery) -> CeleryHints:
    return CeleryHints(app, ManualClock(AT))


def links(*stages: Stage) -> list[dict[str, Any]]:
    """The rest of a chain as a message carries it: the next link last."""
    return [{"task": name_of(stage), "options": {}} for stage in reversed(stages)]


def task(chain: list[dict[str, Any]] | None, chord: dict[str, Any] | None = None) -> Any:
    """A running task's `self`."""
    return SimpleNamespace(request=SimpleNamespace(chain=chain, chord=chord))


def job_at(stage: Stage, status: Status = Status.UPLOADING, **fields: Any) -> Job:
    return new_job(id=UUID(int=7), stage=stage, status=status, **fields)


@pytest.mark.parametrize("done", range(len(LINKS) + 1))
def test_links_that_are_done_are_popped(done: int) -> None:
    """What remains begins with the wanted stage; nothing where the chain is past it."""
    rest = links(*LINKS[done:])
    kept = remaining(rest, Stage.DOWNLOAD)
    assert [link["task"] for link in kept] == (
        ["imagegen.upload", "imagegen.download"] if done <= LINKS.index(Stage.DOWNLOAD) else []
    )
    assert rest == links(*LINKS[done:])


def test_the_continuation_is_the_rest_of_the_chain() -> None:
    """As plain JSON; a message without a chain leaves what is stored as it is."""
    chain = links(Stage.POLL, Stage.UPLOAD)
    assert continuation(task(chain).request) == {"chain": chain}
    assert continuation(task([]).request) is None
    assert continuation(task(None, CHORD).request) is None


@pytest.mark.parametrize(
    ("outcome", "chain", "chord"),
    [
        (Advance(job_at(Stage.DOWNLOAD)), links(Stage.DOWNLOAD, Stage.UPLOAD), CHORD),
        (Advance(job_at(Stage.UPLOAD)), links(Stage.UPLOAD), CHORD),
        (Park(AT, "provider"), None, None),
        (Lost(), None, None),
        (Finish(job_at(Stage.GENERATE, Status.FAILED)), None, None),
        (Finish(job_at(Stage.UPLOAD, Status.COMPLETED)), None, CHORD),
    ],
    ids=["advance", "skip", "park", "lost", "failed", "completed"],
)
def test_a_message_goes_on_as_far_as_its_outcome(
    outcome: Outcome, chain: list[dict[str, Any]] | None, chord: dict[str, Any] | None
) -> None:
    """Only who advanced runs the next link; only who completed counts into the chord."""
    running = task(links(Stage.POLL, Stage.DOWNLOAD, Stage.UPLOAD), CHORD)
    assert follow(running, outcome)
    assert (running.request.chain, running.request.chord) == (chain, chord)


def test_what_is_abandoned_has_no_successor() -> None:
    """Neither link nor chord."""
    running = task(links(Stage.UPLOAD), CHORD)
    abandon(running)
    assert (running.request.chain, running.request.chord) == (None, None)


@pytest.mark.parametrize("stage", LINKS)
def test_a_fresh_chain_begins_anywhere(app: Celery, stage: Stage) -> None:
    """Immutable links with ids only: from the stage to the upload, the poll with a list of one."""
    fresh = image_chain(app, UUID(int=7), stage)
    wanted = LINKS[LINKS.index(stage) :]
    tasks = list(fresh.tasks)
    assert [link.task for link in tasks] == [name_of(one) for one in wanted]
    assert all(link.immutable for link in tasks)
    key = str(UUID(int=7))
    assert [link.args for link in tasks] == [([key],) if one is Stage.POLL else (key,) for one in wanted]


def names(resumed: Any) -> list[str]:
    """The tasks that a message runs, in order, without their prefix."""
    rest = [link["task"] for link in reversed(resumed.options.get("chain") or [])]
    return [name.removeprefix("imagegen.") for name in [resumed.task, *rest]]


@pytest.mark.parametrize("claimed", [Stage.GENERATE, Stage.DOWNLOAD])
@pytest.mark.parametrize("stage", list(Stage))
def test_a_resumed_job_keeps_its_place_in_the_batch(app: Celery, stage: Stage, claimed: Stage) -> None:
    """Whichever stage stored the rest of its chain, and wherever the job went back to: the last link has the chord."""
    upload = {**links(Stage.UPLOAD)[0], "options": {"chord": CHORD}}
    behind = {Stage.GENERATE: links(Stage.POLL, Stage.DOWNLOAD), Stage.DOWNLOAD: []}
    resumed = hints(app).resumed(job_at(stage, continuation={"chain": [upload, *behind[claimed]]}))
    first = Stage.GENERATE if stage is Stage.RECONCILE else stage
    assert names(resumed) == [stage.value, *LINKS[LINKS.index(first) + 1 :]]
    last = resumed if stage is Stage.UPLOAD else resumed.options["chain"][0]
    assert last["options"]["chord"] == CHORD


@pytest.mark.parametrize("stored", [None, {}, {"chain": []}])
@pytest.mark.parametrize("stage", list(Stage))
def test_a_job_without_a_continuation_is_rebuilt(app: Celery, stage: Stage, stored: dict[str, Any] | None) -> None:
    """Nothing stored, or lost with Redis: a chain from its stage to the upload, without a chord."""
    resumed = hints(app).resumed(job_at(stage, continuation=stored))
    first = Stage.GENERATE if stage is Stage.RECONCILE else stage
    assert names(resumed) == [stage.value, *LINKS[LINKS.index(first) + 1 :]]
    assert not any(link["options"].get("chord") for link in [resumed, *resumed.options["chain"]])


def test_polls_are_hinted_at_in_chunks(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty ids in one message; every other job gets its own."""
    sent: list[Any] = []
    monkeypatch.setattr(CeleryHints, "_publish", lambda self, message, jobs: sent.append(message))
    polls = [new_job(stage=Stage.POLL, status=Status.GENERATING) for _ in range(policies.POLL_CHUNK * 2 + 1)]
    hints(app).jobs([*polls, job_at(Stage.UPLOAD), job_at(Stage.GENERATE, Status.QUEUED)])
    chunks = [one for one in sent if one.task == "imagegen.poll"]
    assert sorted(len(one.args[0]) for one in chunks) == [1, policies.POLL_CHUNK, policies.POLL_CHUNK]
    assert {key for one in chunks for key in one.args[0]} == {str(job.id) for job in polls}
    assert {one.task for one in sent} == {"imagegen.poll", "imagegen.upload", "imagegen.generate"}
    assert not any(one.options.get("chain") for one in chunks)


@pytest.mark.parametrize(
    ("priority", "minutes", "wanted"),
    [(0, 0, 0), (5, 0, 5), (9, 0.99, 9), (9, 1, 8), (9, 9, 0), (5, 60, 0), (0, 60, 0), (9, -5, 9)],
)
def test_waiting_lifts_a_message(priority: int, minutes: float, wanted: int) -> None:
    """One step a minute, never beyond 0 and 9, whatever the clocks of two hosts differ by."""
    job = new_job(priority=priority, created_at=AT - timedelta(minutes=minutes))
    assert urgency(job, AT) == wanted


def test_a_scheduled_job_waits_from_its_time_on() -> None:
    """The days before the time it asked for are no waiting."""
    job = new_job(priority=9, created_at=AT - timedelta(days=2), scheduled_at=AT - timedelta(minutes=2))
    assert urgency(job, AT) == 7
