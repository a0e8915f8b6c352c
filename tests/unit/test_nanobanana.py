"""nanobananaapi.ai's wire: what is sent, and what each answer is taken for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import requests
import responses

from imagegen.catalog import load
from imagegen.errors import (
    AuthError,
    ContentRefused,
    GenerationFailed,
    ImagegenError,
    InsufficientCredit,
    InvalidRequest,
    RateLimited,
    SubmissionUnknown,
    Temporary,
)
from imagegen.providers.base import Accepted, Failed, InputImage, NotSent, Order, Ready, Rejected, Running, Unknown
from imagegen.providers.nanobanana import NO_CALLBACK, NanoBanana
from imagegen.testing.memory import ManualClock
from imagegen.transport import Transport

BASE = "https://api.nanobananaapi.ai/api/v1"
CALLBACK = "https://me.example/cb?token=t"
KEY = "nb-secret-key"
HTML = "<html><body>502 Bad Gateway</body></html>"
CATALOG = load()


@pytest.fixture
def http() -> Iterator[responses.RequestsMock]:
    """Mocked answers; each must be used."""
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def provider() -> NanoBanana:
    """The provider with a key that must never be told."""
    return NanoBanana(
        transport=Transport(),
        catalog=CATALOG,
        clock=ManualClock(),
        url="https://api.nanobananaapi.ai",
        key=lambda: KEY,
    )


def order(**wanted: Any) -> Order:
    """An everyday order."""
    usual: dict[str, Any] = {
        "prompt": "a fox",
        "model": "nano-banana-2",
        "ratio": "16:9",
        "tier": "2K",
        "format": "jpeg",
    }
    return Order(**{**usual, **wanted})


def envelope(code: Any = 200, word: str = "msg", message: str = "success", **data: Any) -> dict[str, Any]:
    """The API's answer."""
    return {"code": code, word: message, "data": data or None}


def sent(http: responses.RequestsMock) -> dict[str, Any]:
    """The body of the only request."""
    body: dict[str, Any] = json.loads(http.calls[0].request.body or "")
    return body


def test_nano_banana_2_is_ordered_exactly(http: responses.RequestsMock, provider: NanoBanana) -> None:
    """`generate-2` takes ratio, resolution and format, the key as a bearer token; its order costs the list price."""
    http.post(f"{BASE}/nanobanana/generate-2", json=envelope(taskId="task1"))
    answer = provider.submit(order(seed=5), callback_url=None)
    assert answer == Accepted(provider_job_id="task1", actual=Decimal("0.06"))
    assert sent(http) == {
        "prompt": "a fox",
        "imageUrls": [],
        "aspectRatio": "16:9",
        "resolution": "2K",
        "outputFormat": "jpg",
    }
    assert http.calls[0].request.headers["Authorization"] == f"Bearer {KEY}"


def test_an_edit_sends_source_mask_and_references_in_order(http: responses.RequestsMock, provider: NanoBanana) -> None:
    """The prompt speaks of first and second picture, so their order is fixed."""
    http.post(f"{BASE}/nanobanana/generate-2", json=envelope(taskId="t"))
    pictures = [InputImage(content_type="image/png", url=f"https://s3.example/{name}") for name in ("s", "m", "r")]
    provider.submit(
        order(source=pictures[0], mask=pictures[1], references=(pictures[2],), format="png"), callback_url=CALLBACK
    )
    assert sent(http)["imageUrls"] == [f"https://s3.example/{name}" for name in ("s", "m", "r")]
    assert sent(http)["outputFormat"] == "png"
    assert sent(http)["callBackUrl"] == CALLBACK


def test_pro_demands_a_callback(http: responses.RequestsMock, provider: NanoBanana) -> None:
    """Where we have no callback, the demanded field points nowhere; success is read from `message` too."""
    http.post(f"{BASE}/nanobanana/generate-pro", json=envelope(word="message", taskId="t"))
    answer = provider.submit(order(model="nano-banana-pro", tier="4K"), callback_url=None)
    assert answer == Accepted(provider_job_id="t", actual=Decimal("0.18"))
    assert sent(http) == {
        "prompt": "a fox",
        "imageUrls": [],
        "aspectRatio": "16:9",
        "resolution": "4K",
        "callBackUrl": NO_CALLBACK,
    }


@pytest.mark.parametrize("urls", [[], ["https://s3.example/r"]])
def test_the_first_endpoint_has_its_own_words(
    http: responses.RequestsMock, provider: NanoBanana, urls: list[str]
) -> None:
    """`generate` spells its types IAMGE, calls the ratio image_size and takes no size."""
    http.post(f"{BASE}/nanobanana/generate", json=envelope(taskId="t"))
    references = tuple(InputImage(content_type="image/png", url=url) for url in urls)
    provider.submit(order(model="nano-banana", tier="1K", references=references), callback_url=CALLBACK)
    assert sent(http) == {
        "prompt": "a fox",
        "type": "IMAGETOIAMGE" if urls else "TEXTTOIAMGE",
        "numImages": 1,
        "image_size": "16:9",
        "callBackUrl": CALLBACK,
        **({"imageUrls": urls} if urls else {}),
    }


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (400, "Your prompt was flagged by our content policy", ContentRefused),
        (400, "aspectRatio is wrong", InvalidRequest),
        (401, "no access", AuthError),
        (402, "no credits", InsufficientCredit),
        (404, "no such thing", InvalidRequest),
        (422, "prompt is missing", InvalidRequest),
        (429, "slow down", RateLimited),
        (455, "maintenance", Temporary),
        (501, "generation failed", GenerationFailed),
        (505, "disabled", InvalidRequest),
        ("402", "a code as text", InsufficientCredit),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 500])
