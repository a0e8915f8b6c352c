"""The HTTP client's conversations, without a socket: what is sent, sent again, waited for, and made of the answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen.client import (
    AsyncClient,
    Batch,
    BudgetExceeded,
    Client,
    Conflict,
    Forbidden,
    IdempotencyConflict,
    ImagegenError,
    InvalidRequest,
    Job,
    NotFound,
    PartUnavailable,
    PurchaseNeeded,
    TooManyRequests,
    Unauthenticated,
)
from imagegen.client.protocol import Lost, Reply, Site, Talk
from imagegen.client.talks import PATIENCE, Talks
from imagegen.errors import QuotaExhausted, StorageError, Temporary
from tests.paper_door import CUT, NOBODY, REFUSED, URL, Paper, batch, job, problem, replied

WRONG = [{"field": "model", "reason": "is unknown", "remedy": "Name another."}]


def test_an_order_is_sent_as_it_was_checked() -> None:
    """One POST with what the caller said, in camelCase, and nothing that it did not say."""
    door = Paper(job(prompt="a fox"))
    made = door.hold(
        door.talks.generate("a fox", {"job_type": "start_frame", "projectId": "p", "metadata": {"a_b": 1}})
    )
    (call,) = door.calls
    assert (call.method, call.path, call.headers["Content-Type"]) == (
        "POST",
        "/api/images/generate",
        "application/json",
    )
    assert door.bodies() == [{"prompt": "a fox", "jobType": "start_frame", "projectId": "p", "metadata": {"a_b": 1}}]
    assert (type(made), made.prompt, made.done) == (Job, "a fox", False)


def test_an_order_is_sent_again_under_one_key() -> None:
    """Lost, refused and overloaded: the same order under the same key of its own, after growing pauses."""
    door = Paper(REFUSED, CUT, problem(503, "PART_UNAVAILABLE"), problem(429, "TOO_MANY_REQUESTS"), job())
    door.hold(door.talks.generate("a fox", {}))
    keys = {call.headers["Idempotency-Key"] for call in door.calls}
    assert (len(door.calls), len(keys), len(UUID(keys.pop()).bytes)) == (5, 1, 16)
    assert door.pauses == [0.1, 0.2, 0.4, 0.8]
    other = Paper(job())
    other.hold(other.talks.generate("a fox", {}))
    assert other.calls[0].headers["Idempotency-Key"] != door.calls[0].headers["Idempotency-Key"]


def test_a_caller_s_own_key_is_the_only_one() -> None:
    """It goes in the body, whatever its letters, for a job and for a batch."""
    door = Paper(job())
    door.hold(door.talks.generate("a fox", {"idempotency_key": "Bestellung für Jürgen"}))
    assert "Idempotency-Key" not in door.calls[0].headers
    assert door.bodies()[0]["idempotencyKey"] == "Bestellung für Jürgen"
    many = Paper(batch("queued"))
    many.hold(many.talks.batch(["Ada", {"name": "Bo"}], {"idempotency_key": "k"}))
    assert (many.calls[0].path, "Idempotency-Key" in many.calls[0].headers) == ("/api/images/batches", False)
    assert many.bodies() == [{"characters": [{"name": "Ada"}, {"name": "Bo"}], "idempotencyKey": "k"}]


@pytest.mark.parametrize(
    ("order", "field"),
    [
        (lambda talks: talks.generate("a fox", {"widht": 5}), "widht"),
        (lambda talks: talks.generate("a fox", {"width": 640}), "height"),
        (lambda talks: talks.generate("a fox", {"reference_images": ["./a.png"]}), "referenceImages.0"),
        (lambda talks: talks.estimate("a fox", {"source_image": "ftp://x/y"}), "sourceImage"),
        (lambda talks: talks.batch(None, {"requests": [{"prompt": "a"}, {"width": 64}]}), "requests.1.prompt"),
        (lambda talks: talks.get("seven"), "id"),
        (lambda talks: talks.page(Job, {"since": datetime(2026, 1, 1)}, None), "since"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_not_sent(order: Callable[[Talks], Talk[Any]], field: str) -> None:
    """The service's own errors, before anything leaves."""
    door = Paper(job())
    with pytest.raises(InvalidRequest) as caught:
        door.hold(order(door.talks))
    assert caught.value.problems[0]["field"] == field
    assert door.calls == []


