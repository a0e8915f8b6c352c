"""How jobs end: what is known of the money, told to the owner and closed in the books by the move itself."""

from __future__ import annotations

import logging
from decimal import Decimal

import pytest

from imagegen import endings, recording
from imagegen.errors import (
    BadArtifact,
    Billed,
    ContentRefused,
    DeadlineExceeded,
    GenerationFailed,
    ImagegenError,
    PartUnavailable,
    Temporary,
)
from imagegen.jobs import Job
from imagegen.outcomes import Finish, Lost
from imagegen.recording import facts_of, move, patiently
from imagegen.states import MoveName, Stage, Status
from tests.jobs_kit import CENTS, accepted, admit, claimed, delivered, new_job, submitted
from tests.pipeline_doubles import PAID
from tests.pipeline_parts import World, parked

pytest_plugins = ["tests.worlds"]


@pytest.mark.parametrize(
    ("error", "charged", "kind", "amount", "billed"),
    [
        (GenerationFailed("x"), None, "release", CENTS, "no"),
        (GenerationFailed("x", {"billed": "unknown"}), None, "uncertain", CENTS, "unknown"),
        (GenerationFailed("x", {"billed": "yes"}), None, "waste", CENTS, "yes"),
        (BadArtifact("x"), None, "waste", CENTS, "yes"),
        (BadArtifact("x"), PAID, "waste", PAID, "yes"),
        (GenerationFailed("x"), PAID, "waste", PAID, "yes"),
        (GenerationFailed("x", {"billed": "yes"}), Decimal(0), "release", CENTS, "no"),
    ],
)
def test_no_picture_closes_with_what_is_known(
    world: World, error: ImagegenError, charged: Decimal | None, kind: str, amount: Decimal, billed: Billed
) -> None:
    """A told price is waste; an untold one is what the error says of it; the job and the books agree."""
    job = submitted(world.store, admit(world.store, paid_attempts=1))
    outcome = endings.no_picture(job, error, charged, world.services, facts=facts_of(job, "failed"))
    assert isinstance(outcome, Finish)
    assert (outcome.job.billed, outcome.job.error_code) == (billed, error.code)
    assert world.store.ledger(job.id)[-1] == (kind, amount, job.attempt_id)
    doubt = CENTS if kind == "uncertain" else None
    assert (outcome.job.cost_wasted, outcome.job.cost_uncertain) == (amount if kind == "waste" else None, doubt)
    assert outcome.job.cost_credits == (None if doubt else Decimal(0))
    assert outcome.job.committed == (Decimal(0) if kind == "release" else amount)


def test_two_doubts_add_up(world: World) -> None:
    """A first attempt in doubt, a second too: both amounts are uncertain."""
    job = submitted(world.store, admit(world.store, max_paid_attempts=2, paid_attempts=1))
    error = GenerationFailed("x", {"billed": "unknown"})
    parked(endings.no_picture(job, error, None, world.services, facts=facts_of(job, "failed")))
    queued = world.store.jobs.get(job.id)
    assert (queued.billed, queued.cost_uncertain) == ("unknown", CENTS)
    world.clock.advance(2)
    again = submitted(world.store, queued, 2)
    endings.in_doubt(again, None, 0.0, world.services)
    failed = world.store.jobs.get(job.id)
    assert (failed.billed, failed.cost_uncertain, failed.error_code) == ("unknown", 2 * CENTS, "SUBMISSION_UNKNOWN")


def test_a_transfer_s_loss_is_written_only_by_its_holder(world: World) -> None:
    """A download that lost its claim writes no waste beside another worker's settlement."""
    job = delivered(world.store, admit(world.store))
    stale = claimed(world.store, job, MoveName.PUBLISH, 1)
    claimed(world.store, job, MoveName.PUBLISH, 40)
    lost = endings.no_picture(stale, BadArtifact("x"), PAID, world.services, facts=facts_of(stale, "failed"))
    assert isinstance(lost, Lost)
    assert world.kinds(job) == ["reserve"]


def test_an_answer_closes_its_attempt_though_the_job_is_gone(world: World) -> None:
    """Cancelled meanwhile: what the call cost is in the books all the same."""
    job = submitted(world.store, admit(world.store))
    world.store.jobs.apply(move(job, MoveName.CANCEL, world.services, cause="owner"))
    lost = endings.no_picture(job, BadArtifact("x"), PAID, world.services, facts=facts_of(job, "failed"))
    assert isinstance(lost, Lost)
    assert world.store.jobs.get(job.id).status is Status.CANCELLED
    assert world.kinds(job) == ["reserve", "waste"]


