"""The HTTP door of a running system: what is accepted is drawn, once, for its owner."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import requests

from imagegen.cli.token import mint_here
from tests.acceptance.system import System, until, words
from tests.drawings import a_file

SMALL = {"width": 512, "height": 512}


class Caller:
    """An owner with its token."""

    def __init__(self, system: System, owner: str, service: bool = False) -> None:
        self.url = system.run.instance.addresses["api"]
        token = mint_here(system.settings, owner, service=service, ttl=timedelta(hours=1))
        self.headers = {"Authorization": f"Bearer {token}"}

    def get(self, path: str, **query: Any) -> requests.Response:
        return requests.get(self.url + path, params=query, headers=self.headers, timeout=30)

    def post(self, path: str, json: Any = None, timeout: float = 90, **headers: str) -> requests.Response:
        told = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return requests.post(self.url + path, json=json, headers=told, timeout=timeout)

    def ended(self, path: str) -> Any:
        """The document at this path, once it says that all is done."""
        over = {"completed", "failed", "cancelled", "partial"}
        return until(lambda: (found := self.get(path).json())["status"] in over and found, 60)


@pytest.fixture
def ada(system: System) -> Caller:
    """An owner of the session's system."""
    return Caller(system, "ada")


@pytest.mark.parametrize("provider", ["nanobanana", "gemini"])
def test_what_is_accepted_is_drawn_and_charged_once(system: System, ada: Caller, provider: str) -> None:
    """202, then completed at its Location, its picture at its public address; the same key again is the same job."""
    asked = {"prompt": words("a fox"), "provider": provider, **SMALL}
    key = words("order")
    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda _: ada.post("/api/images/generate", asked, Idempotency_Key=key), range(4)))
    assert {reply.status_code for reply in replies} == {202}
    (location,) = {reply.headers["Location"] for reply in replies}
    job = ada.ended(location)
    assert (job["status"], job["owner"], job["billed"]) == ("completed", "ada", "yes")
    picture = requests.get(job["publicUrl"], timeout=10)
    assert (picture.status_code, picture.headers["Content-Type"]) == (200, "image/png")
    assert ada.post("/api/images/generate", asked, Idempotency_Key=key).json()["status"] == "completed"
    assert ada.post("/api/images/generate", {**asked, "seed": 3}, Idempotency_Key=key).status_code == 409
    assert len(system.charges(asked["prompt"])) == 1


def test_who_waits_gets_a_batch_in_one_answer(system: System, ada: Caller) -> None:
    """`Prefer: wait` answers 200 with the closed batch; two charges; the owner's list has it, nobody else's does."""
    about = words("the crew")
    asked = {"characters": [{"name": "Mara"}, {"name": "Tom"}], "prompt": about, "provider": "gemini", **SMALL}
    reply = ada.post("/api/images/batches", asked, Prefer="wait=60")
    batch = reply.json()
    assert (reply.status_code, batch["status"], len(batch["jobs"])) == (200, "completed", 2)
    assert len(system.charges(about)) == 2
    assert batch["batchId"] in [one["batchId"] for one in ada.get("/api/images/batches").json()["items"]]
    bob, service = Caller(system, "bob"), Caller(system, "shop", service=True)
    assert bob.get(f"/api/images/batches/{batch['batchId']}").status_code == 404
    assert bob.get("/api/images/jobs").json()["items"] == []
    assert service.get(f"/api/images/batches/{batch['batchId']}").status_code == 200


def test_a_scheduled_job_is_cancelled_and_a_failed_one_goes_on(system: System, ada: Caller) -> None:
    """Cancelled before it cost anything; one whose provider failed for nothing goes on and is charged once."""
    later = ada.post("/api/images/generate", {"prompt": words("later"), "scheduledAt": "2030-01-01T00:00:00Z"}).json()
    reply = ada.post(f"/api/images/jobs/{later['jobId']}/cancel")
    assert (reply.status_code, reply.json()["status"], reply.json()["billed"]) == (200, "cancelled", "no")
    system.emulator.fault("no_credit", times=1, provider="nanobanana")
    asked = {"prompt": words("a lighthouse"), "provider": "nanobanana", **SMALL}
    path = ada.post("/api/images/generate", asked).headers["Location"]
    assert ada.ended(path)["status"] == "failed"
    assert ada.post(f"{path}/retry").status_code == 202
    assert ada.ended(path)["status"] == "completed"
    assert len(system.charges(asked["prompt"])) == 1
    assert system.moves(UUID(later["jobId"])) == ["admit", "cancel"]


def test_a_stored_picture_is_sent_along(system: System, ada: Caller) -> None:
    """A picture stored over HTTP is a reference of the next request."""
    told = {**ada.headers, "Content-Type": "image/png"}
    stored = requests.post(f"{ada.url}/api/images/inputs", a_file("PNG"), headers=told, timeout=10)
    assert stored.status_code == 201
    asked = {
        "prompt": words("the same hat"),
        "provider": "gemini",
        **SMALL,
        "referenceImages": [stored.json()["input"]],
    }
    assert ada.post("/api/images/generate", asked, Prefer="wait=60").json()["status"] == "completed"


def test_a_running_system_is_ready(ada: Caller) -> None:
    """Health and readiness need no token; everything of the API does."""
    assert requests.get(f"{ada.url}/ready", timeout=10).json() == {"status": "ready"}
    assert requests.get(f"{ada.url}/health", timeout=10).status_code == 200
    assert requests.get(f"{ada.url}/api/images/jobs", timeout=10).status_code == 401


def test_the_token_command_opens_the_door(system: System, ada: Caller) -> None:
    """`imagegen token` finds the running system's secret."""
    told = system.cli("token", "--owner", "carol")
    assert told.code == 0, told
    headers = {"Authorization": f"Bearer {told.out.strip()}"}
    assert requests.get(f"{ada.url}/api/images/jobs", headers=headers, timeout=10).json()["items"] == []
