"""Budgets in the library: pure rules, what the pipeline makes of a refusal, the cheaper model."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from imagegen import budgets, models, money, thrift
from imagegen.admission import admit_batch, admit_image
from imagegen.contracts import parse_batch, parse_request
from imagegen.errors import AuthError, BadArtifact, BudgetExceeded, GenerationFailed, InvalidRequest
from imagegen.jobs import Job
from imagegen.outcomes import Finish
from imagegen.placeholders import follow_up
from imagegen.providers.base import Delivered, Failed, Rejected
from imagegen.records import Budget, Entry, JobFilter
from imagegen.retrying import retry
from imagegen.states import Status
from tests.admission_parts import CATALOG
from tests.admission_parts import World as Desk
from tests.jobs_kit import CENTS, NOW, new_job
from tests.pipeline_parts import World, parked

pytest_plugins = ["tests.worlds"]
DAY = date(2026, 11, 30)


def budget(amount: str, committed: str = "0", **given: Any) -> Budget:
    usual: dict[str, Any] = {"scope": "all", "period": "day", "hard": True, "starts": DAY}
    return Budget(**{**usual, **given}, amount=Decimal(amount), committed=Decimal(committed))


# ── pure rules ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_periods_begin_on_their_first_day() -> None:
    """A day with itself, a month with its first, the total with the same day always."""
    began = [budgets.starts(period, DAY) for period in budgets.PERIODS]
    assert began == [DAY, date(2026, 11, 1), budgets.BEGINNING]


def test_only_growth_asks_for_room() -> None:
    """What commits as much as before, or less, is in nobody's way; a new day or provider is growth there."""
    job = replace(new_job(), reserved_on=DAY, committed=CENTS)
    assert budgets.growth([job], [job]) == {}
    assert budgets.growth([job], [replace(job, committed=Decimal(0))]) == {}
    assert budgets.growth([job], [replace(job, provider="gemini")]) == {("provider:gemini", DAY): CENTS}
    assert set(budgets.growth([job], [replace(job, reserved_on=date(2026, 12, 1))]).values()) == {CENTS}


def test_the_most_exceeded_budget_is_told() -> None:
    """Of several the worst; soft ones, other places and those with room say nothing."""
    grown = {("all", DAY): Decimal("0.1")}
    quiet = [budget("1", "1"), budget("1", "9", hard=False), budget("1", "9", scope="owner:x")]
    budgets.check(grown, quiet)
    with pytest.raises(BudgetExceeded) as raised:
        budgets.check(
            grown, [*quiet, budget("1", "1.05"), budget("1", "1.09", period="month", starts=date(2026, 11, 1))]
        )
    assert raised.value.message == (
        "the budget all (month) has no room: limit $1.00, committed $0.99, remaining $0.01, asked for $0.10"
    )
    assert (raised.value.retryable, raised.value.billed) == (False, "no")


@pytest.mark.parametrize(
    ("told", "scope"), [("all", "all"), (" owner: ada ", "owner:ada"), ("provider:gemini", "provider:gemini")]
)
def test_scopes_have_one_spelling(told: str, scope: str) -> None:
    """Blanks do not make another scope."""
    assert budgets.checked_scope(told) == scope


@pytest.mark.parametrize("scope", ["", "ALL", "owner", "owner:", "provider:acme", "batch:1", f"project:{'x' * 121}"])
def test_what_has_no_budget_is_refused(scope: str) -> None:
    """Unknown kinds, providers and empty names: told with the remedy."""
    with pytest.raises(InvalidRequest) as raised:
        budgets.checked_scope(scope)
    assert raised.value.problems[0]["remedy"]


@pytest.mark.parametrize(("told", "amount"), [("3", "3"), ("$0.10", "0.1"), ("0.000001", "0.000001"), ("1e2", "100")])
def test_limits_are_dollars(told: str, amount: str) -> None:
    """With a dollar sign or without, exact."""
    assert budgets.checked_limit(told) == Decimal(amount)


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "inf", "ten", "", "0.0000001", "100000000", "1,5"])
def test_what_is_no_limit_is_refused(limit: str) -> None:
    """Not above zero, too fine, too large, no number."""
    with pytest.raises(InvalidRequest):
        budgets.checked_limit(limit)


