"""Callbacks through the whole system: a lost answer is found, and no callback, false or real, buys a second picture."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests

from imagegen.client import Job
from imagegen.embedded.addresses import free_port
from imagegen.emulator import Emulator
from tests.acceptance.system import System, started, until, words

TAKES, ORDERS, MOST = "lognormal:0.8:0.4", 24, 0.15
"""How long the provider draws; how many orders are measured; seconds until we know of a picture, at the median."""


@pytest.fixture(scope="module")
def running_reachable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system whose providers know where to call back."""
    port = free_port()
    told: dict[str, Any] = {"IMAGEGEN_API_PORT": str(port), "IMAGEGEN_CALLBACK_BASE_URL": f"http://127.0.0.1:{port}"}
    home: Path = tmp_path_factory.mktemp("reachable") / "home"
    with Emulator(plain=True, latency=TAKES) as emulator, started(home, emulator, **told) as system:
        yield system


@pytest.fixture
def reachable(running_reachable: System) -> System:
    """That system with empty books and no faults."""
    running_reachable.emulator.reset()
    return running_reachable


def sent(system: System, text: str) -> UUID:
    """An order to nanobanana."""
    return system.client.generate(prompt=words(text), provider="nanobanana").id


def ended(system: System, job_id: UUID) -> Job:
    """The job at its end, which must have cost one charge and left one submission."""
    job = system.client.wait(job_id, timeout=60)
    assert isinstance(job, Job)
    assert len(system.charges(system.jobs.get(job_id).prompt)) == 1
    assert system.moves(job_id).count("submit") == 1
    return job


def completed(system: System, job_id: UUID) -> list[str]:
    """The moves of a job that must have completed once, settled at what was charged."""
    job = ended(system, job_id)
    assert (job.status, job.billed) == ("completed", "yes")
    moves = system.moves(job_id)
    assert moves.count("complete") == 1
    kinds = system.sql("SELECT kind FROM imagegen_ledger WHERE job_id = %s ORDER BY id", str(job_id))
    assert [kind for (kind,) in kinds][-1] == "settle"
    return moves


def doubted(system: System, job_id: UUID) -> None:
    """Waits until the job's answer is known to be lost."""
    until(lambda: "doubt" in system.moves(job_id))


def attempt_of(system: System, job_id: UUID) -> tuple[UUID, str]:
    """Id and token of the job's only attempt."""
    ((attempt, token),) = system.sql("SELECT id, token FROM imagegen_attempts WHERE job_id = %s", str(job_id))
    return UUID(str(attempt)), token


def report(system: System, attempt: UUID, token: str, task: str) -> requests.Response:
    """A callback as the provider sends it."""
    body: dict[str, Any] = {"code": 200, "msg": "success", "data": {"taskId": task, "successFlag": 1}}
    url = f"http://127.0.0.1:{system.settings.api_port}/api/webhooks/nano-banana"
    return requests.post(url, params={"attempt": str(attempt), "token": token}, json=body, timeout=15)


def order_of(system: System, job_id: UUID) -> str:
    """The order's id, which the provider alone knows."""
    prompt = system.jobs.get(job_id).prompt
    ((order,),) = [[charge["id"]] for charge in system.charges(prompt)]
    return str(order)


def test_a_lost_answer_is_found_by_the_callback(reachable: System) -> None:
    """Charged, the answer lost, doubt; the provider's callback brings the job on: one picture, one charge."""
    reachable.emulator.fault("lost_answer", times=1)
    reachable.emulator.fault("late_callback", times=1, seconds=1.0)
    moves = completed(reachable, sent(reachable, "a lost letter"))
    assert moves.index("doubt") < moves.index("accept") < moves.index("deliver")
    assert reachable.emulator.ledger()["callbacksFailed"] == 0


@pytest.mark.parametrize("lost", [False, True], ids=["answered", "lost"])
def test_a_doubled_callback_changes_nothing(reachable: System, lost: bool) -> None:
    """Three callbacks for one order, with the answer there or lost: one picture, one charge, all thanked."""
    reachable.emulator.fault("duplicate_callback", times=1, copies=3)
    if lost:
        reachable.emulator.fault("lost_answer", times=1)
    moves = completed(reachable, sent(reachable, "a double knock"))
    assert moves.count("accept") == 1
    until(lambda: reachable.emulator.ledger()["callbacks"] == 3)
    assert reachable.emulator.ledger()["callbacksFailed"] == 0


