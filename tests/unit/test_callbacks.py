"""Providers' callbacks: lost answers found, jobs woken, ended ones collected; forged and false ones do no harm."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from imagegen import callbacks
from imagegen.callbacks import Callback, Verdict
from imagegen.errors import GenerationFailed, PartUnavailable, RateLimited, SubmissionUnknown, Temporary
from imagegen.jobs import Job
from imagegen.policies import CALLBACK_PATIENCE
from imagegen.providers.base import UNKNOWN_ORDER, Accepted, Failed, Rejected, Running, Unknown
from imagegen.providers.inbound.base import Proof, Refusal
from imagegen.records import Attempt
from imagegen.settings_values import PROVIDERS
from imagegen.states import MoveName, Stage, Status
from tests.jobs_kit import GRACE, facts, step, submitted
from tests.pipeline_doubles import PICTURE, Weather
from tests.pipeline_parts import World

pytest_plugins = ["tests.worlds"]
LOST = Unknown(error=SubmissionUnknown("reset"))
WINDOW = 45.0


@pytest.fixture
def door(world: World) -> World:
    """A world that providers can call back."""
    world.services = replace(world.services, callback_base_url="https://me.example")
    world.shop.reconcile_window = WINDOW
    return world


def attempt_of(world: World, job: Job) -> Attempt:
    """The job's current attempt."""
    found = world.store.jobs.attempt(world.now(job).attempt_id or uuid4())
    assert found is not None
    return found


def call(world: World, attempt: Attempt, task: Any = "t1", **other: Any) -> Verdict:
    """A callback about this attempt; `other` says what is not as it should be."""
    told: dict[str, Any] = {"provider": attempt.provider, "attempt_id": attempt.id, "token": attempt.token}
    body = json.dumps({"task": task, "again": len(world.called)}).encode()
    told = {**told, "body": body, **other}
    world.called.append(told["body"])
    return callbacks.take(Callback(**told), world.services)


def counted(world: World) -> dict[str, int]:
    """What nanobanana's callbacks came to so far."""
    tallies = world.store.callbacks.tallies(at=world.clock.now())
    return {one.outcome: one.week for one in tallies if one.provider == "nanobanana"}


def lost(world: World, **fields: Any) -> Job:
    """A job whose paid call's answer was lost."""
    world.shop.submissions = [LOST]
    job = world.job(**fields)
    world.chain(job)
    return job


def test_a_lost_answer_is_found(door: World) -> None:
    """Doubt, then the callback: the order is confirmed with our key, the job goes on, one purchase, one charge."""
    job = lost(door)
    assert door.now(job).stage is Stage.RECONCILE
    door.heard.hints.clear()
    assert call(door, attempt_of(door, job)) is Verdict.ACCEPTED
    moved = door.now(job)
    assert (moved.stage, moved.provider_job_id, moved.next_run_at) == (Stage.POLL, "t1", door.clock.now())
    assert (door.heard.hints, door.shop.polls) == ([job.id], 1)
    (done,) = door.live(job)
    assert done.status is Status.COMPLETED
    assert door.moves(job)[:5] == ["admit", "claim", "submit", "doubt", "accept"]
    assert (door.shop.calls, door.kinds(job)) == (1, ["reserve", "settle"])
    door.closes()


@pytest.mark.parametrize("answer", [Accepted(provider_job_id="t1"), LOST], ids=["answered", "lost"])
def test_a_callback_may_come_before_the_answer(door: World, answer: Any) -> None:
    """Our call is still under way: whichever is first moves the job, the other changes nothing."""
    door.shop.submissions = [answer]
    job = door.job()
    verdicts: list[Verdict] = []
    door.shop.meanwhile = lambda: verdicts.append(call(door, attempt_of(door, job)))
    door.chain(job)
    (done,) = door.live(job)
    assert verdicts == [Verdict.ACCEPTED]
    assert (done.status, door.shop.calls) == (Status.COMPLETED, 1)
    assert (door.moves(job).count("accept"), door.moves(job).count("doubt")) == (1, 0)
    door.closes()


def test_a_waiting_job_is_woken(door: World) -> None:
    """A job that rests until its next poll is due now; a doubled callback only says so again."""
    door.shop.progresses = [Running()]
    job = door.job()
    door.chain(job)
    rests = door.now(job)
    assert rests.next_run_at is not None
    assert rests.next_run_at > door.clock.now()
    door.heard.hints.clear()
    asked = door.shop.polls
    assert [call(door, attempt_of(door, job), rests.provider_job_id) for _ in range(2)] == [Verdict.WOKEN] * 2
    assert door.now(job).next_run_at == door.clock.now()
    assert (set(door.heard.hints), door.shop.polls) == ({job.id}, asked)
    (done,) = door.live(job)
    assert (done.status, door.moves(job).count("complete")) == (Status.COMPLETED, 1)
    assert call(door, attempt_of(door, job), rests.provider_job_id) is Verdict.LATE
    assert door.now(job) == done
    door.closes()


