"""Reports, proofs and alerts of a running system: the books balance after real work, and everybody can read them."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import requests
from prometheus_client.parser import text_string_to_metric_families

from imagegen.cli.token import mint_here
from tests.acceptance.system import System, sender, until, words
from tests.acceptance.together import together

REPORTS = (
    "SELECT job_type, count(*), avg(cost_credits), sum(cost_credits), avg(completed_at - created_at)"
    " FROM image_generation_jobs WHERE project_id = %s GROUP BY job_type",
    "SELECT status, count(*), sum(cost_credits), max(completed_at - started_at)"
    " FROM image_generation_jobs WHERE project_id = %s GROUP BY status ORDER BY status",
    "SELECT failure_stage, error_code, count(*) FROM image_generation_jobs WHERE project_id = %s GROUP BY 1, 2",
    "SELECT provider, model, avg(cost_credits - cost_estimated) FROM image_generation_jobs"
    " WHERE project_id = %s AND public_url IS NOT NULL GROUP BY provider, model",
    "SELECT date_trunc('day', created_at), owner, sum(cost_credits) FROM image_generation_jobs"
    " WHERE project_id = %s GROUP BY 1, 2 HAVING sum(cost_credits) > 0",
)


def test_the_books_balance_after_real_work(system: System) -> None:
    """Completed, cached, failed and cancelled jobs: the doctor is content, costs and users' own queries agree."""
    project, refused, prompt = words("film").replace(" ", "-"), words("a refusal"), words("a fox")
    system.emulator.fault("refusal", prompt_contains=refused, charged=True)
    fields = {"project_id": project, "width": 512, "height": 512, "metadata": {"take": "one"}}
    bought = [system.client.generate(prompt, provider=name, **fields) for name in ("nanobanana", "gemini")]
    batch = system.client.batch(["Ada", "Bo"], **fields)
    no = system.client.generate(refused, provider="gemini", **fields)
    late = system.client.generate(words("later"), scheduled_at="2030-01-01T00:00:00Z", **fields)
    system.client.cancel(late)
    done = [system.client.wait(one, timeout=60) for one in bought]
    assert [one.status for one in done] == ["completed", "completed"]
    assert system.client.wait(batch, timeout=60).ok
    assert system.client.wait(no, timeout=60).status == "failed"
    again = system.client.wait(system.client.generate(prompt, provider="gemini", **fields), timeout=60)
    assert again.cache_hit

    told = together(
        system,
        {
            "doctor": ("doctor", "--json"),
            "costs": ("costs", "--by", "project", "--project", project, "--emulated", "--json"),
            "take": ("costs", "--by", "metadata.take", "--project", project, "--emulated", "--csv"),
            "real": ("costs", "--by", "project", "--project", project, "--json"),
        },
    )
    assert told["doctor"].code == 0, told["doctor"]
    found = told["doctor"].json
    assert found["clean"]
    assert {"no-listing", "other-host"} <= {one["kind"] for one in found["items"]}
    (row,) = told["costs"].json["items"]
    charged = sum(Decimal(one["amount"]) for one in system.charges())
    assert (row["key"], row["jobs"], row["hits"]) == (project, 7, 1)
    known = Decimal(str(row["actual"])) + Decimal(str(row["waste"]))
    # Whether Google bills the prompt of a refused call is not known: its price is uncertain, never forgotten.
    assert known <= charged <= known + Decimal(str(row["uncertain"]))
    assert row["saved"] > 0
    assert told["take"].out.splitlines()[1].startswith("one,7,1,")
    assert told["real"].json["items"] == []
    rows = [system.sql(report, project) for report in REPORTS]
    assert all(rows)
    assert rows[0][0][:2] == ("master_asset", 7)
    assert {(status, count) for status, count, *_ in rows[1]} == {("cancelled", 1), ("completed", 5), ("failed", 1)}


def test_another_service_asks_what_it_would_cost(system: System) -> None:
    """`Client.estimate` over Celery: price, time and room, with nothing written and nothing charged."""
    before = system.sql("SELECT count(*) FROM image_generation_jobs")
    told = system.client.estimate(words("a lighthouse"), provider="nanobanana", width=512, height=512)
    assert (told.provider, told.cache_hit, told.budget.admitted) == ("nanobanana", False, True)
    assert told.cost.high > 0
    assert told.quota.credit is not None
    assert system.sql("SELECT count(*) FROM image_generation_jobs") == before
    assert system.charges() == []