@pytest.mark.parametrize(
    ("status", "fields", "committed"),
    [
        (Status.QUEUED, {}, CENTS),
        (Status.GENERATING, {"cost_credits": Decimal("0.05"), "cost_wasted": CENTS}, Decimal("0.05") + CENTS),
        (Status.UPLOADING, {"cost_credits": Decimal(0)}, Decimal(0)),
        (Status.COMPLETED, {"cost_credits": Decimal("0.02"), "cost_uncertain": CENTS}, Decimal("0.02") + CENTS),
        (Status.FAILED, {}, Decimal(0)),
        (Status.CANCELLED, {"cost_wasted": CENTS}, CENTS),
    ],
)
def test_what_is_committed_follows_from_the_row(status: Status, fields: dict[str, Any], committed: Decimal) -> None:
    """Alive: what it lost, and the price it knows or expects; over: what was or may have been paid."""
    assert money.committed(replace(new_job(), status=status, **fields)) == committed


def test_lines_carry_the_price_they_were_bought_by() -> None:
    """The row of the plan, whatever the catalog says later."""
    job = new_job(plan={"price": {"amount": "0.039", "source": "list"}})
    assert money.line(job, "settle", CENTS).price == {"amount": "0.039", "source": "list"}


def test_an_end_sums_up_its_lines() -> None:
    """Earlier losses stay; a doubt leaves the price unknown; a picture has its own."""
    job = new_job(cost_wasted=CENTS)
    waste, doubt, settle = (
        Entry(kind=kind, amount=CENTS, attempt_id=None) for kind in ("waste", "uncertain", "settle")
    )
    assert money.ended(job, ()) == {"cost_credits": 0}
    assert money.ended(job, [waste]) == {"cost_credits": 0, "cost_wasted": 2 * CENTS}
    assert money.ended(job, [doubt]) == {"cost_credits": None, "cost_uncertain": CENTS}
    assert money.ended(job, [settle]) == {"cost_credits": CENTS}


# ── the pipeline ─────────────────────────────────────────────────────────────────────────────────────────────────


def limit(world: World, amount: Decimal, scope: str = "all") -> None:
    """A hard budget in total."""
    world.services.budgets.set(scope, "total", amount, True, at=NOW)


def total(world: World, scope: str = "all") -> Decimal:
    """What is committed."""
    return next(one.committed for one in world.services.budgets.list(at=NOW) if one.scope == scope)


def test_another_attempt_reserves_again(world: World) -> None:
    """Waste and the new estimate are committed together; the picture's price takes the estimate's place."""
    limit(world, 2 * CENTS)
    world.studio.submissions = [Delivered(data=b"<html>")]
    job = world.job("gemini", max_paid_attempts=2)
    assert parked(world.chain(job)).reason == "another_attempt"
    assert (world.now(job).cost_wasted, world.now(job).committed, total(world)) == (CENTS, 2 * CENTS, 2 * CENTS)
    world.studio.submissions = [Delivered(data=world.web.fetch("https://x", max_bytes=1, total=1.0).data, actual=None)]
    world.live(job)
    done = world.now(job)
    assert (done.status, done.cost_credits, done.cost_wasted) == (Status.COMPLETED, CENTS, CENTS)
    assert done.document().cost.waste == float(CENTS)
    world.closes()


def test_another_attempt_without_room_ends_the_job(world: World) -> None:
    """Billed as it was: the waste of the first attempt stays, nothing is reserved, and the error tells why."""
    limit(world, 2 * CENTS - Decimal("0.000001"))
    world.studio.submissions = [Delivered(data=b"<html>")]
    job = world.job("gemini", max_paid_attempts=2)
    outcome = world.chain(job)
    assert isinstance(outcome, Finish)
    ended = world.now(job)
    assert (ended.status, ended.error_code, ended.billed) == (Status.FAILED, "BUDGET_EXCEEDED", "yes")
    assert "it was wanted after BAD_ARTIFACT" in (ended.error_message or "")
    assert (ended.cost_wasted, ended.cost_credits, total(world)) == (CENTS, Decimal(0), CENTS)
    assert (world.kinds(job), world.studio.calls) == (["reserve", "waste"], 1)
    world.closes()


