"""Signed callbacks over HTTP at the served door: what is forged, replayed or altered is refused alike, and counted."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from http.server import ThreadingHTTPServer
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests
from pydantic import SecretStr

from imagegen.api.app import create_app
from imagegen.api.setup import Inbound, Setup
from imagegen.jobs import Job
from imagegen.providers.base import Running
from imagegen.providers.inbound.verifiers import Rules
from imagegen.records import Attempt
from imagegen.states import Stage
from imagegen.transport import NotSentError, Transport
from tests.jobs_kit import PostgresStore
from tests.listening import Listening
from tests.pipeline_doubles import Shop
from tests.pipeline_parts import World
from tests.signing import AUDIENCE, GOOGLE_SECRET, KIE_KEY, REPLICATE_SECRET, SIGNED, Signers, key_server, nanobanana

pytest_plugins = ["tests.stores"]
KINDS = {**SIGNED, "nanobanana": nanobanana}
ROUTES = {"nanobanana": "nano-banana"}
TASK = "task-1"


class Adapter(Shop):
    """A provider by script whose callbacks name the task where kie's do."""

    def callback_task(self, body: Any) -> str | None:
        return body["data"]["taskId"]


@dataclass
class House:
    """The door, and providers with keys of their own behind it."""

    world: World
    url: str
    signers: Signers

    def waiting(self, kind: str) -> tuple[Job, Attempt]:
        """A job that rests until its next poll, and its attempt; its order is `TASK`."""
        provider = kind.partition(" ")[0]
        shop = Adapter(provider, progresses=[Running()])
        shop._well = lambda: replace(Shop._well(shop), provider_job_id=TASK)  # type: ignore[method-assign]
        self.world.services = replace(self.world.services, providers={provider: shop})
        job = self.world.job(provider)
        self.world.chain(job)
        assert self.world.now(job).stage is Stage.POLL
        found = self.world.store.jobs.attempt(self.world.now(job).attempt_id or uuid4())
        assert found is not None
        return self.world.now(job), found

    def post(
        self, kind: str, *, body: bytes | None = None, age: float = 0, attempt: UUID | None = None, token: str = "",
        signed: bytes | None = None, headers: dict[str, str] | None = None,
    ) -> requests.Response:  # fmt: skip
        """A callback that was signed `age` seconds ago over `signed` (by default over what it carries)."""
        sent = body_of() if body is None else body
        when = self.world.clock.now() - timedelta(seconds=age)
        told = KINDS[kind](self.signers, sent if signed is None else signed, when) if headers is None else headers
        provider = kind.partition(" ")[0]
        query = {} if attempt is None else {"attempt": str(attempt), "token": token}
        address = f"{self.url}/api/webhooks/{ROUTES.get(provider, provider)}"
        return requests.post(address, params=query, data=sent, headers=told, timeout=10)

    def counted(self, kind: str) -> dict[str, int]:
        """What callbacks of this provider came to."""
        tallies = self.world.store.callbacks.tallies(at=self.world.clock.now())
        return {one.outcome: one.week for one in tallies if one.provider == kind.partition(" ")[0]}


def body_of(task: str = TASK) -> bytes:
    return json.dumps({"data": {"taskId": task}}).encode()


@contextmanager
def serving_keys(signers: Signers) -> Iterator[str]:
    """The key sets on a free loopback port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), key_server(signers))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def house(postgres: PostgresStore) -> Iterator[House]:
    """The served door with every provider's secrets, and their public keys over HTTP."""
    world, signers = World(postgres), Signers()
    with serving_keys(signers) as keys, closing(Transport()) as transport:
        parts: Any = {"transport": transport, "providers": {}}
        world.services = replace(world.services, callback_base_url="https://me.example", **parts)
        rules = Rules(
            kie=SecretStr(KIE_KEY), gemini=(SecretStr(GOOGLE_SECRET),), gemini_url=f"{keys}/google",
            gemini_audience=AUDIENCE, fal_url=f"{keys}/fal", replicate=(SecretStr(REPLICATE_SECRET),),
        )  # fmt: skip
        with Listening(create_app(lambda: world.services, Setup(inbound=Inbound(rules)))) as url:
            yield House(world, url, signers)