def test_bytes_may_be_sent_along() -> None:
    """Over HTTP a picture may stand in the request itself."""
    door = Paper(job())
    door.hold(door.talks.generate("a fox", {"reference_images": ["data:image/png;base64,AA=="]}))
    assert door.bodies()[0]["referenceImages"] == ["data:image/png;base64,AA=="]


def test_the_service_says_when_to_come_back() -> None:
    """`Retry-After` is kept to; one beyond the patience is raised at once, with its seconds."""
    door = Paper(problem(429, "TOO_MANY_REQUESTS", "7"), job())
    door.hold(door.talks.get(uuid4()))
    assert door.pauses == [7]
    late = Paper(problem(429, "TOO_MANY_REQUESTS", "60", retryable=True))
    with pytest.raises(TooManyRequests) as caught:
        late.hold(late.talks.get(uuid4()))
    assert (late.pauses, caught.value.retry_after, caught.value.retryable) == ([], 60, True)


def test_a_quota_is_not_asked_for_twice() -> None:
    """A provider's used-up quota is 429 too, and does not come back while one waits."""
    door = Paper(problem(429, "QUOTA_EXHAUSTED", "5"))
    with pytest.raises(QuotaExhausted):
        door.hold(door.talks.generate("a fox", {}))
    assert len(door.calls) == 1


def trouble(number: int) -> Reply:
    """An answer of this status, or 503 with so many seconds to wait."""
    return problem(number, "TEMPORARY") if number >= 100 else problem(503, "TEMPORARY", str(number))


@given(st.lists(st.sampled_from([REFUSED, CUT, 429, 502, 503, 504, 1, 30]), min_size=1, max_size=60))
def test_patience_has_an_end(script: list[Lost | int]) -> None:
    """Whatever happens: at most so many seconds of pauses, one key, and an answer or an error of ours."""
    door = Paper(*(one if isinstance(one, Lost) else trouble(one) for one in script), job())
    with suppress(PartUnavailable, Temporary):
        door.hold(door.talks.generate("a fox", {}))
    assert door.clock.monotonic() <= PATIENCE
    assert all(0 < call.seconds <= PATIENCE for call in door.calls)
    assert len({call.headers["Idempotency-Key"] for call in door.calls}) == 1


def test_a_service_that_is_away_is_told_within_seconds() -> None:
    """`PartUnavailable` names the address and the reason when the patience is over."""
    door = Paper(REFUSED)
    with pytest.raises(PartUnavailable, match="http://door cannot be reached: ConnectError") as caught:
        door.hold(door.talks.generate("a fox", {}))
    assert PATIENCE - 2 <= door.clock.monotonic() <= PATIENCE
    assert (caught.value.details["part"], caught.value.retryable) == ("api", True)


@pytest.mark.parametrize(
    ("reply", "kind", "details"),
    [
        (problem(401, "UNAUTHENTICATED"), Unauthenticated, {}),
        (problem(402, "BUDGET_EXCEEDED", scope="all"), BudgetExceeded, {"scope": "all"}),
        (problem(402, "PURCHASE_NEEDED", dollars="0.04", billed="yes"), PurchaseNeeded, {"dollars": "0.04"}),
        (problem(403, "FORBIDDEN"), Forbidden, {}),
        (problem(404, "NOT_FOUND"), NotFound, {}),
        (problem(409, "CONFLICT", jobId="7"), Conflict, {"jobId": "7"}),
        (problem(409, "IDEMPOTENCY_CONFLICT"), IdempotencyConflict, {}),
        (problem(422, "INVALID_REQUEST", problems=WRONG), InvalidRequest, {"problems": WRONG}),
        (problem(503, "STORAGE_ERROR", retryable=True), StorageError, {"retryable": True}),
    ],
    ids=lambda value: getattr(value, "code", None),
)  # fmt: skip
def test_a_refusal_is_raised_as_its_own_class(
    reply: Reply, kind: type[ImagegenError], details: Mapping[str, Any]
) -> None:
    """Code, message, `retryable`, `billed` and what else the problem says."""
    door = Paper(reply)
    with pytest.raises(kind) as caught:
        door.hold(door.talks.generate("a fox", {}))
    told = json.loads(reply.body)
    assert (str(caught.value), caught.value.billed) == ("told so", told["billed"])
    assert caught.value.retryable is told["retryable"]
    assert details.items() <= caught.value.details.items()


