"""Cancel and retry on a running system: the truth about charges, and no picture bought twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from imagegen.client import Batch, Conflict, Job, NotFound, PurchaseNeeded
from imagegen.states import Stage, Status
from tests.acceptance.system import System, sender, until, words

SMALL: dict[str, Any] = {"width": 128, "height": 128}
"""Cheap to draw and to publish."""


@pytest.fixture(autouse=True)
def _no_charge_is_left_out(system: System) -> Iterator[None]:
    """Whatever a test bought, each prompt was charged at most once."""
    yield
    charged = [charge["prompt"] for charge in system.charges()]
    assert len(charged) == len(set(charged))


def ledger(system: System, job: Job) -> list[str]:
    """The kinds of the job's ledger lines, in order."""
    rows = system.sql("SELECT kind FROM imagegen_ledger WHERE job_id = %s ORDER BY id", str(job.id))
    return [kind for (kind,) in rows]


def stands_at(system: System, job: Job, stage: Stage) -> None:
    """Waits until the job's paid call is under way, or its order drawn."""

    def there() -> bool:
        rows = system.sql("SELECT status, stage FROM image_generation_jobs WHERE id = %s", str(job.id))
        return rows == [(Status.GENERATING, stage)]

    until(there)


def finished(system: System, **fields: Any) -> Job:
    return system.client.wait(system.client.generate(**SMALL, **fields), timeout=30)


def test_a_scheduled_job_is_cancelled_for_nothing(system: System) -> None:
    """Not bought yet: cancelled at once, not charged, whoever waits is told; again is fine, another's is unknown."""
    job = system.client.generate(words("a heron"), scheduled_at=datetime.now(UTC) + timedelta(hours=1), owner="ada")
    with pytest.raises(NotFound):
        system.client.cancel(uuid4())
    ended = system.client.cancel(job)
    assert (ended.status, ended.billed, ended.cost.actual) == ("cancelled", "no", 0.0)
    assert system.client.wait(job, timeout=10).status == "cancelled"
    assert system.client.cancel(job).status == "cancelled"
    for command in (system.client.cancel, system.client.retry):
        with pytest.raises(NotFound, match=str(job.id)):
            command(job.id, owner="bob")
    assert (system.charges(), ledger(system, job)) == ([], [])


def test_a_job_whose_provider_draws_is_cancelled_as_charged(system: System) -> None:
    """Ordered and never ready: cancelled, billed yes, its price waste; the provider charged once."""
    system.emulator.fault("stuck", provider="nanobanana")
    job = system.client.generate(words("a slow heron"), provider="nanobanana")
    stands_at(system, job, Stage.POLL)
    told = system.cli("cancel", str(job.id))
    assert told.code == 0
    ended = system.client.wait(job, timeout=10)
    assert (ended.status, ended.billed) == ("cancelled", "yes")
    assert ended.cost.waste == ended.cost.estimated
    assert f"{job.id}  cancelled, charged ${ended.cost.waste:.2f}" in told.out
    assert (ledger(system, job), len(system.charges())) == (["reserve", "waste"], 1)


def test_a_job_being_bought_ends_when_its_call_is_answered(system: System) -> None:
    """Told that its paid call is under way; then cancelled and charged, and the next request gets its picture free."""
    system.emulator.fault("hang", provider="gemini", seconds=1.5, times=1)
    prompt = words("a heron at dawn")
    job = system.client.generate(prompt, provider="gemini", **SMALL)
    stands_at(system, job, Stage.GENERATE)
    assert system.client.cancel(job).status == "generating"
    ended = system.client.wait(job, timeout=20)
    assert (ended.status, ended.billed, ledger(system, job)) == ("cancelled", "yes", ["reserve", "waste"])
    assert system.moves(job.id)[-2:] == ["stop", "cancel"]
    until(lambda: system.sql("SELECT 1 FROM imagegen_cache c JOIN image_generation_jobs j USING (fingerprint) "
                             "WHERE j.id = %s", str(job.id)))  # fmt: skip
    again = finished(system, prompt=prompt, provider="gemini")
    assert (again.status, again.cache_hit, again.cost.actual) == ("completed", True, 0.0)
    assert len(system.charges()) == 1


def test_what_has_ended_is_neither_cancelled_nor_continued(system: System) -> None:
    """A completed job stays as it is, and the error says so."""
    job = finished(system, prompt=words("a done heron"))
    for command in (system.client.cancel, system.client.retry):
        with pytest.raises(Conflict, match="completed"):
            command(job)
    told = system.cli("cancel", str(job.id), "--json")
    assert (told.code, told.json["items"][0]["refusal"]["code"]) == (1, "CONFLICT")
    assert system.client.get(job) == job


def test_a_failed_download_is_continued_for_nothing(system: System) -> None:
    """Two bad files end the job; its retry gets the third, is not charged again, and replaces the document."""
    system.emulator.fault("html_file", provider="nanobanana", downloads=2)
    job = finished(system, prompt=words("a torn heron"), provider="nanobanana")
    assert job.error is not None
    assert (job.status, job.error.failure_stage) == ("failed", "downloading")
    forecast = system.cli("retry", str(job.id), "--dry-run", "--json").json
    assert (forecast["count"], forecast["dollars"], forecast["items"][0]["needsBuy"]) == (1, 0, False)
    going = system.client.retry(job)
    assert (going.run, going.error) == (2, None)
    done = system.client.wait(job, timeout=30)
    assert (done.status, done.run, done.attempts, done.billed) == ("completed", 2, 1, "yes")
    assert ledger(system, job) == ["reserve", "waste", "settle"]
    assert len(system.charges()) == 1