FINAL = (
    "SELECT coalesce(sum(amount), 0) FROM (SELECT DISTINCT ON (attempt_id) kind, amount FROM imagegen_ledger"
    " WHERE kind <> 'reserve' ORDER BY attempt_id, id DESC) final WHERE kind = 'settle'"
)
STANDING = "SELECT count(*) FROM imagegen_alerts WHERE kind = 'budget'"


def metric(system: System, name: str, **labels: str) -> Decimal:
    """The sum of the samples of this name and these labels on the page that Prometheus would read."""
    token = mint_here(system.settings, "prometheus", service=True, ttl=timedelta(hours=1))
    headers = {"Authorization": f"Bearer {token}"}
    page = requests.get(f"{system.run.instance.addresses['api']}/metrics", headers=headers, timeout=30)
    assert page.status_code == 200, page.text
    samples = [one for family in text_string_to_metric_families(page.text) for one in family.samples]
    alike = [one for one in samples if one.name == name and labels.items() <= one.labels.items()]
    return sum((Decimal(str(one.value)) for one in alike), Decimal(0))


def test_a_budget_alerts_once(system: System) -> None:
    """A soft budget that is used up is told by `imagegen alerts`, until it is removed, and counted by `/metrics` for
    good; what was settled is there to the cent."""
    crossed = metric(system, "imagegen_alerts_total", kind="budget")
    project = words("film").replace(" ", "-")
    scope = f"project:{project}"
    told = system.cli("budgets", "set", scope, "0.01", "--period", "total", "--soft")
    assert told.code == 0, told
    job = system.client.generate(words("a fox"), project_id=project, width=512, height=512)
    assert system.client.wait(job, timeout=60).ok

    def raised() -> list[int]:
        items = system.cli("alerts", "--json").json["items"]
        return sorted(one["detail"]["percent"] for one in items if one["detail"].get("scope") == scope)

    def watch() -> None:
        with sender(system) as app:
            app.send_task("imagegen.watch", queue=f"{system.settings.namespace}.housekeeping", ignore_result=True)

    watch()
    assert until(raised) == [50, 80, 100]
    until(lambda: metric(system, "imagegen_alert_active", kind="budget") >= 3)
    until(lambda: metric(system, "imagegen_alerts_total", kind="budget") >= crossed + 3)
    total = metric(system, "imagegen_alerts_total", kind="budget")
    until(lambda: metric(system, "imagegen_spend_dollars", kind="settle") == system.sql(FINAL)[0][0] > 0)
    assert system.cli("budgets", "remove", scope).code == 0
    watch()
    until(lambda: not raised())
    until(lambda: metric(system, "imagegen_alert_active", kind="budget") == system.sql(STANDING)[0][0])
    assert metric(system, "imagegen_alerts_total", kind="budget") >= total


def test_the_doctor_finds_and_repairs(system: System) -> None:
    """A forgotten file is a finding (exit 1) until it is repaired (exit 0); its table says what to do."""
    orphan = Path(urlsplit(system.settings.storage).path) / "blobs" / uuid4().hex
    orphan.parent.mkdir(parents=True, exist_ok=True)
    orphan.write_bytes(b"x")
    long_ago = time.time() - 3 * 24 * 3600
    os.utime(orphan, (long_ago, long_ago))
    told = together(system, {"table": ("doctor",), "json": ("doctor", "--json")})
    assert (told["table"].code, told["json"].code) == (1, 1)
    assert f"blobs/{orphan.name}" in told["table"].out
    assert "the books do not balance (1 warning" in told["table"].out
    assert told["json"].json["items"][0]["repairable"]
    repaired = system.cli("doctor", "--repair")
    assert (repaired.code, orphan.exists()) == (0, False), repaired
    assert f"repaired  orphan-object  blobs/{orphan.name}: deleted" in repaired.out
    assert "the books balance" in repaired.out