@pytest.mark.parametrize(
    ("reply", "kind", "told"),
    [
        (Reply(404, {}, b"<html>nginx</html>"), ImagegenError, "answers 404, and not as imagegen does"),
        (Reply(302, {"location": "/login"}, b""), ImagegenError, "answers 302, and not as imagegen does"),
        (Reply(200, {}, b"<html>hello</html>"), ImagegenError, "no document of imagegen"),
        (replied(200, {"some": "thing"}), ImagegenError, "no Job of imagegen"),
        (Reply(502, {}, b"<html>bad gateway</html>"), PartUnavailable, "answers 502: imagegen is not there"),
        (Reply(500, {}, b"Internal Server Error"), PartUnavailable, "answers 500: imagegen is not there"),
        (Reply(429, {"retry-after": "90"}, b"slow down"), TooManyRequests, "too many requests"),
        (problem(500, "INTERNAL", retryable=True), ImagegenError, "answers 500: told so"),
    ],
    ids=["404", "redirect", "page", "json", "gateway", "stopped", "limit", "fault"],
)
def test_an_answer_of_something_else_is_told_as_such(reply: Reply, kind: type[ImagegenError], told: str) -> None:
    """A wrong address or a gateway in between is not taken for an answer of imagegen's."""
    door = Paper(reply)
    with pytest.raises(ImagegenError, match=told) as caught:
        door.hold(door.talks.generate("a fox", {}))
    assert type(caught.value) is kind
    assert caught.value.retryable is (reply.status in {429, 500, 502})


def test_an_id_is_a_job_s_or_a_batch_s() -> None:
    """A bare id is looked for among both; a document knows where it belongs."""
    wanted = uuid4()
    door = Paper(NOBODY, batch("completed"))
    assert isinstance(door.hold(door.talks.get(str(wanted))), Batch)
    assert [call.path for call in door.calls] == [f"/api/images/jobs/{wanted}", f"/api/images/batches/{wanted}"]
    nowhere = Paper(NOBODY)
    with pytest.raises(NotFound):
        nowhere.hold(nowhere.talks.cancel(wanted))
    assert [call.path for call in nowhere.calls] == [
        f"/api/images/{kind}/{wanted}/cancel" for kind in ("jobs", "batches")
    ]
    known = Paper(NOBODY)
    with pytest.raises(NotFound):
        known.hold(known.talks.get(Job(job_id=wanted, status="queued")))
    assert len(known.calls) == 1


def test_going_on_without_buying_is_sent_again() -> None:
    """It costs nothing that was not agreed to, so a lost answer is asked for again."""
    door = Paper(CUT, job())
    door.hold(door.talks.retry(Job(job_id=uuid4(), status="failed"), buy=False))
    assert door.bodies() == [{"buy": False}] * 2


def test_a_purchase_is_sent_again_under_one_key() -> None:
    """Each call has a key of its own for all it sends; one of the caller's goes into the body, as for orders."""
    failed = Job(job_id=uuid4(), status="failed", run=1)
    door = Paper(CUT, REFUSED, problem(503, "PART_UNAVAILABLE"), job("failed", failed.id, run=2))
    assert door.hold(door.talks.retry(failed, buy=True)).run == 2
    assert [call.method for call in door.calls] == ["POST"] * 4
    (key,) = {call.headers["Idempotency-Key"] for call in door.calls}
    door.hold(door.talks.retry(failed, buy=True))
    assert door.calls[-1].headers["Idempotency-Key"] != key
    door.hold(door.talks.retry(failed, buy=True, key="Füchse 1"))
    assert "Idempotency-Key" not in door.calls[-1].headers
    assert door.bodies()[-1] == {"buy": True, "idempotencyKey": "Füchse 1"}


