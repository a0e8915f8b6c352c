"""Bodies and queries made to break the door: each is refused for its own reason, and none is a fault of ours."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

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
