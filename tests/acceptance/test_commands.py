"""The commands against a running system: what they print, how they exit, and what they cost."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery

from imagegen.client import Job
from imagegen.policies import RATE_LIMITS
from tests.acceptance.system import IMAGEGEN, ROOT, System, Told, cli, until, words
from tests.acceptance.together import all_of, together, written

CAPSULE = {"name": "lamp-noir", "modifiers": ["heavy brush blacks"], "palette": ["amber #F2A33A"], "avoid": ["text"]}
JOB_KEYS = [
    "jobId",
    "batchId",
    "index",
    "status",
    "stage",
    "progress",
    "waitingFor",
    "jobType",
    "projectId",
    "branchId",
    "sceneId",
    "shotId",
    "assetId",
    "character",
    "owner",
    "prompt",
    "sentPrompt",
    "style",
    "visualStyleCapsuleId",
    "provider",
    "model",
    "tried",
    "width",
    "height",
    "publicUrl",
    "thumbnailUrl",
    "sha256",
    "contentType",
    "bytes",
    "placeholder",
    "emulated",
    "cacheHit",
    "cost",
    "billed",
    "attempts",
    "run",
    "priority",
    "createdAt",
    "updatedAt",
    "startedAt",
    "completedAt",
    "scheduledAt",
    "erasedAt",
    "error",
    "metadata",
]
BATCH_KEYS = ["batchId", "status", "jobs", "cost", "createdAt", "completedAt"]


def finished(system: System, **fields: Any) -> Job:
    return system.client.wait(system.client.generate(**fields), timeout=60)


def test_submit_and_batch_wait_for_the_end_and_say_how_it_went(system: System, tmp_path: Path) -> None:
    """Completed exits 0, failed and partial 1; --json is one document with every key; three pictures, three charges."""
    good, bad = words("a lamp"), words("a forbidden lamp")
    system.emulator.fault("refusal", prompt_contains=bad)
    mixed = written(tmp_path / "mixed.json", {"requests": [{"prompt": f"{good} at noon"}, {"prompt": bad}]})
    told = together(
        system,
        {
            "good": ("submit", good, "--provider", "gemini", "--metadata", "scene=7", "--wait", "--json"),
            "bad": ("submit", bad, "--wait", "--json"),
            "partial": ("batch", mixed, "--wait", "--json"),
            "accepted": ("submit", f"{good} at dusk", "--json"),
        },
    )
    assert {name: one.code for name, one in told.items()} == {"good": 0, "bad": 1, "partial": 1, "accepted": 0}
    job = told["good"].json
    assert list(job) == JOB_KEYS
    assert (job["status"], job["provider"], job["metadata"]) == ("completed", "gemini", {"scene": 7})
    assert list(job["cost"]) == ["estimated", "actual", "waste", "uncertain", "currency"]
    refused = told["bad"].json["error"]
    assert list(refused) == ["code", "message", "failureStage", "retryable", "billed"]
    assert (refused["code"], refused["billed"]) == ("CONTENT_REFUSED", "no")
    batch = told["partial"].json
    assert list(batch) == BATCH_KEYS
    assert (batch["status"], [one["status"] for one in batch["jobs"]]) == ("partial", ["completed", "failed"])
    assert [list(one) for one in batch["jobs"]] == [JOB_KEYS] * 2
    accepted = told["accepted"].json
    assert (list(accepted), accepted["status"]) == (JOB_KEYS, "queued")
    assert system.client.wait(accepted["jobId"], timeout=60).ok
    assert len(system.charges(good)) == 3
    assert len(system.charges()) == 3


def test_a_key_names_one_job(system: System) -> None:
    """The same key and request give the same job; with another request exit 5 and no second job; one charge."""
    prompt = words("a keyed lamp")
    key = ("--idempotency-key", words("key"), "--json")
    first = system.cli("submit", prompt, *key)
    told = together(system, {"same": ("submit", prompt, "--wait", *key), "other": ("submit", f"{prompt}!", *key)})
    assert (told["same"].code, told["same"].json["jobId"]) == (0, first.json["jobId"])
    assert (told["other"].code, told["other"].json["error"]["code"]) == (5, "IDEMPOTENCY_CONFLICT")
    assert system.sql("SELECT count(*) FROM image_generation_jobs WHERE prompt LIKE %s", f"{prompt}%") == [(1,)]
    assert len(system.charges()) == 1


def test_leaving_a_wait_leaves_the_job_alone(system: System) -> None:
    """--timeout exits 4 and Ctrl-C 130; both say how to watch on; both jobs complete, with one charge each."""
    prompt = words("a slow lamp")
    slow = ("submit", f"{prompt} by timeout", "--at", "5s", "--wait", "--timeout", "1s", "--json")
    waiting = ("submit", f"{prompt} by Ctrl-C", "--at", "5s", "--wait")
    told = all_of({"timeout": lambda: system.cli(*slow), "Ctrl-C": lambda: interrupted(system, waiting)})
    assert (told["timeout"].code, told["timeout"].json["status"]) == (4, "queued")
    assert told["Ctrl-C"].code == 130
    for name, goes_on in {"timeout": "is still running", "Ctrl-C": "goes on without you"}.items():
        identity = system.sql("SELECT id FROM image_generation_jobs WHERE prompt = %s", f"{prompt} by {name}")[0][0]
        assert f"{identity} {goes_on}. Watch it: imagegen watch {identity}" in told[name].err
        assert system.client.wait(identity, timeout=60).ok
    assert len(system.charges()) == 2


def interrupted(system: System, command: Sequence[str]) -> Told:
    """What a waiting command tells when Ctrl-C comes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("IMAGEGEN_")}
    with subprocess.Popen(
        [str(IMAGEGEN), *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**kept, "IMAGEGEN_HOME": str(system.home)}, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            asked = "SELECT 1 FROM image_generation_jobs WHERE prompt = %s"
            until(lambda: system.sql(asked, command[1]))
            # The command has written the row; the wait itself begins with its first line.
            assert process.stderr is not None
            first = process.stderr.readline()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    return Told(subprocess.CompletedProcess(command, process.returncode, out, first + err))


def test_show_watch_and_list_tell_what_became_of_jobs(system: System) -> None:
    """Documents with history, exit codes of `watch`, lists by filter and page by page; reading costs nothing more."""
    project, prompt = words("p").replace(" ", "-"), words("a lantern")
    system.emulator.fault("refusal", prompt_contains="forbidden")
    prompts = {"good": prompt, "bad": f"{prompt} forbidden", "other": f"{prompt} by the sea"}
    sent = {name: system.client.generate(text, project_id=project) for name, text in prompts.items()}
    jobs = {name: system.client.wait(job, timeout=60) for name, job in sent.items()}
    good, bad = str(jobs["good"].id), str(jobs["bad"].id)
    mine = ("list", "--project", project, "--json")
    told = together(
        system,
        {
            "show": ("show", good, "--history", "--json"),
            "lines": ("show", good, "--history"),
            "unknown": ("show", str(uuid4())),
            "no id": ("show", "seven"),
            "watch good": ("watch", good),
            "watch bad": ("watch", bad, "--json"),
            "failed": (*mine, "--status", "failed", "--code", "CONTENT_REFUSED", "--since", "10m"),
            "page": (*mine, "--limit", "2"),
            "nothing": ("list", "--project", f"{project}-none"),
            "wrong cursor": ("list", "--cursor", "x"),
        },
    )
    wrong = {"unknown": 2, "no id": 2, "watch bad": 1, "wrong cursor": 2}
    assert {name: one.code for name, one in told.items()} == {name: wrong.get(name, 0) for name in told}
    shown = told["show"].json
    assert list(shown) == [*JOB_KEYS, "history"]
    moves = [event["move"] for event in shown["history"]]
    assert moves == system.moves(good)
    assert moves[-1] == "complete"
    assert all(f"{move}: " in told["lines"].out for move in moves)
    assert "no job or batch has the id" in told["unknown"].err
    assert f"completed {good}" in told["watch good"].out
    assert told["watch bad"].json["error"]["code"] == "CONTENT_REFUSED"
    assert [one["jobId"] for one in told["failed"].json["items"]] == [bad]
    page = told["page"].json
    assert list(page) == ["items", "nextCursor"]
    rest = system.cli(*mine, "--limit", "2", "--cursor", page["nextCursor"]).json
    listed = [one["jobId"] for one in page["items"] + rest["items"]]
    newest = sorted(jobs.values(), key=lambda job: (str(job.created_at), str(job.id)), reverse=True)
    assert listed == [str(job.id) for job in newest]
    assert (rest["nextCursor"], [list(one) for one in rest["items"]]) == (None, [JOB_KEYS])
    assert told["nothing"].out == "no jobs\n"
    assert len(system.charges()) == 2


def test_a_stored_style_shapes_the_pictures_that_name_it(system: System, tmp_path: Path) -> None:
    """`styles put` stores a capsule, `list` and `show` have it, a request names it by its id; one charge."""
    style, prompt = words("style").replace(" ", "-"), words("a lamp post")
    put = system.cli("styles", "put", style, written(tmp_path / "capsule.json", CAPSULE), "--json")
    assert (put.code, put.json["id"], put.json["modifiers"]) == (0, style, CAPSULE["modifiers"])
    told = together(
        system,
        {
            "list": ("styles", "list", "--json"),
            "show": ("styles", "show", style),
            "none": ("styles", "show", "none"),
            "submit": ("submit", prompt, "--style", style, "--wait", "--json"),
            "unknown": ("submit", prompt, "--style", "none"),
        },
    )
    assert {name: one.code for name, one in told.items()} == {
        "list": 0,
        "show": 0,
        "none": 2,
        "submit": 0,
        "unknown": 2,
    }
    assert style in [one["id"] for one in told["list"].json["items"]]
    assert "modifiers: heavy brush blacks" in told["show"].out
    job = told["submit"].json
    assert (job["visualStyleCapsuleId"], job["style"]) == (style, {"name": "lamp-noir", "sha256": put.json["sha256"]})
    assert "heavy brush blacks" in job["sentPrompt"]
    assert "visualStyleCapsuleId: there is no style 'none'" in told["unknown"].err
    assert [charge["prompt"] for charge in system.charges()] == [job["sentPrompt"]]


def test_a_dry_run_tells_the_price_and_buys_nothing(system: System) -> None:
    """Model, size and price of a new request, nothing to pay for a cached one; only the picture itself was charged."""
    prompt = words("a lighthouse lens")
    job = finished(system, prompt=prompt)
    before = system.sql("SELECT count(*) FROM image_generation_jobs")
    told = together(
        system,
        {
            "new": ("submit", f"{prompt} again", "--dry-run", "--json"),
            "cached": ("submit", prompt, "--dry-run", "--json"),
            "lines": ("submit", prompt, "--dry-run"),
        },
    )
    assert [one.code for one in told.values()] == [0, 0, 0]
    new, cached = told["new"].json, told["cached"].json
    assert (new["dryRun"], new["cacheHit"], new["model"], new["width"]) == (True, False, job.model, 1920)
    assert new["cost"]["high"] == job.cost.estimated
    assert new["expectedSeconds"]["p95"] > 0
    assert (cached["cacheHit"], cached["cost"]["high"], cached["budget"]["admitted"]) == (True, 0, True)
    assert "in the cache" in told["lines"].out
    assert system.sql("SELECT count(*) FROM image_generation_jobs") == before
    assert len(system.charges()) == 1


def test_providers_and_settings_are_told_without_secrets(system: System) -> None:
    """Who sells what, breakers and balances; every setting with its source, secrets masked; no charge."""
    secret = "sk-very-secret"
    configured = {
        "GEMINI_API_KEY": secret, "IMAGEGEN_JWT_SECRET": secret, "FAL_KEY": secret,
        "IMAGEGEN_DATABASE_URL": f"postgresql://me:{secret}@db/pictures", "IMAGEGEN_REDIS_URL": f"redis://:{secret}@r/0",
    }  # fmt: skip
    told = all_of(
        {
            "providers": lambda: system.cli("providers", "--json"),
            "credit": lambda: system.cli("providers", "--credit"),
            "config": lambda: system.cli("config", env=configured),
            "config json": lambda: system.cli("config", "--json", env=configured),
        }
    )
    assert [one.code for one in told.values()] == [0, 0, 0, 0]
    sellers = {one["provider"]: one for one in told["providers"].json["items"]}
    assert list(sellers) == ["nanobanana", "gemini", "fal", "replicate", "kie"]
    assert [name for name, one in sellers.items() if one["configured"]] == ["nanobanana", "gemini"]
    assert sellers["gemini"]["breaker"] == {"submit": "closed", "poll": "closed"}
    assert "credit" in told["credit"].out
    assert secret not in told["config"].out + told["config json"].out + told["config"].err
    rows = {row["name"]: row for row in told["config json"].json["items"]}
    assert (rows["IMAGEGEN_HOME"]["value"], rows["IMAGEGEN_HOME"]["source"]) == (str(system.home), "environment")
    assert system.charges() == []


def test_migrations_and_bucket_say_what_there_is_to_do(system: System, database_url: str) -> None:
    """Up to date here, pending on an empty database; a folder needs no bucket and says so; no charge."""
    empty = {"IMAGEGEN_DATABASE_URL": database_url, "IMAGEGEN_ENV": "development", "USE_REAL_IMAGE": "false"}
    told = all_of(
        {
            "check": lambda: system.cli("migrate", "--check"),
            "upgrade": lambda: system.cli("migrate", "--json"),
            "empty check": lambda: system.cli("migrate", "--check", "--json", env=empty),
            "empty sql": lambda: system.cli("migrate", "--sql", env=empty),
            "bucket": lambda: system.cli("bucket"),
            "bucket public": lambda: system.cli("bucket", "--public"),
        }
    )
    wrong = {"empty check": 1, "bucket": 2, "bucket public": 2}
    assert {name: one.code for name, one in told.items()} == {name: wrong.get(name, 0) for name in told}
    assert told["check"].out == "up to date\n"
    assert told["upgrade"].json == {"migrated": False}
    assert told["empty check"].json == {"pending": True}
    assert "CREATE TABLE image_generation_jobs" in told["empty sql"].out
    for name in ("bucket", "bucket public"):
        assert "IMAGEGEN_STORAGE_URL: is the folder" in told[name].err
        assert str(system.home / "storage") in told[name].err
    assert system.charges() == []


def test_celery_s_own_command_line_operates_it(system: System) -> None:
    """`celery -A tasks imagegen …` does what `imagegen …` does; `inspect` sees every worker and task; no charge."""
    told = all_of(
        {
            "list": lambda: system.celery("imagegen", "list", "--limit", "1", "--json"),
            "wrong": lambda: system.celery("imagegen", "submit", "a fox", "--width", "0", "--height", "0"),
            "ping": lambda: system.celery("inspect", "ping"),
            "registered": lambda: system.celery("inspect", "registered"),
        }
    )
    assert {name: one.code for name, one in told.items()} == {"list": 0, "wrong": 2, "ping": 0, "registered": 0}, told
    assert list(told["list"].json) == ["items", "nextCursor"]
    assert "width: " in told["wrong"].err
    for worker in ("generate", "poll", "transfer", "housekeeping"):
        assert f"{worker}@" in told["ping"].out
    for task in ("generate_image", "generate_batch", "generate", "poll", "download", "upload", "sweep"):
        assert f"* imagegen.{task}" in told["registered"].out
    assert system.charges() == []


def test_the_pace_changes_at_run_time(system: System) -> None:
    """`control rate_limit` slows the claims of six jobs down and lets the next six run; twelve jobs, twelve charges."""
    told = system.celery("control", "rate_limit", "imagegen.generate", "2/s")
    assert told.code == 0, told
    try:
        slow = claims_of_six(system)
    finally:
        with Celery(broker=system.settings.broker, set_as_current=False) as app:
            app.control.rate_limit("imagegen.generate", RATE_LIMITS["imagegen.generate"], reply=True)
    fast = claims_of_six(system)
    assert slow > 2.0
    assert fast < slow / 2
    assert len(system.charges()) == 12


def claims_of_six(system: System) -> float:
    """Seconds from the first to the last claim of six jobs sent at once."""
    jobs = [system.client.generate(words("a moth"), provider="gemini", width=512, height=512) for _ in range(6)]
    assert all(system.client.wait(job, timeout=60).ok for job in jobs)
    claims = [first_claim(system, job) for job in jobs]
    return (max(claims) - min(claims)).total_seconds()


def first_claim(system: System, job: Job) -> datetime:
    return next(event.at for event in system.jobs.history(job.id) if event.move == "claim")


@pytest.mark.parametrize(
    "command",
    [
        ("submit", "a fox"),
        ("show", str(uuid4())),
        ("list",),
        ("providers",),
        ("styles", "list"),
        ("migrate", "--check"),
    ],
    ids=lambda command: command[0],
)
def test_without_a_running_system_the_folder_is_named(tmp_path: Path, command: tuple[str, ...]) -> None:
    """Where no `up` answers, a command exits 3 and names the folder it looked in; nothing is started there."""
    home = tmp_path / "nobody home"
    told = cli(*command, home=home)
    assert (told.code, told.out) == (3, "")
    assert f"no running imagegen in {home}" in told.err
    assert not home.exists()