@pytest.mark.parametrize("scope", ["all", "project:p1", "provider:gemini", "owner:o1"])
def test_an_ended_job_tells_no_other_owners_spending(world: World, scope: str) -> None:
    """Its error has the figures of its owner's own budget; of a shared one, as at admission, only that it is full."""
    job = world.job("gemini", max_paid_attempts=2)
    mine, name = f"owner:{job.owner}", scope.replace("p1", job.project_id).replace("o1", job.owner)
    limit(world, 2 * CENTS - Decimal("0.000001"), name)
    world.studio.submissions = [Delivered(data=b"<html>")]
    world.chain(job)
    told = world.now(job).error_message or ""
    assert told.startswith(f"the budget {name} (total) has no room")
    assert ("limit $" in told, "committed" in told) == (name == mine, name == mine)


def test_a_picture_that_is_gone_tells_no_spending_either(world: World) -> None:
    """Nor does a job that was admitted for a picture from the cache which has to be bought after all."""
    limit(world, Decimal("0.001234"))
    job = world.job(cost_credits=Decimal(0))
    world.live(job)
    assert world.now(job).error_message == "the budget all (total) has no room for it"


def test_a_free_refusal_keeps_the_reservation(world: World) -> None:
    """Not bought, to be tried again: as much is committed as before, so a full budget is no obstacle."""
    limit(world, CENTS)
    world.shop.submissions = [Rejected(error=GenerationFailed("no", {"billed": "no", "retryable": True}))]
    job = world.job()
    parked(world.chain(job))
    assert total(world) == CENTS
    world.live(job)
    assert (world.now(job).status, world.kinds(job)[:3]) == (Status.COMPLETED, ["reserve", "release", "reserve"])
    world.closes()


def test_another_provider_without_room_ends_the_job(world: World) -> None:
    """A job that would go elsewhere is not sent where its money may not go."""
    limit(world, Decimal("0.001"), "provider:gemini")
    world.shop.submissions = [Rejected(error=AuthError("no"))]
    job = world.job(request={"prompt": "a fox", "referenceImages": []})
    world.chain(job)
    ended = world.now(job)
    assert (ended.status, ended.error_code, ended.billed) == (Status.FAILED, "BUDGET_EXCEEDED", "no")
    assert (ended.provider, world.studio.calls, total(world, "provider:gemini")) == ("nanobanana", 0, Decimal(0))
    world.closes()


def test_a_retry_without_room_is_refused(world: World) -> None:
    """The job stays as it is; once there is room it goes on, and counts on the day of the retry."""
    world.shop.progresses = [Failed(error=GenerationFailed("no", {"billed": "no", "retryable": False}))]
    job = world.job()
    world.live(job)
    limit(world, Decimal("0.001"))
    with pytest.raises(BudgetExceeded):
        retry(job.id, world.services)
    assert world.now(job).status is Status.FAILED
    limit(world, CENTS)
    world.clock.advance(86_400)
    again = retry(job.id, world.services)
    assert (again.committed, again.reserved_on) == (CENTS, money.utc_day(world.clock.now()))


def test_a_paid_picture_is_continued_without_room(world: World) -> None:
    """What needs no purchase needs no budget: its waste becomes the price of its picture."""
    world.web.answers = [BadArtifact("x"), BadArtifact("y")]
    job = world.job()
    world.live(job)
    failed = world.now(job)
    assert (failed.cost_wasted, failed.cost_credits) == (failed.committed, Decimal(0))
    limit(world, Decimal("0.001"))
    again = retry(job.id, world.services)
    assert (again.cost_wasted, again.committed) == (None, failed.committed)
    world.live(job)
    done = world.now(job)
    assert (done.status, done.cost_wasted, done.cost_credits) == (Status.COMPLETED, None, failed.committed)
    assert world.kinds(job) == ["reserve", "waste", "settle"]


def test_a_placeholder_without_room_for_its_picture_stays(world: World) -> None:
    """The job that would replace it is not admitted, and nobody trips over that."""
    shown = replace(world.job(placeholder=True), status=Status.COMPLETED)
    limit(world, Decimal("0.001"))
    assert follow_up(shown, world.services) is None
    assert len(world.store.jobs.list(JobFilter())[0]) == 1


