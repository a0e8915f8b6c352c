"""Bodies and queries made to break the door: each is refused for its own reason, and none is a fault of ours."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from imagegen import layout
from imagegen.api.logs import ACCESS_LOG, hide_queries
from imagegen.bounds import MAX_DEPTH, too_deep
from tests.door import Door, served
from tests.pipeline_parts import World

pytest_plugins = ["tests.worlds"]
FOX = {"prompt": "a fox"}


@pytest.fixture
def door(world: World) -> Iterator[Door]:
    """The door before a world, for ada."""
    with served(world.services) as door:
        yield door


def nested(depth: int) -> Any:
    """A list in a list in a list …"""
    found: Any = []
    for _ in range(depth - 1):
        found = [found]
    return found


def refused(reply: Any) -> list[str]:
    """The fields of a refusal for wrong content."""
    assert reply.status_code == 422, reply.text
    return [problem["field"] for problem in reply.json()["problems"]]


@pytest.mark.parametrize("depth", [MAX_DEPTH, 300, 900])
@pytest.mark.parametrize("path", ["/api/images/generate", "/api/images/estimate", "/api/images/batches"])
def test_what_is_nested_too_deeply_is_refused(door: Door, path: str, depth: int) -> None:
    """In metadata, in a character's own fields and in members, at every route that takes a request."""
    for body in ({**FOX, "metadata": {"a": nested(depth)}}, {"character": {"name": "Tom", "hat": nested(depth)}}):
        sent = {"requests": [body]} if path.endswith("batches") else body
        assert refused(door.post(path, sent)) == ["request"]


def test_depth_is_counted_from_the_whole_body() -> None:
    """As many levels as allowed pass, one more does not; width is nothing."""
    assert not too_deep(nested(MAX_DEPTH))
    assert too_deep(nested(MAX_DEPTH + 1))
    assert not too_deep({"wide": [[one] for one in range(10_000)]})


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
def test_times_outside_the_calendar_are_refused(door: Door, moment: str) -> None:
    """Times that have no date in UTC, as filters and as a start."""
    for path in ("jobs", "batches", "costs"):
        for name in ("since", "until"):
            assert refused(door.get(f"/api/images/{path}", **{name: moment})) == [name]
    assert refused(door.post("/api/images/generate", {**FOX, "scheduledAt": moment})) == ["scheduledAt"]


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_batchs_key_has_the_length_of_a_jobs(door: Door, key: str) -> None:
    """1 to 255 characters, for both."""
    assert refused(door.post("/api/images/generate", {**FOX, "idempotencyKey": key})) == ["idempotencyKey"]
    body = {"characters": [{"name": "Tom"}], "idempotencyKey": key}
    assert refused(door.post("/api/images/batches", body)) == ["idempotencyKey"]


@pytest.mark.parametrize("name", ["idempotency_key", "callback_url", "notify_task", "owner"])
def test_what_belongs_to_the_batch_is_no_members_in_any_spelling(door: Door, name: str) -> None:
    """Key, targets and owner are the batch's, whichever way a member spells them."""
    reply = door.post("/api/images/batches", {"requests": [{**FOX, name: "https://shop.example/"}]})
    assert "belongs to the batch" in reply.json()["problems"][0]["reason"]


def test_no_cache_keeps_an_answer(door: Door) -> None:
    """Documents, lists, refusals: `no-store`, unless the route itself says otherwise."""
    job = door.post("/api/images/generate", FOX)
    paths = [f"/api/images/jobs/{job.json()['jobId']}", "/api/images/jobs", "/api/images/jobs/7", "/files/none"]
    for reply in (job, *(door.get(path) for path in paths)):
        assert reply.headers["Cache-Control"] == "no-store"


def test_the_access_log_has_no_queries(caplog: pytest.LogCaptureFixture) -> None:
    """A callback's token and a signature stay out of the server's own log; its path stays."""
    log = logging.getLogger(ACCESS_LOG)
    before = list(log.filters)
    hide_queries()
    hide_queries()
    try:
        with caplog.at_level(logging.INFO, logger=ACCESS_LOG):
            for address in ("/api/webhooks/kie?attempt=1&token=hush", "/health"):
                log.info('%s - "%s %s HTTP/%s" %d', "127.0.0.1:1", "POST", address, "1.1", 200)
        assert [record.getMessage().split('"')[1] for record in caplog.records] == [
            "POST /api/webhooks/kie?… HTTP/1.1", "POST /health HTTP/1.1",
        ]  # fmt: skip
        assert len(log.filters) == len(before) + 1
    finally:
        log.filters[:] = before


def test_no_query_parameter_is_passed_over(door: Door) -> None:
    """Given twice it is refused, whichever would have counted; misspelt ones are named beside it."""
    for path in ("jobs?status=queued&status=failed", "batches?limit=1&limit=2", "costs?by=day&by=owner"):
        name = path.partition("?")[2].partition("=")[0]
        reply = door.client.get(f"/api/images/{path}", headers=door.headers)
        assert refused(reply) == [name]
        assert reply.json()["problems"][0]["reason"] == "is given 2 times"
    reply = door.client.get("/api/images/jobs?owner=a&owner=b&staus=failed", headers=door.headers)
    assert refused(reply) == ["staus", "owner"]


def test_nobody_is_sent_elsewhere(door: Door) -> None:
    """A slash too many is an unknown address: a redirect would carry scheme and host as the request claims them."""
    for method, path in (("GET", "jobs/"), ("POST", "generate/"), ("GET", "styles/")):
        reply = door.client.request(
            method, f"/api/images/{path}", headers={**door.headers, "Host": "evil.example"}, follow_redirects=False
        )
        assert (reply.status_code, reply.json()["code"], "location" in reply.headers) == (404, "NOT_FOUND", False)


def test_numbers_too_long_to_read_are_told_as_such(door: Door) -> None:
    """Thousands of digits are refused in a user's words, not in the interpreter's."""
    headers = {**door.headers, "Content-Type": "application/json"}
    for number in ("9" * 5_000, "-" + "9" * 401, "1e999"):
        reply = door.client.post(
            "/api/images/generate", content=f'{{"prompt": "a fox", "seed": {number}}}', headers=headers
        )
        assert (reply.status_code, "set_int_max_str_digits" in reply.text) == (400, False)
        assert "is too large a number" in reply.json()["detail"]


def test_what_is_looked_at_can_be_asked_for_by_head(world: World, door: Door) -> None:
    """Pictures, health and docs answer HEAD as GET, without the content; what is not there is not there."""
    job = door.post("/api/images/generate", {**FOX, "provider": "gemini", "width": 320, "height": 180}).json()
    world.chain(world.store.jobs.get(UUID(job["jobId"])))
    picture = layout.picture_keys(world.store.jobs.get(UUID(job["jobId"]))).picture
    for path in (f"/files/{picture}", "/health", "/ready", "/docs"):
        whole, head = door.get(path), door.client.head(path)
        assert (head.status_code, head.headers["content-type"]) == (200, whole.headers["content-type"])
        assert int(head.headers["content-length"]) == len(whole.content)
    assert door.client.head("/files/project_default/none.png").status_code == 404
    assert door.client.head("/api/images/jobs", headers=door.headers).status_code == 405