@pytest.mark.parametrize(
    ("forged", "verdict"),
    [
        ({"token": ""}, Verdict.FORGED),
        ({"token": "0" * 32}, Verdict.FORGED),
        ({"token": "ключ"}, Verdict.FORGED),
        ({"attempt_id": uuid4()}, Verdict.UNKNOWN),
        ({"attempt_id": uuid4(), "token": "0" * 32}, Verdict.UNKNOWN),
        ({"attempt_id": None}, Verdict.UNKNOWN),
        ({"attempt_id": None, "proof": Proof()}, Verdict.UNKNOWN),
        ({"provider": "gemini"}, Verdict.FORGED),
        ({"proof": Refusal.UNSIGNED}, Verdict.UNSIGNED),
        ({"proof": Refusal.STALE}, Verdict.STALE),
        ({"proof": Refusal.FORGED}, Verdict.FORGED),
        ({"token": "0" * 32, "proof": Proof(body=True)}, Verdict.FORGED),
    ],
)
def test_a_forged_callback_does_nothing(door: World, forged: dict[str, Any], verdict: Verdict) -> None:
    """A wrong token, attempt, provider or signature: nothing asked, nothing written but the count of it."""
    job = lost(door)
    before, history = door.now(job), door.moves(job)
    attempt = attempt_of(door, job)
    assert call(door, attempt, **forged) is verdict
    assert verdict in callbacks.REFUSED
    assert (door.now(job), door.moves(job), door.shop.polls) == (before, history, 0)
    assert attempt_of(door, job) == attempt
    assert counted(door) == ({verdict: 1} if "provider" not in forged else {})


def test_a_doubled_delivery_is_counted_and_nothing_else(door: World) -> None:
    """The same body again, or the same signed delivery under another body: known, no wake-up, counted as repeated."""
    door.shop.progresses = [Running()] * 3
    job = door.job()
    door.chain(job)
    attempt = attempt_of(door, job)
    same = json.dumps({"task": attempt.provider_job_id}).encode()
    assert [call(door, attempt, body=same) for _ in range(3)] == [Verdict.WOKEN, Verdict.REPEATED, Verdict.REPEATED]
    signed = Proof(body=True, delivery="msg_1")
    assert call(door, attempt, attempt.provider_job_id, proof=signed) is Verdict.WOKEN
    door.heard.hints.clear()
    assert call(door, attempt, attempt.provider_job_id, proof=signed) is Verdict.REPEATED
    assert door.heard.hints == []
    assert counted(door) == {"woken": 2, "repeated": 3}


def test_a_signed_body_needs_no_token(door: World) -> None:
    """A webhook that is registered for a whole account names no attempt: its signed body names the order."""
    door.shop.progresses = [Running()]
    job = door.job()
    door.chain(job)
    attempt = attempt_of(door, job)
    nobody: dict[str, Any] = {"attempt_id": None, "token": ""}
    signed = Proof(body=True, delivery="msg_1")
    assert call(door, attempt, attempt.provider_job_id, **nobody) is Verdict.UNKNOWN
    assert call(door, attempt, "of nobody", proof=signed, **nobody) is Verdict.UNKNOWN
    assert call(door, attempt, attempt.provider_job_id, proof=signed, **nobody) is Verdict.WOKEN


def test_counting_that_fails_changes_nothing(door: World) -> None:
    """The database goes away between a callback's work and its count: the work is done and the provider thanked."""
    job = lost(door)
    door.services = replace(door.services, callbacks=Weather(door.store.callbacks, door.clock))
    door.services.callbacks.strikes["count"] = PartUnavailable("away", {"part": "postgresql"})
    assert call(door, attempt_of(door, job)) is Verdict.ACCEPTED
    assert (door.now(job).stage, counted(door)) == (Stage.POLL, {})