@pytest.mark.parametrize("lost", [False, True], ids=["answered", "lost"])
def test_a_callback_before_the_answer(reachable: System, lost: bool) -> None:
    """The provider calls back while our own call still hangs, or breaks after it: one picture, one charge."""
    reachable.emulator.fault("early_callback", times=1)
    late: dict[str, Any] = {} if lost else {"seconds": 2.0}
    reachable.emulator.fault("lost_answer" if lost else "hang", times=1, **late)
    job_id = sent(reachable, "an early bird")
    moves = completed(reachable, job_id)
    assert "doubt" not in moves
    assert [event.cause for event in reachable.jobs.history(job_id) if event.move == "accept"] == ["callback"]


def test_a_forged_callback_does_nothing(reachable: System) -> None:
    """A wrong token, an attempt of nobody, an order of nobody: 404 each, the job waits on; the real one is taken."""
    reachable.emulator.fault("lost_answer", times=1)
    reachable.emulator.fault("lost_callback", times=1)
    job_id = sent(reachable, "a forged key")
    doubted(reachable, job_id)
    attempt, token = attempt_of(reachable, job_id)
    task = order_of(reachable, job_id)
    forged = [
        report(reachable, attempt, "0" * len(token), task),
        report(reachable, uuid4(), token, task),
        report(reachable, attempt, token, "task-of-nobody"),
    ]
    assert {(answer.status_code, answer.content) for answer in forged} == {(404, forged[0].content)}
    assert reachable.jobs.get(job_id).stage.value == "reconcile"
    assert report(reachable, attempt, token, task).status_code == 200
    completed(reachable, job_id)
    assert report(reachable, attempt, token, task).status_code == 200


def counted(system: System) -> dict[str, int]:
    """What nanobanana's callbacks came to, as `imagegen providers` tells it."""
    told = system.cli("providers", "--json").json["items"]
    (counts,) = [one["callbacks"]["24h"] for one in told if one["provider"] == "nanobanana"]
    return dict(counts)


def test_a_ready_picture_is_known_at_once(reachable: System, capsys: pytest.CaptureFixture[str]) -> None:
    """From the moment that the provider has drawn until we know where the picture is: under 150 ms at the median."""
    jobs = []
    for _ in range(ORDERS):
        jobs.append(sent(reachable, "a quick fox"))
        time.sleep(0.1)
    for job_id in jobs:
        ended(reachable, job_id)
    ready = {charge["id"]: datetime.fromisoformat(charge["readyAt"]) for charge in reachable.charges("a quick fox")}
    rows = reachable.sql(
        "SELECT provider_job_id, ready_at FROM imagegen_attempts WHERE job_id = ANY(%s::uuid[])",
        [str(job_id) for job_id in jobs],
    )
    lags = sorted((known - ready[order]).total_seconds() for order, known in rows)
    with capsys.disabled():
        print(f"\n{ORDERS} orders: known {median(lags) * 1000:.0f} ms after the provider has drawn at the median")
        print(f"lags in ms: {[round(lag * 1000) for lag in lags]}; callbacks: {counted(reachable)}")
    assert len(lags) == ORDERS
    assert median(lags) < MOST


def test_lost_callbacks_are_found_by_asking_and_counted(reachable: System) -> None:
    """No callback comes: each picture is found by a poll, and each missing callback is counted once."""
    before = counted(reachable).get("missed", 0)
    reachable.emulator.fault("lost_callback", times=3)
    jobs = [sent(reachable, "a lost call") for _ in range(3)]
    for job_id in jobs:
        completed(reachable, job_id)
    told = [str(job_id) for job_id in jobs]
    # Time passes: it is not waited for.
    reachable.sql(
        "UPDATE imagegen_attempts SET ready_at = ready_at - interval '1 minute' WHERE job_id = ANY(%s::uuid[])", told
    )
    missed = "SELECT count(*) FROM imagegen_attempts WHERE job_id = ANY(%s::uuid[]) AND callback = 'missed'"
    until(lambda: reachable.sql(missed, told) == [(3,)])
    assert counted(reachable)["missed"] == before + 3


def test_a_late_callback_brings_an_ended_job_its_picture(system: System) -> None:
    """After SUBMISSION_UNKNOWN the provider reports: the picture that was paid is kept, and the job goes on with it."""
    system.emulator.fault("lost_answer", times=1)
    job_id = sent(system, "a late train")
    job = ended(system, job_id)
    assert job.error is not None
    assert (job.status, job.error.code, job.billed) == ("failed", "SUBMISSION_UNKNOWN", "unknown")
    attempt, token = attempt_of(system, job_id)
    assert report(system, attempt, token, order_of(system, job_id)).status_code == 200
    # The document of the first end holds until the second is announced.
    until(lambda: ended(system, job_id).status == "completed")
    assert "prove" in completed(system, job_id)
    assert system.jobs.get(job_id).cost_uncertain is None