def test_the_body_s_code_tells_a_refusal(
    http: responses.RequestsMock,
    provider: NanoBanana,
    code: Any,
    message: str,
    kind: type[ImagegenError],
    status: int,
) -> None:
    """HTTP 200 with a refusal inside is a refusal, whatever the HTTP status, and was not charged."""
    http.post(f"{BASE}/nanobanana/generate-2", json=envelope(code, message=message), status=status)
    answer = provider.submit(order(), callback_url=None)
    assert isinstance(answer, Rejected)
    assert type(answer.error) is kind
    assert (answer.error.billed, answer.actual) == ("no", None)
    assert message in str(answer.error)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, json.dumps(envelope(500, message="server error"))),
        (500, json.dumps(envelope(500, message="server error"))),
        (200, json.dumps(envelope(200))),
        (200, json.dumps({"code": 200, "msg": "success", "data": {"taskId": ""}})),
        (200, json.dumps({"code": 200, "data": [1]})),
        (200, json.dumps(envelope(777, message="news"))),
        (200, json.dumps({"hello": 1})),
        (200, json.dumps([1])),
        (200, HTML),
        (200, ""),
        (200, '{"code":200,"data":{"taskI'),
        (500, HTML),
        (502, HTML),
        (503, ""),
        (408, HTML),
        (302, ""),
    ],
)
def test_what_is_no_clear_answer_is_unknown(
    http: responses.RequestsMock, provider: NanoBanana, status: int, body: str
) -> None:
    """Neither yes nor no: the order may have been taken, so it must not be repeated."""
    http.post(f"{BASE}/nanobanana/generate-2", body=body, status=status)
    answer = provider.submit(order(), callback_url=None)
    assert isinstance(answer, Unknown)
    assert isinstance(answer.error, SubmissionUnknown)
    assert len(http.calls) == 1


@pytest.mark.parametrize(
    ("status", "kind"), [(401, AuthError), (403, AuthError), (429, RateLimited), (404, InvalidRequest)]
)
def test_a_proxy_s_4xx_is_a_refusal(
    http: responses.RequestsMock, provider: NanoBanana, status: int, kind: type[ImagegenError]
) -> None:
    """A page instead of JSON still says by its 4xx that nothing was taken."""
    http.post(f"{BASE}/nanobanana/generate-2", body=HTML, status=status)
    answer = provider.submit(order(), callback_url=None)
    assert isinstance(answer, Rejected)
    assert type(answer.error) is kind


def test_a_rate_limit_s_wait_is_kept(http: responses.RequestsMock, provider: NanoBanana) -> None:
    """`Retry-After` of a refusal reaches the decision about the next try."""
    http.post(f"{BASE}/nanobanana/generate-2", json=envelope(429), status=429, headers={"Retry-After": "17"})
    answer = provider.submit(order(), callback_url=None)
    assert isinstance(answer, Rejected)
    assert answer.error.retry_after == 17.0


def test_a_lost_answer_is_unknown_and_an_unsent_order_is_not(
    http: responses.RequestsMock, provider: NanoBanana
) -> None:
    """The transport's proof decides."""
    url = f"{BASE}/nanobanana/generate-2"
    http.post(url, body=requests.exceptions.ReadTimeout())
    assert isinstance(provider.submit(order(), callback_url=None), Unknown)
    http.reset()
    http.post(url, body=requests.exceptions.ConnectTimeout())
    answer = provider.submit(order(), callback_url=None)
    assert isinstance(answer, NotSent)
    assert (answer.error.code, answer.error.billed) == ("TEMPORARY", "no")


def test_a_refusal_never_tells_the_key(http: responses.RequestsMock, provider: NanoBanana) -> None:
    """A provider that repeats our key in its message does not get it into our errors, nor a novel."""
    http.post(f"{BASE}/nanobanana/generate-2", json=envelope(401, message=f"bad key {KEY}\n" + "x" * 5000))
    answer = provider.submit(order(), callback_url=None)
    assert isinstance(answer, Rejected)
    assert KEY not in repr(answer)
    assert len(str(answer.error)) < 400