def test_a_callback_that_does_not_come_is_counted_once(door: World) -> None:
    """Found by asking: missed after a while, once; where it comes by then, or none was to come, nothing is missed."""
    jobs = [door.job() for _ in range(3)]
    jobs.append(door.job("gemini"))
    for job in jobs:
        door.live(job)
    called = attempt_of(door, jobs[0])
    assert call(door, called, called.provider_job_id) is Verdict.LATE
    assert callbacks.count_missed(door.services) == 0
    door.clock.advance(CALLBACK_PATIENCE.total_seconds() + 1)
    assert [callbacks.count_missed(door.services) for _ in range(2)] == [2, 0]
    late = attempt_of(door, jobs[1])
    assert call(door, late, late.provider_job_id) is Verdict.LATE
    assert callbacks.count_missed(door.services) == 0
    assert counted(door) == {"late": 2, "missed": 2}


def test_without_an_address_nothing_is_missed(world: World) -> None:
    """Where no provider was told where to call, no callback is waited for."""
    job = world.job()
    world.live(job)
    world.clock.advance(CALLBACK_PATIENCE.total_seconds() + 1)
    assert callbacks.count_missed(world.services) == 0


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"\xff", b"[" * 100_000, b"[]", b"{}", b'{"task": null}', b'{"task": "a\\u0000b"}',
        b'{"task": "%s"}' % (b"a" * 1001),
    ],
)  # fmt: skip
def test_an_unreadable_body_does_nothing(door: World, body: bytes) -> None:
    """No JSON, or no order in it: told so to whoever has the token."""
    job = lost(door)
    before = door.now(job)
    assert call(door, attempt_of(door, job), body=body) is Verdict.UNREADABLE
    assert (door.now(job), door.shop.polls) == (before, 0)


def test_an_order_that_is_not_ours_moves_nothing(door: World) -> None:
    """The provider does not know the id under our key: the token alone proves no order."""
    job = lost(door)
    door.shop.progresses = [Temporary("recordInfo is null", {UNKNOWN_ORDER: True})]
    assert call(door, attempt_of(door, job)) is Verdict.FORGED
    assert (door.now(job).stage, attempt_of(door, job).provider_job_id) == (Stage.RECONCILE, None)
    assert call(door, attempt_of(door, job)) is Verdict.ACCEPTED


def test_another_job_s_order_is_not_taken(door: World) -> None:
    """A valid token with the order of somebody else's attempt is refused, live or ended."""
    other = door.job()
    door.chain(other)
    theirs = attempt_of(door, other).provider_job_id
    job = lost(door)
    for _ in range(2):
        assert call(door, attempt_of(door, job), theirs) is Verdict.FORGED
        assert attempt_of(door, job).provider_job_id is None
        door.live(other)


def test_another_order_than_the_known_one_wakes_nobody(door: World) -> None:
    """An attempt has one order; a callback that names another is not listened to."""
    door.shop.progresses = [Running()]
    job = door.job()
    door.chain(job)
    before = door.now(job)
    assert call(door, attempt_of(door, job), "another") is Verdict.FORGED
    assert door.now(job) == before


@pytest.mark.parametrize("error", [Temporary("502"), RateLimited("slow down")])
def test_a_provider_that_cannot_be_asked_is_told_to_call_again(door: World, error: Any) -> None:
    """Without its word nothing moves, and nothing is lost: the next callback is taken."""
    job = lost(door)
    door.shop.progresses = [error]
    with pytest.raises(type(error)):
        call(door, attempt_of(door, job))
    assert door.now(job).stage is Stage.RECONCILE
    assert call(door, attempt_of(door, job)) is Verdict.ACCEPTED


@pytest.mark.parametrize("method", ["attempt", "ordered", "get", "wake"])
def test_a_database_that_is_away_is_told(door: World, method: str) -> None:
    """`PartUnavailable` wherever it strikes; the next callback does the same work."""
    waits = method == "wake"
    door.shop.progresses = [Running()] if waits else []
    job = door.job() if waits else lost(door)
    door.chain(job)
    attempt = attempt_of(door, job)
    task = attempt.provider_job_id or "t1"
    door.jobs.strikes[method] = PartUnavailable("away", {"part": "postgresql"})
    with pytest.raises(PartUnavailable):
        call(door, attempt, task)
    assert call(door, attempt, task) is (Verdict.WOKEN if waits else Verdict.ACCEPTED)


def test_a_late_callback_has_the_picture_looked_for(door: World) -> None:
    """After SUBMISSION_UNKNOWN: the order is on record, and the next sweep collects what was paid."""
    door.shop.reconcile_window = 0.0
    job = lost(door)
    assert door.now(job).error_code == "SUBMISSION_UNKNOWN"
    for _ in range(2):
        assert call(door, attempt_of(door, job)) is Verdict.COLLECTING
        found = attempt_of(door, job)
        assert (found.provider_job_id, found.state, found.collect_at) == ("t1", "accepted", door.clock.now())
    door.sweep()
    assert door.live(job)[0].status is Status.COMPLETED


