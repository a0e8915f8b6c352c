"""What nanobananaapi.ai tells beside its answers: how long to wait, and whom a callback is about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import responses

from imagegen.catalog import load
from imagegen.errors import RateLimited, Temporary
from imagegen.providers.base import UNKNOWN_ORDER, Order, Rejected
from imagegen.providers.nanobanana import NanoBanana
from imagegen.testing.memory import ManualClock
from imagegen.transport import Transport

HOST = "https://api.nanobananaapi.ai"
BASE = f"{HOST}/api/v1"
ORDER = Order(prompt="a fox", model="nano-banana-2", ratio="16:9", tier="2K", format="jpeg")


@pytest.fixture
def http() -> Iterator[responses.RequestsMock]:
    """Mocked answers; each must be used."""
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def provider() -> NanoBanana:
    """The provider at the beginning of 2026."""
    return NanoBanana(transport=Transport(), catalog=load(), clock=ManualClock(), url=HOST, key=lambda: "key")


def envelope(code: int) -> dict[str, Any]:
    """A refusal."""
    return {"code": code, "msg": "no", "data": None}


@pytest.mark.parametrize("code", [429, 455])
@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "12.5"}, 12.5),
        ({"Retry-After": "Thu, 01 Jan 2026 00:00:30 GMT"}, 30.0),
        ({"retry-after-ms": "1500"}, 1.5),
    ],
)
def test_every_form_of_a_wait_is_obeyed(
    http: responses.RequestsMock, provider: NanoBanana, code: int, headers: dict[str, str], wait: float
) -> None:
    """Seconds, a moment or milliseconds, of a limit as of maintenance, of an order as of a question."""
    http.post(f"{BASE}/nanobanana/generate-2", json=envelope(code), headers=headers)
    http.get(f"{BASE}/nanobanana/record-info", json=envelope(code), headers=headers)
    answer = provider.submit(ORDER, callback_url=None)
    assert isinstance(answer, Rejected)
    with pytest.raises((RateLimited, Temporary)) as caught:
        provider.poll("t1")
    assert (answer.error.retry_after, caught.value.retry_after) == (wait, wait)


@pytest.mark.parametrize(
    ("body", "task"),
    [
        ({"code": 200, "msg": "success", "data": {"taskId": "t1", "info": {"resultImageUrl": "https://x"}}}, "t1"),
        ({"code": 400, "msg": "flagged", "data": {"taskId": "t1", "info": None}}, "t1"),
        ({"code": 200, "msg": "success", "data": {"taskId": "t1", "successFlag": 1, "response": {}}}, "t1"),
        ({"code": 200, "message": "success", "data": {"taskId": "t1", "successFlag": 3, "errorCode": 500}}, "t1"),
        ({"code": 200, "data": {"taskId": ""}}, None),
        ({"code": 200, "data": {"taskId": 7}}, None),
        ({"code": 200, "data": {"taskId": "t" * 201}}, None),
        ({"code": 200, "data": None}, None),
        ([], None),
        ("t1", None),
        (None, None),
    ],
)
def test_a_callback_names_its_task(provider: NanoBanana, body: Any, task: str | None) -> None:
    """All documented shapes, of success and of failure; anything else names none."""
    assert provider.callback_task(body) == task


@pytest.mark.parametrize("code", [404, 422])
def test_a_task_that_is_not_ours_is_told_from_a_question_that_failed(
    http: responses.RequestsMock, provider: NanoBanana, code: int
) -> None:
    """Both are passing for a poll, for a task may be unknown at first; only the first says that it is unknown."""
    for answer in (envelope(code), envelope(500)):
        http.get(f"{BASE}/nanobanana/record-info", json=answer)
    unknown = []
    for _ in range(2):
        with pytest.raises(Temporary) as caught:
            provider.poll("t1")
        unknown.append(bool(caught.value.details.get(UNKNOWN_ORDER)))
    assert unknown == [True, False]
