"""Every refusal is a problem document that says what to do, and none says more than that."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from imagegen.api import readiness
from imagegen.api.bodies import MAX_JSON
from imagegen.api.setup import Setup
from imagegen.errors import PartUnavailable, StorageError
from tests.door import RULES, Door, bearer, served
from tests.drawings import a_file
from tests.pipeline_parts import World

pytest_plugins = ["tests.worlds"]
FOX = {"prompt": "a fox"}
JSON = {"Content-Type": "application/json"}
PNG = a_file("PNG")
STORED = f"input:{hashlib.sha256(PNG).hexdigest()}"


@pytest.fixture
def door(world: World) -> Iterator[Door]:
    """The door before a world, for ada."""
    with served(world.services) as door:
        yield door


def told(reply: Any, status: int, code: str) -> dict[str, Any]:
    """The problem document, which must have this status and code and every member."""
    assert reply.headers["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = reply.json()
    assert (reply.status_code, document["status"], document["code"]) == (status, status, code)
    assert {"type", "title", "detail", "retryable", "billed", "jobId"} <= document.keys()
    return document


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[" * 100_000, b'{"seed": NaN}', b'{"seed": 1e999}', b"\xff", b'{"seed": ' + b"9" * 5000 + b"}"],
    ids=["empty", "cut", "deep", "nan", "huge", "bytes", "digits"],
)
def test_malformed_json_is_a_bad_request(door: Door, body: bytes) -> None:
    """400, and nothing of the parser's insides."""
    reply = door.client.post("/api/images/generate", content=body, headers={**door.headers, **JSON})
    assert told(reply, 400, "INVALID_REQUEST")["problems"][0]["field"] == "request"


def test_json_that_is_no_object_is_refused(door: Door) -> None:
    """422: it can be read, and it is not a request."""
    told(door.post("/api/images/generate", [FOX]), 422, "INVALID_REQUEST")


def test_every_wrong_field_is_told_at_once(door: Door) -> None:
    """Field, reason and remedy of each; nothing is written."""
    reply = door.post("/api/images/generate", {"prompt": "a", "widht": 5, "seed": -1})
    problems = told(reply, 422, "INVALID_REQUEST")["problems"]
    assert {problem["field"] for problem in problems} == {"widht", "seed"}
    assert all(problem["reason"] and problem["remedy"] for problem in problems)
    assert door.get("/api/images/jobs").json()["items"] == []


def test_another_media_type_is_refused(door: Door) -> None:
    """415 for what is not JSON, or not a picture."""
    for path in ("generate", "inputs"):
        reply = door.client.post(
            f"/api/images/{path}", content=b"a=b", headers={**door.headers, "Content-Type": "text/csv"}
        )
        assert told(reply, 415, "INVALID_REQUEST")["problems"][0]["field"] == "Content-Type"


def test_a_body_that_is_too_large_is_refused(door: Door) -> None:
    """413, by its announced length or as it arrives, with the way round."""
    whole = json.dumps({"prompt": "a" * MAX_JSON}).encode()
    for content in (whole, iter([whole[:1000], whole[1000:]])):
        reply = door.client.post("/api/images/generate", content=content, headers={**door.headers, **JSON})
        assert "/api/images/inputs" in told(reply, 413, "INVALID_REQUEST")["problems"][0]["remedy"]


def test_what_is_not_served_is_not_found(door: Door) -> None:
    """404 without a route, 405 with every allowed method, 422 for an id that is none."""
    told(door.get("/api/images/nothing"), 404, "NOT_FOUND")
    reply = door.client.delete("/api/images/batches", headers=door.headers)
    told(reply, 405, "INVALID_REQUEST")
    assert reply.headers["Allow"] == "GET, POST"
    assert told(door.get("/api/images/jobs/7"), 422, "INVALID_REQUEST")["problems"][0]["field"] == "job_id"


def test_a_part_that_is_away_is_told(world: World) -> None:
    """503 with Retry-After, and the job may be sent again."""
    world.jobs.get = _away  # type: ignore[method-assign, assignment]
    with served(world.services) as door:
        reply = door.get(f"/api/images/jobs/{uuid4()}")
        assert told(reply, 503, "PART_UNAVAILABLE")["retryable"] is True
        assert int(reply.headers["Retry-After"]) > 0


def _away(*args: Any, **more: Any) -> Any:
    raise PartUnavailable("PostgreSQL cannot be used", {"part": "PostgreSQL"})


