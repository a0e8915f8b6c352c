"""SIGTERM under load, as a deploy sends it: what runs is finished, what is held goes back, and nobody pays twice."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest

from imagegen.cli.token import mint_here
from imagegen.cli.up import WORKERS
from imagegen.client import Client
from imagegen.embedded.addresses import answers
from tests.acceptance.stand import LATENCY, WARM, Orders, Stand, ask_to_stop, crashes, ends_from_here, workers_back
from tests.acceptance.system import System, until, words

NAMES = tuple(worker.name for worker in WORKERS)
LONG_CALL = 6.0


def unhurt(orders: Orders) -> None:
    """No call was left without its answer, and no lease ran out: whoever stopped had finished or given back."""
    assert not orders.moves().keys() & {"doubt", "hold", "repeat", "fail"}


def test_workers_under_load_finish_or_give_back(stand: Stand) -> None:
    """SIGTERM to all at once in the middle of forty jobs: all exit with 0 in seconds; forty pictures, forty charges."""
    orders, how = Orders(stand.system, "all at once"), ends_from_here(stand.system)
    orders.send(24)
    until(lambda: orders.at()["completed"] >= 2)
    # However slowly the first came through, these are still to be bought.
    orders.send(16)
    until(lambda: orders.at()["generate"] > 0)
    assert ask_to_stop(stand.system, *NAMES) < 20 + LATENCY
    orders.completed()
    assert [how(name) for name in NAMES] == [WARM] * len(NAMES)
    unhurt(orders)


def test_a_paid_call_is_waited_for(stand: Stand) -> None:
    """Idle workers are gone at once; one inside a paid call ends when the answer is written down, and not before."""
    workers_back(stand.system)
    stand.system.emulator.fault("hang", provider="gemini", times=1, seconds=LONG_CALL)
    orders, how = Orders(stand.system, "a long call"), ends_from_here(stand.system)
    orders.send(1, provider="gemini")
    orders.bought(1)
    idle = ask_to_stop(stand.system, *(name for name in NAMES if name != "generate"))
    paying = ask_to_stop(stand.system, "generate")
    assert idle + paying > LONG_CALL / 2
    assert idle < LONG_CALL - 1
    assert how("generate") == WARM
    orders.completed()
    unhurt(orders)


@pytest.mark.timeout(240)
def test_a_rolling_restart_loses_nothing(stand: Stand) -> None:
    """Every worker and beat, one after another, while sixty jobs run: all complete, each paid once, none in doubt."""
    orders, how = Orders(stand.system, "rolling"), ends_from_here(stand.system)
    workers_back(stand.system)
    before = crashes(stand.system)
    orders.send(20)
    for name in (*NAMES, "beat"):
        orders.send(8)
        orders.bought(orders.count - 24)
        ask_to_stop(stand.system, name)
        if name != "beat":
            workers_back(stand.system, name)
    assert orders.count == 60
    # A child whose program cannot be loaded comes back again and again, and everything stands still meanwhile.
    until(lambda: orders.ended() == orders.count or crashes(stand.system) != before, 60)
    assert crashes(stand.system) == before
    orders.completed()
    assert [how(name) for name in NAMES] == [WARM] * len(NAMES)
    unhurt(orders)


class Shop:
    """Callers of a door that is stopped meanwhile: four order, and the first follows what becomes of its orders."""

    def __init__(self, system: System, about: str) -> None:
        self.system, self.about, self.over = system, about, threading.Event()
        self.ordered = 0
        self.url = system.run.instance.addresses["api"]

    def caller(self, number: int) -> Client:
        token = mint_here(self.system.settings, f"caller-{number}", service=False, ttl=timedelta(hours=1))
        return Client(self.url, token, patience=60)

    def order(self, number: int) -> dict[str, set[UUID]]:
        """Orders until it is over, each key ten times; the jobs that were answered, by key."""
        answered: dict[str, set[UUID]] = {}
        with self.caller(number) as client:
            while not self.over.is_set():
                key = f"{self.about} {number} {len(answered)}"
                asked = {"provider": "gemini", "width": 320, "height": 180, "idempotency_key": key}
                answered[key] = {client.generate(key, **asked).id for _ in range(10) if not self.over.wait(0.02)}
                self.ordered += 1
        return {key: jobs for key, jobs in answered.items() if jobs}

    def follow(self, goodbye: str) -> list[tuple[str, str]]:
        """Job and move of each event, from the beginning of the log to the end of the job of this prompt."""
        seen = []
        with self.caller(0) as client:
            for event in client.events(last="0"):
                seen.append((str(event.job_id), str(event.move)))
                if event.job is not None and event.job.prompt == goodbye:
                    break
        return seen

    def redeploy(self) -> None:
        """SIGTERM to the door, which ends in order and is started again."""
        how = ends_from_here(self.system)
        ask_to_stop(self.system, "api")
        assert how("api") == WARM
        until(lambda: answers(f"{self.url}/health"))


def test_the_door_is_redeployed_under_load(system: System) -> None:
    """Twice stopped while four threads order: every order has its answer, one job a key, one charge a job, exit 0;
    who follows them hears of each move once."""
    about, goodbye = words("orders meanwhile"), words("goodbye")
    shop = Shop(system, about)
    with ThreadPoolExecutor(5) as pool:
        told = pool.submit(shop.follow, goodbye)
        try:
            threads = [pool.submit(shop.order, number) for number in range(4)]
            for stops in range(2):
                until(lambda least=4 * (stops + 1): shop.ordered >= least, 60)
                shop.redeploy()
            until(lambda: shop.ordered >= 12, 60)
            shop.over.set()
            answered = {key: jobs for thread in threads for key, jobs in thread.result(60).items()}
            asked = "SELECT id, prompt, owner, status FROM image_generation_jobs WHERE prompt LIKE %s"
            until(lambda: {row[3] for row in system.sql(asked, f"{about}%")} == {"completed"}, 60)
        finally:
            shop.over.set()
            with shop.caller(0) as client:
                client.generate(goodbye, provider="gemini", width=320, height=180)
        seen = told.result(60)
    rows = system.sql(asked, f"{about}%")
    assert {prompt: {UUID(job)} for job, prompt, _, _ in rows} == answered
    assert len(rows) == len(answered) > 8
    assert sorted(charge["prompt"] for charge in system.charges(about)) == sorted(answered)
    followed = {job for job, _, owner, _ in rows if owner == "caller-0"}
    happened = [(job, move) for job in followed for move in system.moves(job)]
    assert sorted(one for one in seen if one[0] in followed) == sorted(happened)
