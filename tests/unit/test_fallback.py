"""The chain of providers: which failure sends a job on, where it goes, and that no possible charge ever travels."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from imagegen import fallback, policies
from imagegen.contracts import parse_request
from imagegen.errors import (
    BY_CODE,
    AuthError,
    ImagegenError,
    InsufficientCredit,
    QuotaExhausted,
    RateLimited,
    SubmissionUnknown,
    Temporary,
)
from imagegen.fallback import elsewhere
from imagegen.inputs import input_ref, store_input
from imagegen.jobs import Job
from imagegen.planning import plan_image
from imagegen.ports import Services
from imagegen.providers.base import NotSent, Rejected, Unknown
from imagegen.states import Status
from imagegen.testing.blobs import MemoryBlobs
from tests.admission_parts import CATALOG, Shop
from tests.admission_parts import World as Desk
from tests.drawings import a_file
from tests.pipeline_parts import World, parked

pytest_plugins = ["tests.worlds"]
FREE = {"prompt": "a fox", "referenceImages": []}
AT_ONCE = {"AUTH_ERROR", "INSUFFICIENT_CREDIT", "QUOTA_EXHAUSTED"}
REASONS = {"breaker", "provider"}


def free(world: World, **fields: Any) -> Job:
    """A job at nanobanana whose request names no provider."""
    return world.job(**{"request": FREE, **fields})


def refused(error: ImagegenError) -> Rejected:
    return Rejected(error=error)


@pytest.mark.parametrize("failures", [0, 1, 5])
@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_which_errors_send_a_job_elsewhere(world: World, code: str, failures: int) -> None:
    """The decision table, for each error there is: only the provider's own troubles, outages at the second failure."""
    job = replace(free(world), failures=failures)
    error = BY_CODE[code]("it failed")
    expected = code in AT_ONCE or (code == "TEMPORARY" and failures + 1 >= fallback.FAILURES)
    assert (elsewhere(job, error, world.services) is not None) == expected


@pytest.mark.parametrize(
    ("error", "leaves"),
    [
        (RateLimited("x", {"retryAfter": 30}), False),
        (RateLimited("x", {"retryAfter": 31}), True),
        (RateLimited("x"), False),
        (Temporary("x", {"reason": "breaker", "retryAfter": 30}), True),
        (Temporary("x", {"reason": "provider"}), True),
        (Temporary("x", {"reason": "maintenance", "retryAfter": 30}), False),
        (Temporary("x", {"reason": "maintenance", "retryAfter": 120}), True),
        (AuthError("x", {"billed": "unknown"}), False),
        (QuotaExhausted("x", {"billed": "yes"}), False),
    ],
)
def test_what_an_error_says_of_itself_counts(world: World, error: ImagegenError, leaves: bool) -> None:
    """Waits up to half a minute are waited; an open circuit or a missing key are not; a charge keeps the job."""
    assert (elsewhere(free(world), error, world.services) is not None) == leaves


@pytest.mark.parametrize("code", sorted(AT_ONCE))
@pytest.mark.parametrize("billed", ["yes", "unknown"])
def test_a_job_that_was_or_may_have_been_charged_stays(world: World, code: str, billed: str) -> None:
    """Whatever its newest error: an earlier charge, or the chance of one, ties it to its provider."""
    job: Job = replace(free(world), billed=billed)  # type: ignore[arg-type]
    assert elsewhere(job, BY_CODE[code]("x"), world.services) is None


@pytest.mark.parametrize("code", sorted(AT_ONCE))
def test_a_named_provider_is_never_left(world: World, code: str) -> None:
    """Who asks for a provider gets that one or an error."""
    assert elsewhere(world.job(), BY_CODE[code]("x"), world.services) is None


@pytest.mark.parametrize("error", [AuthError("401"), InsufficientCredit("402"), QuotaExhausted("used up")])
def test_the_second_provider_buys(world: World, error: ImagegenError) -> None:
    """Refused by the first: bought at the second, one charge, both tried in order, each attempt closed in the books."""
    world.shop.submissions = [refused(error)]
    job = free(world)
    assert parked(world.stage(job)).reason == "fallback"
    (event,) = [event for event in world.store.jobs.history(job.id) if event.move == "repeat"]
    assert event.cause == error.code
    assert event.detail == {"fallback": {"from": "nanobanana", "to": "gemini"}}
    (done,) = world.live(job)
    assert (done.status, done.provider, list(done.tried)) == (Status.COMPLETED, "gemini", ["nanobanana", "gemini"])
    assert world.document(job)["tried"] == ["nanobanana", "gemini"]
    assert (world.shop.charged, world.studio.charged, done.paid_attempts) == (0, 1, 1)
    assert world.kinds(job) == ["reserve", "release", "reserve", "settle"]
    world.closes()