def test_a_picture_that_is_there_needs_no_room(world: World) -> None:
    """A budget that is used up refuses no request whose picture was bought before."""
    first = world.live(world.job(fingerprint="fox"))[0]
    limit(world, Decimal("0.001"))
    wanted = world.new("nanobanana", fingerprint="fox")
    (job,) = thrift.admit([wanted], None, world.services).jobs
    assert (job.committed, job.cost_credits) == (Decimal(0), Decimal(0))
    done = world.live(job)[0]
    assert (done.status, done.cache_hit, world.shop.calls) == (Status.COMPLETED, True, 1)
    assert total(world) == first.committed


@pytest.mark.parametrize("room", [True, False])
def test_a_picture_that_is_gone_by_then_needs_room(world: World, room: bool) -> None:
    """Admitted for nothing, its picture purged before it came to it: bought if there is room, else refused unbilled."""
    limit(world, CENTS if room else Decimal("0.001"))
    job = world.job(cost_credits=Decimal(0))
    assert total(world) == 0
    done = world.live(job)[0]
    if room:
        assert (done.status, world.shop.calls, total(world)) == (Status.COMPLETED, 1, done.cost_credits)
    else:
        assert (done.error_code, done.billed, world.shop.calls) == ("BUDGET_EXCEEDED", "no", 0)
        assert total(world) == 0
    world.closes()


# ── cheaper instead of refused ───────────────────────────────────────────────────────────────────────────────────


def desk_limit(desk: Desk, amount: str) -> None:
    desk.services.budgets.set("all", "total", Decimal(amount), True, at=desk.clock.now())


FOX = {"prompt": "A red fox", "width": 640, "height": 640, "provider": "gemini", "model": "nano-banana-pro"}


def choices() -> list[models.Choice]:
    """What gemini sells for less than the dear model, the dearest first."""
    desk = Desk()
    job = admit_image(parse_request(FOX), desk.services, door="http").jobs[0]
    return models.cheaper(
        CATALOG, than=job.cost_estimated or Decimal(0), model=job.model, tier=job.plan["tier"],
        ratio=job.plan["ratio"], request_provider="gemini", job_type=job.job_type, width=640, height=640, references=0,
        providers=["gemini"], today=desk.clock.now().date(), published="png", prompt_length=len(job.sent_prompt),
    )  # fmt: skip


def admitted(desk: Desk, **fields: Any) -> Job:
    return admit_image(parse_request({**FOX, **fields}), desk.services, door="http").jobs[0]


def test_a_cheaper_model_is_used_where_it_may_be() -> None:
    """The dearest that fits: in the document, with the reason in the history."""
    found = choices()
    assert len(found) > 1
    assert [one.estimate for one in found] == sorted((one.estimate for one in found), reverse=True)
    for best in (found[0], found[-1]):
        desk = Desk()
        desk_limit(desk, str(best.estimate))
        job = admitted(desk, onBudget="cheaper")
        assert (job.document().model, job.cost_estimated, job.provider) == (best.model, best.estimate, "gemini")
        (event,) = desk.rows.history(job.id)
        told = event.detail["onBudget"]
        assert told["wanted"][0]["model"] == "nano-banana-pro"
        assert told["refused"]["limit"] == float(best.estimate)


@pytest.mark.parametrize("fields", [{}, {"onBudget": "fail"}])
def test_nobody_gets_another_model_unasked(fields: dict[str, Any]) -> None:
    """By default the refusal stands."""
    desk = Desk()
    desk_limit(desk, str(choices()[0].estimate))
    with pytest.raises(BudgetExceeded):
        admitted(desk, **fields)
    assert desk.written == 0


def test_where_nothing_is_cheap_enough_the_refusal_is_the_first() -> None:
    """It tells of what was asked for."""
    desk = Desk()
    price = admitted(desk).cost_estimated
    desk_limit(desk, str((price or Decimal(0)) + Decimal("0.000001")))
    with pytest.raises(BudgetExceeded) as raised:
        admitted(desk, onBudget="cheaper")
    assert raised.value.details["requested"] == float(price or 0)


def test_a_batch_goes_down_together() -> None:
    """Each member that allows it takes its next cheaper offer, until all fit."""
    desk, cheapest = Desk(), choices()[-1]
    desk_limit(desk, str(2 * cheapest.estimate))
    body = {"requests": [{"prompt": "A red fox"}] * 2, **{key: FOX[key] for key in FOX if key != "prompt"}}
    found = admit_batch(parse_batch({**body, "onBudget": "cheaper"}), desk.services, door="http").jobs
    assert {job.model for job in found} == {cheapest.model}