def test_a_cancelled_job_s_picture_is_looked_for(door: World) -> None:
    """The order went on after its job was cancelled: the job stays as it is, the picture is not lost."""
    door.shop.progresses = [Running()]
    job = door.job()
    door.chain(job)
    attempt = attempt_of(door, job)
    door.store.jobs.apply(replace(step(job, MoveName.CANCEL), at=door.clock.now()))
    assert call(door, attempt, attempt.provider_job_id) is Verdict.COLLECTING
    assert door.now(job).status is Status.CANCELLED
    assert attempt_of(door, job).collect_at == door.clock.now()


def test_an_older_attempt_touches_no_newer_one(door: World) -> None:
    """Its order turned up while another attempt is bought: on record and collected later, the job is left alone."""
    refusal = GenerationFailed("no", {"billed": "unknown"})
    door.shop.submissions = [Rejected(error=refusal)]
    job = door.job(max_paid_attempts=2)
    door.chain(job)
    old = attempt_of(door, job)
    door.clock.advance(60)
    newer = submitted(door.store, door.now(job), seconds=60)
    assert call(door, old, "late") is Verdict.COLLECTING
    assert (door.now(job).attempt_id, door.now(job).provider_job_id) == (newer.attempt_id, None)
    known = door.store.jobs.attempt(old.id)
    assert known is not None
    assert known.provider_job_id == "late"


def test_a_failure_that_is_reported_is_told_by_the_poll(door: World) -> None:
    """The callback's own word does not matter: the order is ours, and the next poll says that it failed."""
    job = lost(door)
    refused = Failed(error=GenerationFailed("no", {"billed": "unknown"}))
    door.shop.progresses = [refused, refused]
    assert call(door, attempt_of(door, job)) is Verdict.ACCEPTED
    (failed,) = door.live(job)
    assert (failed.status, failed.error_code) == (Status.FAILED, "GENERATION_FAILED")
    door.closes()


def test_a_callback_that_loses_the_race_wakes_the_job(door: World) -> None:
    """Between its look and its move the answer of our own call was written: the order is known, the job is woken."""
    job = lost(door)
    bought = door.now(job)
    told = facts(bought, "accepted", provider_job_id="t1")
    rest: dict[str, Any] = {
        "stage": Stage.POLL,
        "parked": True,
        "waiting_for": "provider",
        "until": door.clock.now() + GRACE,
    }
    answer = step(bought, MoveName.ACCEPT, facts=told, changes={"provider_job_id": "t1"}, **rest)

    def answered() -> None:
        door.store.jobs.apply(answer)

    door.jobs.before[MoveName.ACCEPT] = answered
    door.heard.hints.clear()
    assert call(door, attempt_of(door, job)) is Verdict.WOKEN
    assert door.moves(job).count("accept") == 1
    assert (door.now(job).next_run_at, door.heard.hints) == (door.clock.now(), [job.id])


def test_without_an_address_no_callback_is_waited_for(world: World) -> None:
    """No callback can come where none was asked for: the doubt is told at once."""
    world.shop.reconcile_window = WINDOW
    job = lost(world)
    assert world.now(job).error_code == "SUBMISSION_UNKNOWN"
    assert world.shop.callback_urls == [None]


def test_each_attempt_has_an_address_of_its_own(door: World) -> None:
    """The address that the provider is given names the attempt and its token, under the provider's public name."""
    job = door.job()
    door.chain(job)
    attempt = attempt_of(door, job)
    expected = f"https://me.example/api/webhooks/nano-banana?attempt={attempt.id}&token={attempt.token}"
    assert door.shop.callback_urls == [expected]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_address_leads_back_to_its_provider(provider: str) -> None:
    """The name in a path stands for one provider; an internal id that has another name stands for none."""
    path = callbacks.address("https://x", provider, UUID(int=1), "t").partition("?")[0]
    route = path.rpartition("/")[2]
    assert callbacks.provider_of(route) == provider
    assert (callbacks.provider_of(provider) == provider) is (route == provider)


def test_the_picture_is_what_was_drawn(door: World) -> None:
    """A found answer ends in the provider's own file."""
    job = lost(door)
    call(door, attempt_of(door, job))
    door.web.answers = [PICTURE]
    (done,) = door.live(job)
    assert done.blob_sha256 is not None
