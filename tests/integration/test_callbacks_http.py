"""Callbacks on real PostgreSQL, and over HTTP: the real door and provider file, the emulator's own callbacks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import pytest
import requests

from imagegen.api.app import create_app
from imagegen.emulator import Emulator
from imagegen.errors import PartUnavailable
from imagegen.jobs import Job
from imagegen.providers.nanobanana import NanoBanana
from imagegen.records import Attempt
from imagegen.states import Stage, Status
from imagegen.transport import Transport
from tests.jobs_kit import PostgresStore
from tests.listening import Listening
from tests.pipeline_parts import CATALOG, World
from tests.unit import test_callbacks

pytest_plugins = ["tests.stores"]
door = test_callbacks.door
for name, story in vars(test_callbacks).items():
    if name.startswith("test_"):
        globals()[name] = story


@pytest.fixture
def world(postgres: PostgresStore) -> World:
    """The jobs in PostgreSQL, the rest in memory."""
    return World(postgres)


@dataclass
class House:
    """A world with the real provider's file before the emulator, and the HTTP door in front of it."""

    world: World
    emulator: Emulator
    url: str

    def attempt(self, job: Job) -> Attempt:
        """The job's current attempt."""
        found = self.world.store.jobs.attempt(self.world.now(job).attempt_id or uuid4())
        assert found is not None
        return found

    def orders(self) -> list[str]:
        """The ids of the orders that were charged."""
        return [charge["id"] for charge in self.emulator.ledger()["charges"]]

    def post(self, path: str, body: Any = b"", **query: Any) -> requests.Response:
        """One POST to the door."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return requests.post(f"{self.url}/api/webhooks/{path}", params=query, data=data, timeout=10)

    def report(self, attempt: Attempt, task: str, /, **other: Any) -> requests.Response:
        """A callback as the provider sends it."""
        body = {"code": 200, "msg": "success", "data": {"taskId": task, "successFlag": 1}}
        return self.post("nano-banana", body, **{"attempt": attempt.id, "token": attempt.token, **other})

    def lost(self) -> Job:
        """A job whose charged order's answer was lost; its own callback was lost too."""
        self.emulator.fault("lost_answer", times=1)
        self.emulator.fault("lost_callback", times=1)
        job = self.world.job()
        self.world.chain(job)
        assert self.world.now(job).stage is Stage.RECONCILE
        return job


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """One emulator that answers at once."""
    with Emulator(plain=True) as running:
        yield running


@pytest.fixture
def house(world: World, emulator: Emulator) -> Iterator[House]:
    """The door over HTTP; the provider knows its address."""
    with closing(Transport()) as transport, Listening(create_app(lambda: world.services)) as url:
        shop = NanoBanana(
            transport=transport, catalog=CATALOG, clock=world.clock, url=emulator.url, key=lambda: "emulated"
        )
        parts: Any = {"providers": {"nanobanana": shop}, "transport": transport}
        world.services = replace(world.services, callback_base_url=url, **parts)
        yield House(world, emulator, url)


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Waits for a condition, or fails at the deadline."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def test_the_emulator_s_callback_finds_a_lost_answer(house: House) -> None:
    """Charged, the answer lost: the provider's own callback over HTTP brings the job on, one order, one charge."""
    house.emulator.fault("lost_answer", times=1)
    house.emulator.fault("late_callback", seconds=0.3)
    job = house.world.job()
    house.world.chain(job)
    assert house.world.now(job).stage is Stage.RECONCILE
    until(lambda: house.emulator.ledger()["callbacks"] == 1)
    assert house.world.now(job).provider_job_id == house.orders()[0]
    (done,) = house.world.live(job)
    assert (done.status, len(house.orders())) == (Status.COMPLETED, 1)
    assert house.world.moves(job)[3:5] == ["doubt", "accept"]
    assert house.world.kinds(job) == ["reserve", "settle"]


@pytest.mark.parametrize("fault", ["early_callback", "duplicate_callback"])
def test_a_callback_that_is_early_or_doubled_changes_nothing(house: House, fault: str) -> None:
    """Before the order's own answer, or twice: one move each, one order, one charge."""
    house.emulator.fault(fault)
    job = house.world.job()
    house.world.chain(job)
    until(lambda: house.emulator.ledger()["callbacks"] == (2 if fault == "duplicate_callback" else 1))
    (done,) = house.world.live(job)
    assert (done.status, len(house.orders())) == (Status.COMPLETED, 1)
    moves = house.world.moves(job)
    assert (moves.count("accept"), moves.count("complete"), moves.count("doubt")) == (1, 1, 0)
    assert house.world.kinds(job) == ["reserve", "settle"]
    assert house.emulator.ledger()["callbacksFailed"] == 0


def test_many_callbacks_at_once_move_a_job_once(house: House) -> None:
    """The same callback eight times at the same moment: all are thanked, one moves the job."""
    job = house.lost()
    attempt, (task,) = house.attempt(job), house.orders()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: house.report(attempt, task), range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8
    assert answers[0].json() == {"code": 200, "msg": "success"}
    assert house.world.moves(job).count("accept") == 1
    assert house.world.live(job)[0].status is Status.COMPLETED
    assert house.report(attempt, task).status_code == 200


def test_a_forger_learns_nothing(house: House) -> None:
    """Wrong token, unknown attempt, other or unknown provider, an order of nobody: the same 404, nothing moves."""
    job = house.lost()
    attempt, (task,) = house.attempt(job), house.orders()
    known = {"attempt": attempt.id, "token": attempt.token}
    body = {"data": {"taskId": task}}
    answers = [
        house.report(attempt, task, token="0" * 32),
        house.report(attempt, task, attempt=uuid4()),
        house.report(attempt, task, attempt="1; DROP TABLE x"),
        house.report(attempt, "task-of-nobody"),
        house.post("nano-banana", body),
        *(house.post(name, body, **known) for name in ("gemini", "nanobanana", "fal", "replicate", "kie", "acme")),
    ]
    assert {(answer.status_code, answer.content) for answer in answers} == {(404, answers[0].content)}
    assert house.world.now(job).stage is Stage.RECONCILE
    assert house.attempt(job).provider_job_id is None


def test_a_body_that_cannot_be_read_is_told(house: House) -> None:
    """No JSON: 400; more than a megabyte: 413; both leave the job alone."""
    job = house.lost()
    known = {"attempt": house.attempt(job).id, "token": house.attempt(job).token}
    assert house.post("nano-banana", b"taskId=1", **known).status_code == 400
    assert house.post("nano-banana", b" " * (1024 * 1024 + 1), **known).status_code == 413
    assert house.world.now(job).stage is Stage.RECONCILE
    assert test_callbacks.counted(house.world) == {"unreadable": 2}


def test_parts_that_are_away_are_told(house: House) -> None:
    """PostgreSQL, or the provider that is asked for proof: 503 with a time; the next callback does its work."""
    job = house.lost()
    attempt, (task,) = house.attempt(job), house.orders()
    house.world.jobs.strikes["attempt"] = PartUnavailable("away", {"part": "postgresql"})
    away = house.report(attempt, task)
    assert (away.status_code, away.headers["Retry-After"]) == (503, "5")
    house.emulator.fault("server_error", route="poll", times=1)
    assert house.report(attempt, task).status_code == 503
    assert house.world.now(job).stage is Stage.RECONCILE
    assert house.report(attempt, task).status_code == 200
    assert house.world.now(job).stage is Stage.POLL