@pytest.mark.parametrize("cause", [None, Temporary("reset"), DeadlineExceeded("late", {"billed": "unknown"})])
def test_a_doubt_says_why(world: World, cause: ImagegenError | None) -> None:
    """The owner reads what was lost; a deadline keeps its own name."""
    job = accepted(world.store, admit(world.store))
    outcome = endings.in_doubt(job, cause, 0.0, world.services)
    assert isinstance(outcome, Finish)
    wanted = "DEADLINE_EXCEEDED" if isinstance(cause, DeadlineExceeded) else "SUBMISSION_UNKNOWN"
    assert (outcome.job.error_code, outcome.job.billed) == (wanted, "unknown")
    assert cause is None or cause.message in (outcome.job.error_message or "")


@pytest.mark.parametrize(
    ("before", "error", "after"),
    [
        ("yes", ContentRefused("x"), "yes"),
        ("unknown", ContentRefused("x"), "unknown"),
        ("no", ContentRefused("x"), "no"),
        ("unknown", ContentRefused("x", {"billed": "yes"}), "yes"),
    ],
)
def test_the_worst_that_is_known_of_the_charges_is_told(
    world: World, before: Billed, error: ImagegenError, after: Billed
) -> None:
    """A free end never hides an earlier charge or doubt."""
    outcome = endings.fail(admit(world.store, billed=before), error, world.services)
    assert isinstance(outcome, Finish)
    assert outcome.job.billed == after


def test_an_end_decided_on_an_old_look_finds_nothing(world: World) -> None:
    """The job moved on since it was read: nothing ends, nothing is told."""
    job = admit(world.store)
    claimed(world.store, job)
    assert isinstance(endings.fail(job, DeadlineExceeded("x"), world.services), Lost)
    assert world.heard.documents == {}


def test_a_redis_that_is_away_is_no_failure(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The end stands, the log says that its announcement waits, and of which job."""
    job = admit(world.store)
    world.redis.go_away(5)
    with caplog.at_level(logging.WARNING):
        assert isinstance(endings.fail(job, ContentRefused("x"), world.services), Finish)
    assert str(job.id) in caplog.text


@pytest.mark.parametrize("stage", [Stage.DOWNLOAD, Stage.UPLOAD, Stage.RECONCILE])
def test_a_paid_picture_is_never_overdue(world: World, stage: Stage) -> None:
    """Whatever its deadline: its transfer or its reconciliation ends it."""
    job = new_job(status=Status.UPLOADING, stage=stage, deadline_at=world.clock.now())
    assert not endings.overdue(job, world.services)


def test_patience_has_an_end(world: World) -> None:
    """Ninety seconds of trying, with growing pauses, and then the error itself."""
    tries = []

    def away() -> None:
        tries.append(world.clock.monotonic())
        raise PartUnavailable("away")

    with pytest.raises(PartUnavailable):
        patiently(away, world.clock)
    assert 80 < tries[-1] < 90
    assert len(tries) < 30


def test_only_a_part_that_is_away_is_waited_for(world: World) -> None:
    """Any other error is the caller's at once."""

    def broken() -> None:
        raise ValueError("wrong move")

    with pytest.raises(ValueError, match="wrong move"):
        patiently(broken, world.clock)
    assert world.clock.monotonic() == 0


def test_a_fact_needs_an_attempt() -> None:
    """A job that never bought anything has nothing to be told of."""
    with pytest.raises(ValueError, match="no attempt"):
        facts_of(new_job(), "failed")


def at_stage(status: Status, stage: Stage) -> Job:
    return new_job(status=status, stage=stage, claim=new_job().id)


def test_who_guards_a_move(world: World) -> None:
    """Before and after the purchase the claim does; an answer to a paid call only its attempt and status."""
    processing = at_stage(Status.PROCESSING, Stage.GENERATE)
    buying, asked = at_stage(Status.GENERATING, Stage.GENERATE), at_stage(Status.GENERATING, Stage.POLL)
    uploading = at_stage(Status.UPLOADING, Stage.UPLOAD)

    def guards(job: Job) -> tuple[object, object]:
        made = recording.move(job, MoveName.FAIL, world.services, cause="x")
        return made.held, made.seen

    assert guards(processing) == (processing.claim, (Status.PROCESSING, Stage.GENERATE))
    assert guards(buying) == (None, (Status.GENERATING, None))
    assert guards(asked) == (None, (Status.GENERATING, Stage.POLL))
    assert guards(uploading) == (uploading.claim, (Status.UPLOADING, Stage.UPLOAD))
    assert recording.move(buying, MoveName.ACCEPT, world.services, cause="x").seen is None