def test_it_goes_at_once(world: World) -> None:
    """No backoff lies between the refusal and the other provider."""
    world.shop.submissions = [refused(AuthError("401"))]
    job = free(world)
    assert parked(world.stage(job)).until == world.clock.now()
    assert world.sweep() == [job.id]
    world.closes()


def test_an_open_circuit_sends_the_job_on_without_a_call(world: World) -> None:
    """Nothing is asked of a provider that rests, and it counts as tried."""
    for _ in range(policies.BREAKER_FAILURES):
        with world.breaker.call("nanobanana", "submit") as report:
            report(False)
    job = free(world)
    parked(world.stage(job))
    (done,) = world.live(job)
    assert (done.provider, list(done.tried), world.shop.calls) == ("gemini", ["nanobanana", "gemini"], 0)
    world.closes()


def open_circuit(world: World, provider: str) -> None:
    for _ in range(policies.BREAKER_FAILURES):
        with world.breaker.call(provider, "submit") as report:
            report(False)


def test_a_job_does_not_wander_between_resting_providers(world: World) -> None:
    """Both circuits open: it waits where it is, and completes there when its own is tried again."""
    open_circuit(world, "nanobanana")
    open_circuit(world, "gemini")
    job = free(world)
    assert parked(world.stage(job)).reason == "breaker"
    (done,) = world.live(job)
    assert (done.status, list(done.tried)) == (Status.COMPLETED, ["nanobanana"])
    world.closes()


def test_a_resting_provider_is_better_than_one_that_refuses(world: World) -> None:
    """Our key is refused for good: the other one is waited for, though its circuit is open."""
    open_circuit(world, "gemini")
    world.shop.submissions = [refused(AuthError("401"))]
    job = free(world)
    assert parked(world.stage(job)).reason == "fallback"
    (done,) = world.live(job)
    assert (done.status, done.provider) == (Status.COMPLETED, "gemini")
    world.closes()


def test_a_paused_provider_is_gone_to_like_one_that_rests(world: World) -> None:
    """An outage is waited out rather than an operator's pause; a refusal for good is not."""
    world.store.pauses.pause("provider:gemini", reason="bill under review", at=world.clock.now())
    open_circuit(world, "nanobanana")
    waits = free(world)
    assert parked(world.stage(waits)).reason == "breaker"
    assert world.live(waits)[0].provider == "nanobanana"
    world.shop.submissions = [refused(AuthError("401"))]
    moves_on = free(world)
    assert parked(world.stage(moves_on)).reason == "fallback"
    assert parked(world.stage(moves_on)).reason == "paused"
    world.store.pauses.resume("provider:gemini", at=world.clock.now())
    (done,) = world.live(moves_on)
    assert (done.status, done.provider) == (Status.COMPLETED, "gemini")
    world.closes()


def test_what_never_left_goes_elsewhere_at_the_second_failure(world: World) -> None:
    """Once is a hiccup: it backs off at the same provider; the second time the other one is asked."""
    world.shop.submissions = [NotSent(error=Temporary("refused")) for _ in range(5)]
    job = free(world)
    assert parked(world.stage(job)).reason == "backoff"
    (done,) = world.live(job)
    assert (world.shop.calls, done.provider, done.failures) == (2, "gemini", 0)
    world.closes()


def test_a_provider_whose_key_was_taken_is_left(world: World) -> None:
    """The job goes to the one whose key is there."""
    job = free(world)
    object.__setattr__(world.services, "providers", {"gemini": world.studio})
    assert parked(world.stage(job)).reason == "fallback"
    assert world.live(job)[0].provider == "gemini"
    world.closes()


def test_after_the_last_provider_it_ends(world: World) -> None:
    """Each is asked once; then the error is the job's, released in the books."""
    world.shop.submissions = [refused(AuthError("401"))]
    world.studio.submissions = [refused(InsufficientCredit("402"))]
    job = free(world)
    world.stage(job)
    (failed,) = world.live(job)
    assert (failed.status, failed.error_code, failed.billed) == (Status.FAILED, "INSUFFICIENT_CREDIT", "no")
    assert (list(failed.tried), world.shop.calls, world.studio.calls) == (["nanobanana", "gemini"], 1, 1)
    world.closes()


