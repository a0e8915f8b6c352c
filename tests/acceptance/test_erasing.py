"""Erasing in a running system: the picture is gone, the books are as they were."""

from __future__ import annotations

from decimal import Decimal

import requests

from tests.acceptance.system import System, words
from tests.acceptance.test_http import SMALL, Caller


def test_an_erased_job_leaves_its_costs(system: System) -> None:
    """Picture and thumbnail answer 404, a tombstone is left; costs and charges are unchanged, the doctor content."""
    ada = Caller(system, words("ada").replace(" ", "-"))
    prompt = words("a fox to forget")
    asked = ada.post("/api/images/generate", {"prompt": prompt, "metadata": {"take": prompt}, **SMALL})
    path = f"/api/images/jobs/{asked.json()['jobId']}"
    done = ada.ended(path)
    addresses = [done["publicUrl"], done["thumbnailUrl"]]
    assert [requests.get(one, timeout=10).status_code for one in addresses] == [200, 200]
    costs = "SELECT kind, amount FROM imagegen_ledger WHERE job_id = %s ORDER BY id"
    before = system.sql(costs, done["jobId"])

    bob = Caller(system, "bob")
    url = system.run.instance.addresses["api"] + path
    assert requests.delete(url, headers=bob.headers, timeout=10).status_code == 404
    assert requests.delete(url, headers=ada.headers, timeout=10).status_code == 204

    assert [requests.get(one, timeout=10).status_code for one in addresses] == [404, 404]
    tombstone = ada.get(path).json()
    assert (tombstone["status"], tombstone["publicUrl"], tombstone["prompt"]) == ("completed", None, None)
    assert (tombstone["cost"], tombstone["completedAt"]) == (done["cost"], done["completedAt"])
    assert tombstone["erasedAt"] is not None
    assert system.sql(costs, done["jobId"]) == before
    for table in ("image_generation_jobs", "imagegen_events", "imagegen_attempts", "imagegen_deliveries"):
        assert system.sql(f"SELECT 1 FROM {table} t WHERE t::text LIKE %s", f"%{prompt}%") == []
    charged = [Decimal(str(one["amount"])) for one in system.charges(prompt)]
    assert charged == [Decimal(str(done["cost"]["actual"]))]
    told = system.cli("doctor", "--json")
    assert not [one for one in told.json["items"] if done["jobId"] in f"{one}"], told