@pytest.mark.parametrize("kind", KINDS)
def test_a_genuine_callback_wakes_its_job(house: House, kind: str) -> None:
    """Signed, or of one who signs nothing, with the attempt's token: the job is due; doubled, it is only counted."""
    job, attempt = house.waiting(kind)
    before = house.world.clock.now()
    assert job.next_run_at is not None
    assert job.next_run_at > before
    answers = [house.post(kind, attempt=attempt.id, token=attempt.token) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert house.world.now(job).next_run_at == before
    assert house.counted(kind) == {"woken": 1, "repeated": 2}


@pytest.mark.parametrize("kind", KINDS)
def test_false_callbacks_are_refused_and_counted(house: House, kind: str) -> None:
    """Forged, replayed, altered, unsigned, for an unknown job: one answer for all, nothing moves, each is counted."""
    job, attempt = house.waiting(kind)
    known: dict[str, Any] = {"attempt": attempt.id, "token": attempt.token}
    other = body_of("task-2")
    refused: list[tuple[str, requests.Response]] = [
        ("forged", house.post(kind, attempt=attempt.id, token="0" * 32)),
        ("forged", house.post(kind, body=other, signed=body_of(), **known)),
        ("unknown", house.post(kind, attempt=uuid4(), token=attempt.token)),
    ]
    if kind != "nanobanana":
        forger = House(house.world, house.url, Signers())
        stranger = {name: "1" if "imestamp" not in name else value for name, value in _headers(house, kind).items()}
        refused += [
            ("unsigned", house.post(kind, headers={}, **known)),
            ("forged", house.post(kind, headers=stranger, **known)),
            ("stale", house.post(kind, age=301, **known)),
            ("stale", house.post(kind, age=-301, **known)),
            ("stale", house.post(kind, age=86400, **known)),
        ]
        if kind in {"fal"}:
            refused.append(("forged", forger.post(kind, **known)))
    assert {(answer.status_code, answer.content) for _, answer in refused} == {(404, refused[0][1].content)}
    expected: dict[str, int] = {}
    for outcome, _ in refused:
        expected[outcome] = expected.get(outcome, 0) + 1
    assert house.counted(kind) == expected
    assert house.world.now(job) == job
    assert house.world.store.jobs.attempt(attempt.id) == attempt


def _headers(house: House, kind: str) -> dict[str, str]:
    return KINDS[kind](house.signers, body_of(), house.world.clock.now())


@pytest.mark.parametrize("kind", KINDS)
def test_a_provider_that_is_not_used_here_is_answered(house: House, kind: str) -> None:
    """No adapter and no order: the door is there, checks the signature, and counts the callback as unknown."""
    assert house.post(kind, attempt=uuid4(), token="0" * 32).status_code == 404
    assert house.post(kind).status_code == 404
    assert house.counted(kind) == {"unknown": 2}


def test_a_replayed_callback_without_a_signature_is_late(house: House) -> None:
    """Who signs nothing has no time to check: played again after the job's end, it finds nothing to do."""
    job, attempt = house.waiting("nanobanana")
    known: dict[str, Any] = {"attempt": attempt.id, "token": attempt.token}
    assert house.post("nanobanana", **known).status_code == 200
    web: Any = house.world.web
    house.world.services = replace(house.world.services, transport=web)
    (done,) = house.world.live(job)
    house.world.clock.advance(3600)
    assert house.post("nanobanana", **known).status_code == 200
    altered = body_of()[:-1] + b', "x": 1}'
    assert house.post("nanobanana", body=altered, **known).status_code == 200
    assert house.counted("nanobanana") == {"woken": 1, "repeated": 1, "late": 1}
    assert house.world.now(job) == done


@pytest.mark.parametrize("kind", ["gemini"])
def test_a_registered_webhook_names_no_attempt(house: House, kind: str) -> None:
    """One address for a whole account: the signed body names the order; altered or unsigned it names nobody."""
    job, _ = house.waiting(kind)
    assert house.post(kind, body=body_of("task-2"), signed=body_of()).status_code == 404
    assert house.post("gemini dynamic").status_code == 404
    assert house.world.now(job) == job
    assert house.post(kind).status_code == 200
    assert house.counted(kind) == {"forged": 1, "unknown": 1, "woken": 1}


def test_keys_that_cannot_be_read_are_told(house: House) -> None:
    """The provider's key server is away: 503, so that it calls again, and nothing moves."""
    job, attempt = house.waiting("fal")
    transport: Any = house.world.web
    transport.call = _refused
    house.world.services = replace(house.world.services, transport=transport)
    answer = house.post("fal", attempt=attempt.id, token=attempt.token)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert house.counted("fal") == {"deferred": 1}
    assert house.world.now(job) == job


def _refused(*_: Any, **__: Any) -> Any:
    raise NotSentError("nobody there")