def test_a_purchase_without_an_answer_is_told_as_one() -> None:
    """Where it may have been taken, the caller is to look; what was refused, or has a key, is as any other call."""
    failed = Job(job_id=uuid4(), status="failed", run=1)
    unsure = Paper(problem(503, "PART_UNAVAILABLE"), REFUSED)
    with pytest.raises(PartUnavailable, match="look at it before you buy again") as caught:
        unsure.hold(unsure.talks.retry(failed, buy=True))
    assert (caught.value.billed, caught.value.retryable) == ("unknown", False)
    for door, key in ((Paper(REFUSED), None), (Paper(CUT), "k")):
        with pytest.raises(PartUnavailable) as plain:
            door.hold(door.talks.retry(failed, buy=True, key=key))
        assert (plain.value.billed, plain.value.retryable) == ("no", True)


def test_an_id_that_nobody_knows_is_told_in_true_words() -> None:
    """A bare id may be a job's or a batch's, and the error says so; a document's says what the door does."""
    wanted = uuid4()
    for ask in (
        lambda talks, one: talks.get(one),
        lambda talks, one: talks.cancel(one),
        lambda talks, one: talks.retry(one, buy=True),
        lambda talks, one: talks.wait(one, 5),
    ):
        for one, told in (
            (str(wanted), f"no job or batch has the id {wanted}"),
            (Job(job_id=wanted, status="queued"), "told so"),
        ):
            door = Paper(NOBODY)
            with pytest.raises(NotFound) as caught:
                door.hold(ask(door.talks, one))
            assert caught.value.message == told


def test_filters_are_those_of_the_door() -> None:
    """By their names in a query, times in UTC; what is left open is not sent."""
    door = Paper(replied(200, {"items": [], "nextCursor": None}))
    since = datetime.fromisoformat("2026-03-01T00:00:00+02:00")
    filters: Any = {"job_type": "end_frame", "project": "p", "since": since, "owner": None, "status": "failed"}
    assert door.hold(door.talks.page(Batch, filters, "next")).cursor is None
    assert door.calls[0].path == "/api/images/batches"
    assert door.calls[0].query == {
        "type": "end_frame", "project": "p", "since": "2026-02-28T22:00:00.000Z", "status": "failed", "cursor": "next",
    }  # fmt: skip


def test_a_token_is_asked_for_each_time_and_told_to_nobody() -> None:
    """A function gives the token of the moment; neither it nor the client shows one."""
    tokens = iter(["first", "second", "third\n"])
    site = Site.of("http://door/", lambda: next(tokens))
    assert [site.headers()["Authorization"] for _ in range(2)] == ["Bearer first", "Bearer second"]
    with pytest.raises(InvalidRequest) as caught:
        site.headers()
    assert "third" not in str(caught.value)
    assert "secret" not in repr(Site.of(URL, "secret"))
    with Client(URL, "secret") as client:
        assert repr(client) == "Client('http://door')"


@pytest.mark.parametrize(
    ("url", "token", "field"),
    [
        ("door:8000", "t", "url"), ("ftp://door", "t", "url"), ("http://", "t", "url"),
        ("http://door:99999", "t", "url"), ("http://ada:pw@door", "t", "url"), ("http://door?a=b", "t", "url"),
        (URL, "", "token"), (URL, "Bearer x", "token"), (URL, "ü", "token"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_addresses_and_tokens_are_checked_when_the_client_is_made(
    kind: type[Client] | type[AsyncClient], url: str, token: str, field: str
) -> None:
    """What cannot be meant is refused by name, and not repeated."""
    with pytest.raises(InvalidRequest) as caught:
        kind(url, token)
    assert caught.value.problems[0]["field"] == field
    assert "pw" not in str(caught.value)


def test_a_client_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies and settings of the environment change nothing."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("IMAGEGEN_JWT_SECRET", "x")
    with Client(URL, "t") as client:
        assert client._http.trust_env is False
        assert client._http._mounts == {}


def test_a_time_goes_as_utc() -> None:
    """A time with a zone is written as RFC 3339 in UTC."""
    door = Paper(replied(200, {"items": [], "nextCursor": None}))
    door.hold(door.talks.page(Job, {"until": datetime(2026, 1, 1, tzinfo=UTC)}, None))
    assert door.calls[0].query == {"until": "2026-01-01T00:00:00.000Z"}