def test_a_doubtful_charge_is_repeated_only_on_the_owner_s_word(system: System) -> None:
    """Its answer was lost after charging: refused with dollars and remedy, by client and command; nothing is bought."""
    system.emulator.fault("lost_answer", provider="gemini", times=1)
    job = finished(system, prompt=words("a lost heron"), provider="gemini")
    with pytest.raises(PurchaseNeeded, match="--buy") as caught:
        system.client.retry(job)
    assert float(caught.value.details["dollars"]) == job.cost.estimated
    told = system.cli("retry", str(job.id))
    assert (told.code, "not retried: " in told.out, "--buy" in told.out) == (1, True, True)
    assert system.client.get(job) == job
    assert len(system.charges()) == 1


def test_a_message_that_comes_again_begins_one_run(system: System) -> None:
    """A retry is delivered twice, the second time when its run has failed too: the document, and no third run."""
    heron = words("a twice refused heron")
    system.emulator.fault("refusal", provider="nanobanana", prompt_contains=heron, times=2)
    job = finished(system, prompt=heron, provider="nanobanana")
    command, asked, wire = uuid4(), {"id": str(job.id), "owner": job.owner, "buy": True}, system.client._wire
    wire.command("imagegen.retry", command, asked)
    until(lambda: (wire.finished(job.id) or {}).get("run") == 2)
    wire.command("imagegen.retry", command, asked)
    until(lambda: (wire.finished(command) or {}).get("status") == "failed")
    assert (wire.finished(command) or {})["run"] == 2
    assert (system.client.get(job).run, system.charges()) == (2, [])


def test_of_a_batch_the_failed_member_alone_is_bought(system: System) -> None:
    """One of three was refused: the retry buys that one, leaves the others alone, and the batch ends completed."""
    cast = [words("Ada"), words("Bo"), words("Cy")]
    system.emulator.fault("refusal", provider="nanobanana", prompt_contains=cast[1], times=1)
    batch = system.client.batch(cast, provider="nanobanana", fresh=True, **SMALL)
    partial = system.client.wait(batch, timeout=30)
    assert (partial.status, [job.status for job in partial.jobs]) == ("partial", ["completed", "failed", "completed"])
    opened = system.client.retry(batch)
    assert (opened.status, [job.run for job in opened.jobs]) == ("running", [1, 2, 1])
    whole = system.client.wait(batch, timeout=30)
    assert isinstance(whole, Batch)
    assert (whole.status, [job.attempts for job in whole.jobs]) == ("completed", [1, 2, 1])
    assert [whole.jobs[at] for at in (0, 2)] == [partial.jobs[at] for at in (0, 2)]
    assert [len(system.charges(name)) for name in cast] == [1, 1, 1]


def test_commands_choose_by_filter(system: System) -> None:
    """All waiting jobs of a project: counted first, then cancelled; both ids and filters are wrong usage."""
    project = words("p").replace(" ", "-")
    later = datetime.now(UTC) + timedelta(hours=1)
    jobs = [system.client.generate(words("x"), scheduled_at=later, project_id=project) for _ in range(3)]
    until(lambda: len(system.sql("SELECT id FROM image_generation_jobs WHERE project_id = %s", project)) == 3)
    assert system.cli("cancel", "--project", project, "--dry-run", "--json").json["count"] == 3
    assert system.cli("cancel", str(jobs[0].id), "--project", project).code == 2
    told = system.cli("cancel", "--project", project, "--json")
    assert (told.code, {one["status"] for one in told.json["items"]}) == (0, {"cancelled"})
    assert {one["jobId"] for one in told.json["items"]} == {str(job.id) for job in jobs}


def test_a_repeated_key_under_a_new_task_id_gets_the_first_job_s_document(system: System) -> None:
    """While the first job is on its way, and when it has ended: one job, one charge, its document under each id."""
    system.emulator.fault("hang", provider="gemini", seconds=1.0, times=1)
    request = {"prompt": words("a twin heron"), "provider": "gemini", "idempotencyKey": uuid4().hex, **SMALL}
    first, early, late = uuid4(), uuid4(), uuid4()

    def send(identity: UUID, body: dict[str, Any], task: str = "imagegen.generate_image") -> Any:
        app.send_task(task, queue=namespace, task_id=str(identity), kwargs={"request": body}, ignore_result=True)
        return system.client.wait(identity, timeout=30)

    with sender(system) as app:
        namespace = system.settings.namespace
        app.send_task(
            "imagegen.generate_image", queue=namespace, task_id=str(first), kwargs={"request": request},
            ignore_result=True,
        )  # fmt: skip
        until(lambda: system.sql("SELECT 1 FROM image_generation_jobs WHERE id = %s", str(first)))
        documents = [send(early, request), system.client.wait(first, timeout=10), send(late, request)]
        assert [(one.job_id, one.status) for one in documents] == [(first, "completed")] * 3
        pair = {"characters": [{"name": words("Ada")}], "idempotencyKey": uuid4().hex, **SMALL}
        batches = [send(uuid4(), pair, "imagegen.generate_batch") for _ in range(2)]
    assert batches[0] == batches[1]
    assert batches[0].status == "completed"
    assert len(system.charges(request["prompt"])) == 1
    assert len(system.charges()) == 2