@pytest.mark.parametrize(
    "wanted",
    [{"model": "nano-banana-2.1"}, {"references": (InputImage(content_type="image/png", data=b"x"),)}],
    ids=["a model not sold here", "bytes where a URL is needed"],
)
def test_an_impossible_order_is_not_sent(provider: NanoBanana, wanted: dict[str, Any]) -> None:
    """What cannot be ordered is refused without a call."""
    answer = provider.submit(order(**wanted), callback_url=None)
    assert isinstance(answer, Rejected)
    assert isinstance(answer.error, InvalidRequest)


def record(**data: Any) -> dict[str, Any]:
    """A `record-info` answer."""
    return envelope(taskId="t", **data)


@pytest.mark.parametrize(
    "data",
    [
        {"successFlag": 1, "response": {"originImageUrl": None, "resultImageUrl": "https://t/x.jpeg"}, "errorCode": 0},
        {"successFlag": "1", "response": {"resultImageUrl": "https://t/x.jpeg"}, "errorCode": None},
    ],
)
def test_a_finished_task_gives_its_picture(
    http: responses.RequestsMock, provider: NanoBanana, data: dict[str, Any]
) -> None:
    """Flag 1 with an address, as number or text."""
    http.get(f"{BASE}/nanobanana/record-info", json=record(**data))
    ready = provider.poll("t")
    assert isinstance(ready, Ready)
    assert ready.url == "https://t/x.jpeg"
    assert (http.calls[0].request.url or "").endswith("/record-info?taskId=t")


@pytest.mark.parametrize("response", [None, {"resultImageUrl": None}])
def test_a_running_task_is_running(http: responses.RequestsMock, provider: NanoBanana, response: Any) -> None:
    """Flag 0, whatever stands beside it."""
    http.get(f"{BASE}/nanobanana/record-info", json=record(successFlag=0, response=response))
    assert provider.poll("t") == Running()


@pytest.mark.parametrize(
    ("flag", "code", "kind", "retryable"),
    [
        (2, 0, GenerationFailed, True),
        (3, 500, GenerationFailed, True),
        (3, 501, GenerationFailed, True),
        (3, None, GenerationFailed, True),
        (3, 400, ContentRefused, False),
        (3, "400", ContentRefused, False),
    ],
)
def test_a_failed_task_says_whose_fault(
    http: responses.RequestsMock,
    provider: NanoBanana,
    flag: int,
    code: Any,
    kind: type[ImagegenError],
    retryable: bool,
) -> None:
    """Code 400 is the content policy; whether a failed task is charged is not documented, so it is unknown."""
    http.get(
        f"{BASE}/nanobanana/record-info",
        json=record(successFlag=flag, errorCode=code, errorMessage="no", response=None),
    )
    failed = provider.poll("t")
    assert isinstance(failed, Failed)
    assert type(failed.error) is kind
    assert (failed.error.retryable, failed.error.billed) == (retryable, "unknown")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"json": envelope(429), "headers": {"Retry-After": "3"}}, RateLimited),
        ({"json": envelope(401)}, AuthError),
        ({"body": HTML, "status": 403}, AuthError),
        ({"json": envelope(422, message="recordInfo is null")}, Temporary),
        ({"json": envelope(500)}, Temporary),
        ({"json": envelope(455)}, Temporary),
        ({"json": envelope(200)}, Temporary),
        ({"json": record(successFlag=1, response=None)}, Temporary),
        ({"json": record(successFlag=9)}, Temporary),
        ({"json": record(successFlag=None)}, Temporary),
        ({"body": HTML, "status": 200}, Temporary),
        ({"body": HTML, "status": 502}, Temporary),
        ({"body": requests.exceptions.ReadTimeout()}, Temporary),
    ],
)
def test_a_failed_question_is_no_failed_task(
    http: responses.RequestsMock, provider: NanoBanana, answer: dict[str, Any], kind: type[ImagegenError]
) -> None:
    """Whatever goes wrong while asking, the paid task is asked about again."""
    http.get(f"{BASE}/nanobanana/record-info", **answer)
    with pytest.raises(kind) as caught:
        provider.poll("t")
    assert isinstance(caught.value, kind)


@pytest.mark.parametrize(
    ("data", "credits"), [(60.5, Decimal("60.5")), ({"credits": 7}, Decimal(7)), (None, None), ("much", None)]
)
def test_credit_is_a_number_or_an_object(
    http: responses.RequestsMock, provider: NanoBanana, data: Any, credits: Decimal | None
) -> None:
    """Both shapes seen in public code are read; anything else is "not known"."""
    http.get(f"{BASE}/common/credit", json={"code": 200, "data": data})
    assert provider.credit() == credits


def test_the_key_is_asked_for_each_call(http: responses.RequestsMock) -> None:
    """A key that changes is used from the next call on."""
    keys = iter(["one", "two"])
    provider = NanoBanana(
        transport=Transport(), catalog=CATALOG, clock=ManualClock(), url="https://h.example", key=lambda: next(keys)
    )
    http.get("https://h.example/api/v1/common/credit", json={"code": 200, "data": 1})
    provider.credit()
    provider.credit()
    assert [call.request.headers["Authorization"] for call in http.calls] == ["Bearer one", "Bearer two"]