def test_a_possible_charge_never_travels(world: World) -> None:
    """No answer came: nobody else is asked, the amount is uncertain."""
    world.shop.submissions = [Unknown(error=SubmissionUnknown("lost"))]
    job = free(world)
    world.stage(job)
    (failed,) = world.live(job)
    assert (failed.error_code, failed.billed, world.studio.calls) == ("SUBMISSION_UNKNOWN", "unknown", 0)
    world.closes()


# ── which model the other one draws ──────────────────────────────────────────────────────────────────────────────


def planned(desk: Desk, services: Services, body: dict[str, Any]) -> Job:
    """What admission would write."""
    return plan_image(parse_request(body), services, door="http")


def desk_services(desk: Desk, **settings: Any) -> Services:
    """The desk's services, where no circuit is known."""

    class Closed:
        def state(self, provider: str, operation: str) -> str:
            return "closed"

    return desk.with_(breaker=Closed(), **settings)


def moved(job: Job, services: Services) -> dict[str, Any]:
    changes = elsewhere(job, AuthError("401"), services)
    assert changes is not None
    return dict(changes)


@pytest.mark.parametrize("body", [{}, {"width": 512, "height": 512, "seed": 7}, {"jobType": "start_frame"}])
def test_the_plan_is_the_one_that_admission_would_have_made(body: dict[str, Any]) -> None:
    """Model, size, price and fingerprint at the other provider equal those of a request that goes there at once."""
    desk = Desk()
    services = desk_services(desk)
    job = planned(desk, services, {"prompt": "a red fox", **body})
    there = planned(desk, services, {"prompt": "a red fox", "provider": "gemini", **body})
    changes = moved(job, services)
    same = {name: getattr(there, name) for name in ("provider", "model", "plan", "fingerprint", "cost_estimated")}
    assert changes == {**same, "tried": ["nanobanana"], "failures": 0}


def test_the_same_model_is_kept_where_it_is_sold() -> None:
    """nano-banana-pro is sold by both: the fingerprint, and with it any cached picture, stays the same."""
    desk = Desk()
    services = desk_services(desk)
    job = planned(desk, services, {"prompt": "a red fox", "model": "nano-banana-pro"})
    changes = moved(job, services)
    assert (changes["provider"], changes["model"]) == ("gemini", "nano-banana-pro")
    assert changes["fingerprint"] == job.fingerprint


def test_a_named_model_that_nobody_else_sells_keeps_the_job() -> None:
    """Another model would be another picture."""
    desk = Desk()
    services = desk_services(desk)
    job = planned(desk, services, {"prompt": "a red fox", "model": "nano-banana"})
    assert elsewhere(job, AuthError("401"), services) is None


def test_a_provider_that_cannot_have_the_references_is_skipped() -> None:
    """References only as bytes, and a provider that fetches by URL: it could not draw the job."""
    desk = Desk(blobs=MemoryBlobs("file:///home/pictures"))
    providers = {"gemini": Shop("gemini", True), "nanobanana": Shop("nanobanana", False)}
    services = desk_services(desk, providers=providers, emulated=False)
    reference = input_ref(store_input(a_file("PNG"), "referenceImages.0", desk.blobs))
    body = {"prompt": "a red fox", "model": "nano-banana-pro"}
    assert elsewhere(planned(desk, services, body), AuthError("401"), services) is not None
    job = planned(desk, services, {**body, "referenceImages": [reference]})
    assert elsewhere(job, AuthError("401"), services) is None


def test_a_prompt_too_long_for_the_other_one_keeps_the_job() -> None:
    """nanobanana takes fewer characters than gemini."""
    desk = Desk()
    services = desk_services(desk, providers={"gemini": Shop("gemini", True), "nanobanana": Shop("nanobanana", False)})
    offer = CATALOG.offer("nanobanana", "nano-banana-pro")
    assert offer is not None
    job = planned(desk, services, {"prompt": "x" * (offer.max_prompt + 1), "model": "nano-banana-pro"})
    assert job.provider == "gemini"
    assert elsewhere(job, AuthError("401"), services) is None


def test_the_price_is_the_other_provider_s(world: World) -> None:
    """What is reserved for the second attempt is the second provider's upper price."""
    world.shop.submissions = [refused(AuthError("401"))]
    job = free(world)
    world.stage(job)
    world.live(job)
    reserved = [amount for kind, amount, _ in world.store.ledger(job.id) if kind == "reserve"]
    assert reserved[0] == job.cost_estimated
    assert reserved[1] == world.now(job).cost_estimated != Decimal(0)
    world.closes()