def test_a_part_that_is_away_is_not_described(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Why, with hosts and users of ours, stands in the log alone."""

    def away(*args: Any, **more: Any) -> Any:
        try:
            raise OSError("no route to db.inside")
        except OSError as error:
            raise PartUnavailable(f"PostgreSQL cannot be used: {error}", {"part": "PostgreSQL"}) from error

    world.jobs.get = away  # type: ignore[method-assign, assignment]
    with served(world.services) as door:
        document = told(door.get(f"/api/images/jobs/{uuid4()}"), 503, "PART_UNAVAILABLE")
    assert document["detail"] == "PostgreSQL cannot be used just now"
    assert "db.inside" in caplog.text


def test_a_fault_of_ours_says_nothing_of_itself(world: World) -> None:
    """500 INTERNAL without a trace, a message or a name."""

    def broken(*args: Any, **more: Any) -> Any:
        raise ZeroDivisionError("the word is quicksilver")

    world.jobs.get = broken  # type: ignore[method-assign, assignment]
    with served(world.services) as door:
        reply = door.get(f"/api/images/jobs/{uuid4()}")
        told(reply, 500, "INTERNAL")
        assert "quicksilver" not in reply.text
        assert "Zero" not in reply.text


class Once:
    """A limiter that lets one request of each owner through."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def over(self, who: str) -> float | None:
        if who in self.seen:
            return 12.4
        self.seen.add(who)
        return None


def test_too_many_requests_of_one_owner(world: World) -> None:
    """429 with Retry-After for the one who sent too many, and for nobody else."""
    with served(world.services, Setup(tokens=RULES, limiter=Once())) as door:
        assert door.get("/api/images/jobs").status_code == 200
        reply = door.get("/api/images/jobs")
        assert told(reply, 429, "TOO_MANY_REQUESTS")["retryable"] is True
        assert reply.headers["Retry-After"] == "13"
        assert door.as_("bob").get("/api/images/jobs").status_code == 200


def test_an_old_token_is_refused(world: World, door: Door) -> None:
    """401 as soon as the service's own clock says so; without any rule nobody gets in."""
    headers = bearer("ada", world.clock.now(), ttl=timedelta(minutes=1))
    assert door.client.get("/api/images/jobs", headers=headers).status_code == 200
    world.clock.advance(3600)
    reply = door.client.get("/api/images/jobs", headers=headers)
    told(reply, 401, "UNAUTHENTICATED")
    assert "invalid_token" in reply.headers["WWW-Authenticate"]
    with served(world.services, Setup()) as locked:
        told(locked.get("/api/images/jobs"), 401, "UNAUTHENTICATED")


def test_other_origins_are_strangers_unless_named(world: World) -> None:
    """No CORS header by default; a named origin may read, another may not."""
    asked = {"Origin": "https://app.example"}
    for origins, allowed in (
        ((), None),
        (("https://app.example",), "https://app.example"),
        (("https://x.example",), None),
    ):
        with served(world.services, Setup(tokens=RULES, origins=origins)) as door:
            reply = door.client.get("/health", headers=asked)
            assert reply.headers.get("Access-Control-Allow-Origin") == allowed


def test_a_picture_is_stored_and_named(door: Door) -> None:
    """Raw or in a form, the picture's name is its digest, and a request takes it."""
    raw = door.client.post("/api/images/inputs", content=PNG, headers={**door.headers, "Content-Type": "image/png"})
    form = door.client.post("/api/images/inputs", files={"file": ("a.png", PNG, "image/png")}, headers=door.headers)
    assert (raw.status_code, form.status_code) == (201, 201)
    assert raw.json() == form.json() == {
        "input": STORED, "sha256": STORED[6:], "contentType": "image/png", "bytes": len(PNG),
    }  # fmt: skip
    reply = door.post("/api/images/generate", {**FOX, "referenceImages": [STORED], "provider": "gemini"})
    assert reply.status_code == 202


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"GIF89a", "image/gif"),
        (PNG[:-30], "image/png"),
        (b"", "image/png"),
        (b"--x\r\n", "multipart/form-data; boundary=x"),
        (b"--x\r\n\r\n--x--", "multipart/form-data; boundary=x"),
        (PNG, "multipart/form-data"),
    ],
)
def test_what_is_no_picture_is_refused(door: Door, content: bytes, kind: str) -> None:
    """Other formats, cut files, broken and empty forms: 422 with a remedy."""
    reply = door.client.post("/api/images/inputs", content=content, headers={**door.headers, "Content-Type": kind})
    assert told(reply, 422, "INVALID_REQUEST")["problems"][0]["remedy"]


def test_readiness_names_the_part_that_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 with the part's name, for one that says so and for one that says nothing; its own words stay inside."""
    monkeypatch.setattr(readiness, "PART_TOTAL", 0.05)
    silent = threading.Event()

    def refuses() -> None:
        raise StorageError("no such bucket: secret")

    def hangs() -> None:
        silent.wait(30)

    checks = {"postgres": lambda: None, "storage": refuses, "redis": hangs}
    with served(world.services, Setup(tokens=RULES, checks=checks)) as door:
        reply = door.client.get("/ready")
        silent.set()
        assert (reply.status_code, reply.json()["away"].keys()) == (503, {"storage", "redis"})
        assert "secret" not in reply.text


def test_no_secret_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the token nor the prompt of a refused request stands in the log."""
    caplog.set_level(logging.DEBUG, logger="imagegen")
    with served(replace(world.services)) as door:
        door.client.get("/api/images/jobs", headers={"Authorization": "Bearer hush.hush.hush"})
        door.post("/api/images/generate", {"prompt": "my secret plan", "seed": -1})
    assert "hush" not in caplog.text
    assert "secret plan" not in caplog.text
