"""nanobananaapi.ai as the emulator speaks it, without a socket: refusals, states, money, webhooks, faults."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from PIL import Image

from imagegen.emulator.ledger import Ledger
from imagegen.emulator.outbound import Outbound
from imagegen.emulator.wire import Reply, Request
from imagegen.emulator.world import World, furnish
from imagegen.providers.nanobanana import NanoBanana as Provider

ROOT = "/api/v1/nanobanana"
SECOND: dict[str, Any] = {"prompt": "Mira, a pilot", "aspectRatio": "16:9", "resolution": "1K"}
FIRST: dict[str, Any] = {"prompt": "Mira", "type": "TEXTTOIAMGE", "callBackUrl": "http://127.0.0.1:1/cb"}


class Desk:
    """A world with a clock moved by hand and webhooks that are kept instead of posted."""

    def __init__(self, **settings: Any) -> None:
        self.now = 1_700_000_000.0
        self.posted: list[tuple[str, dict[str, Any]]] = []
        self.planned: list[tuple[float, str, Callable[[], bytes]]] = []
        self.world: World = furnish(Ledger(), Outbound(), self, clock=lambda: self.now, plain=True, **settings)

    def later(self, delay: float, url: str, body: Callable[[], bytes]) -> None:
        self.planned.append((delay, url, body))

    def at_once(self, url: str, body: bytes) -> None:
        self.posted.append((url, json.loads(body)))

    def call(self, method: str, target: str, body: Any = None, key: str = "k") -> Reply:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        return self.world.handle(Request.of(method, target, headers, sent, "127.0.0.1:1"))

    def submit(self, body: Any, endpoint: str = "generate-2", key: str = "k") -> dict[str, Any]:
        return dict(json.loads(self.call("POST", f"{ROOT}/{endpoint}", body, key).content()))

    def order(self, body: Any = None, endpoint: str = "generate-2") -> str:
        return str(self.submit(body or SECOND, endpoint)["data"]["taskId"])

    def record(self, task: str) -> dict[str, Any]:
        return dict(json.loads(self.call("GET", f"{ROOT}/record-info?taskId={task}").content())["data"])

    def file(self, record: dict[str, Any]) -> Reply:
        return self.call("GET", record["response"]["resultImageUrl"].partition(":1")[2])

    def charges(self) -> list[dict[str, Any]]:
        return list(self.world.bench.ledger.document()["charges"])

    def fault(self, **rule: Any) -> None:
        self.world.bench.faults.add([rule])


@pytest.mark.parametrize(
    ("endpoint", "body", "words"),
    [
        ("generate-2", {**SECOND, "resolution": "1k"}, "resolution"),
        ("generate-2", {**SECOND, "resolution": "512"}, "resolution"),
        ("generate-2", {**SECOND, "aspectRatio": "16x9"}, "aspectRatio"),
        ("generate-2", {**SECOND, "outputFormat": "webp"}, "outputFormat"),
        ("generate-2", {**SECOND, "prompt": "x" * 20_001}, "20000"),
        ("generate-2", {**SECOND, "prompt": "  "}, "prompt"),
        ("generate-2", {**SECOND, "imageUrls": ["http://127.0.0.1/a"] * 15}, "14"),
        ("generate-2", {**SECOND, "imageUrls": "http://127.0.0.1/a"}, "imageUrls"),
        ("generate-2", {**SECOND, "callBackUrl": "ftp://x"}, "callBackUrl"),
        ("generate-2", {**SECOND, "imageUrls": ["http://192.0.2.1/a.png"]}, "Image fetch failed"),
        ("generate-2", {**SECOND, "imageUrls": ["https://example.com/a.png"]}, "Image fetch failed"),
        ("generate-2", b"{", "JSON"),
        ("generate-2", [1], "object"),
        ("generate", {**FIRST, "type": "TEXTTOIMAGE"}, "TEXTTOIAMGE"),
        ("generate", {**FIRST, "type": "IMAGETOIAMGE"}, "imageUrls"),
        ("generate", {**FIRST, "callBackUrl": None}, "callBackUrl"),
        ("generate", {**FIRST, "numImages": 5}, "numImages"),
        ("generate", {**FIRST, "image_size": "1:4"}, "image_size"),
        ("generate-pro", SECOND, "callBackUrl"),
        ("generate-pro", {**SECOND, "callBackUrl": "http://127.0.0.1:1/", "aspectRatio": "1:8"}, "aspectRatio"),
        ("generate-pro", {**SECOND, "callBackUrl": "http://127.0.0.1:1/", "imageUrls": ["http://x/a"] * 9}, "8"),
    ],
)
def test_what_the_service_would_refuse_is_refused_and_not_charged(endpoint: str, body: Any, words: str) -> None:
    """A wrong body answers code 422 with a message naming the field, and no money moves."""
    desk = Desk()
    answer = desk.submit(body, endpoint)
    assert (answer["code"], answer["data"]) == (422, None)
    assert words in answer["msg"]
    assert desk.charges() == []


@pytest.mark.parametrize("key", ["", "wrong"])
def test_another_key_is_refused_on_every_route(key: str) -> None:
    """With a key set, no or another key answers 401 on submit, record-info and credit."""
    desk = Desk(key="right")
    assert desk.submit(SECOND, key=key)["code"] == 401
    for target in (f"{ROOT}/record-info?taskId=x", "/api/v1/common/credit"):
        assert json.loads(desk.call("GET", target, key=key).content())["code"] == 401
    assert desk.submit(SECOND, key="right")["code"] == 200


def test_a_task_is_ready_after_its_latency() -> None:
    """Flag 0 without a response until the latency has passed, then flag 1 with an address and both times."""
    desk = Desk(latency=8)
    task = desk.order()
    assert (desk.record(task)["successFlag"], desk.record(task)["response"]) == (0, None)
    desk.now += 7.9
    assert desk.record(task)["successFlag"] == 0
    desk.now += 0.2
    record = desk.record(task)
    assert (record["successFlag"], record["operationType"]) == (1, "nano-banana-2_1k")
    assert record["createTime"] == "2023-11-14 22:13:20"
    assert record["completeTime"] == "2023-11-14 22:13:28"


@pytest.mark.parametrize(
    ("endpoint", "body", "size", "amount", "model"),
    [
        ("generate-2", {"aspectRatio": "16:9", "resolution": "2K"}, (2752, 1536), "0.06", "nano-banana-2"),
        ("generate-2", {"aspectRatio": "1:8"}, (384, 3072), "0.04", "nano-banana-2"),
        ("generate-2", {}, (1024, 1024), "0.04", "nano-banana-2"),
        ("generate-pro", {"aspectRatio": "4:5", "resolution": "4K"}, (3712, 4608), "0.18", "nano-banana-pro"),
        ("generate", {"image_size": "16:9", "type": "TEXTTOIAMGE"}, (1344, 768), "0.02", "nano-banana"),
        ("generate", {"type": "TEXTTOIAMGE", "numImages": 3}, (1024, 1024), "0.06", "nano-banana"),
    ],
)
def test_sizes_and_prices_follow_the_order(
    endpoint: str, body: dict[str, Any], size: tuple[int, int], amount: str, model: str
) -> None:
    """Each endpoint gives the documented pixels and charges its documented price once."""
    desk = Desk()
    task = desk.order({"prompt": "a fox", "callBackUrl": "http://127.0.0.1:1/cb", **body}, endpoint)
    reply = desk.file(desk.record(task))
    with Image.open(io.BytesIO(reply.content())) as picture:
        assert (picture.size, picture.format, reply.content_type) == (size, "JPEG", "image/jpeg")
    charge = desk.charges()[0]
    assert (charge["id"], charge["amount"], charge["model"]) == (task, amount, model)
    assert charge["callBackUrl"] == "http://127.0.0.1:1/cb"


def test_png_comes_where_it_was_asked_for() -> None:
    """outputFormat png gives a PNG file with its content type."""
    desk = Desk()
    reply = desk.file(desk.record(desk.order({**SECOND, "outputFormat": "png"})))
    with Image.open(io.BytesIO(reply.content())) as picture:
        assert (picture.format, reply.content_type) == ("PNG", "image/png")


def test_the_pro_endpoint_says_message_instead_of_msg() -> None:
    """The submit answer of generate-pro spells its message field differently, as the documentation shows."""
    answer = Desk().submit({**SECOND, "callBackUrl": "http://127.0.0.1:1/"}, "generate-pro")
    assert "msg" not in answer
    assert answer["message"] == "success"


def test_credit_falls_with_every_charge_until_none_is_left() -> None:
    """Credit is a bare number that pays for tasks; an order it does not cover answers 402 and is not charged."""
    desk = Desk(funds=Decimal("0.05"))
    before = json.loads(desk.call("GET", "/api/v1/common/credit").content())["data"]
    desk.order()
    after = json.loads(desk.call("GET", "/api/v1/common/credit").content())["data"]
    assert (before, after) == (10.0, 2.0)
    assert desk.submit(SECOND)["code"] == 402
    assert len(desk.charges()) == 1


def test_an_unknown_task_is_not_found() -> None:
    """record-info of an id nobody gave out answers code 404."""
    assert json.loads(Desk().call("GET", f"{ROOT}/record-info?taskId=no").content())["code"] == 404


def test_webhooks_have_the_shape_of_their_endpoint() -> None:
    """generate posts code and info; generate-2 posts code 200 with the whole record, after the latency."""
    desk = Desk(latency=3)
    desk.order(FIRST, "generate")
    desk.order({**SECOND, "callBackUrl": "http://127.0.0.1:1/second"})
    (delay, _, first), (_, url, second) = desk.planned
    old, new = json.loads(first()), json.loads(second())
    assert (delay, old["code"]) == (3, 200)
    assert old["data"]["info"]["resultImageUrl"].startswith("http://127.0.0.1:1/files/")
    assert (url, new["code"], new["data"]["successFlag"]) == ("http://127.0.0.1:1/second", 200, 1)


@pytest.mark.parametrize("flag", [2, 3])
def test_an_asynchronous_failure_is_told_by_record_and_webhook(flag: int) -> None:
    """A failing task is accepted, then shows its flag and code; the new webhook still says code 200; no charge."""
    desk = Desk()
    desk.fault(fault="async_failure", flag=flag, code=501)
    task = desk.order({**SECOND, "callBackUrl": "http://127.0.0.1:1/"})
    record = desk.record(task)
    assert (record["successFlag"], record["errorCode"], record["response"]) == (flag, 501, None)
    assert json.loads(desk.planned[0][2]())["code"] == 200
    assert desk.charges() == []


def test_a_refusal_comes_at_submit_or_later() -> None:
    """refusal answers 400 at once, or with when=async flag 3 and code 400; charged keeps the money as refused."""
    desk = Desk()
    desk.fault(fault="refusal", times=1)
    assert desk.submit(SECOND)["code"] == 400
    desk.fault(fault="refusal", when="async", charged=True)
    record = desk.record(desk.order())
    assert (record["successFlag"], record["errorCode"]) == (3, 400)
    assert [charge["amount"] for charge in desk.charges()] == ["0.04"]


@pytest.mark.parametrize(
    ("fault", "code"), [("rate_limit", 429), ("no_credit", 402), ("bad_key", 401), ("maintenance", 455)]
)
def test_refusing_faults_answer_http_200_with_their_code(fault: str, code: int) -> None:
    """The body's code tells, not the HTTP status, unless the script sets one; nothing is charged."""
    desk = Desk()
    desk.fault(fault=fault, times=1)
    desk.fault(fault=fault, http_status=418, times=1)
    replies = [desk.call("POST", f"{ROOT}/generate-2", SECOND) for _ in range(2)]
    assert [reply.status for reply in replies] == [200, 418]
    assert {json.loads(reply.content())["code"] for reply in replies} == {code}
    assert desk.submit(SECOND)["code"] == 200
    assert len(desk.charges()) == 1


def test_a_route_can_be_named_in_a_rule() -> None:
    """A rule for polls strikes record-info alone; one with a part of a path strikes that path alone."""
    desk = Desk()
    desk.fault(fault="maintenance", match={"route": "poll"}, times=1)
    desk.fault(fault="rate_limit", match={"route": "generate-pro"})
    task = desk.order()
    assert json.loads(desk.call("GET", f"{ROOT}/record-info?taskId={task}").content())["code"] == 455
    assert desk.record(task)["successFlag"] == 1
    assert desk.submit({**SECOND, "callBackUrl": "http://127.0.0.1:1/"}, "generate-pro")["code"] == 429


@pytest.mark.parametrize(("fault", "charged"), [("lost_answer", 1), ("not_charged_drop", 0)])
def test_a_dropped_connection_is_charged_or_not(fault: str, charged: int) -> None:
    """Both drop the connection without a word; only the lost answer was charged, and stays lost."""
    desk = Desk()
    desk.fault(fault=fault)
    assert desk.call("POST", f"{ROOT}/generate-2", SECOND).drop
    assert [charge["outcome"] for charge in desk.charges()] == ["lost"] * charged


def test_success_without_a_task_id_charges_and_says_nothing() -> None:
    """Code 200 comes with empty data, and the charge stays lost."""
    desk = Desk()
    desk.fault(fault="success_without_task_id")
    reply = desk.call("POST", f"{ROOT}/generate-2", SECOND)
    assert json.loads(reply.content()) == {"code": 200, "msg": "success", "data": {}}
    assert (len(reply.charges), reply.outcome) == (1, "lost")


def test_a_stuck_task_never_ends() -> None:
    """Hours later the flag is still 0 and no webhook is planned."""
    desk = Desk()
    desk.fault(fault="stuck")
    task = desk.order({**SECOND, "callBackUrl": "http://127.0.0.1:1/"})
    desk.now += 86_400
    assert (desk.record(task)["successFlag"], desk.planned) == (0, [])


def test_a_hang_is_charged_and_held_back() -> None:
    """The order is taken and charged; the answer is held for the scripted seconds."""
    desk = Desk()
    desk.fault(fault="hang", seconds=12)
    assert desk.call("POST", f"{ROOT}/generate-2", SECOND).hold == 12
    assert len(desk.charges()) == 1


@pytest.mark.parametrize(
    ("fault", "posted", "planned"),
    [("duplicate_callback", 0, 2), ("lost_callback", 0, 0), ("early_callback", 1, 0)],
)
def test_webhooks_can_come_twice_never_or_too_early(fault: str, posted: int, planned: int) -> None:
    """Doubled, lost, or posted before the submit is answered, when the task is already done."""
    desk = Desk(latency=5)
    desk.fault(fault=fault)
    desk.order({**SECOND, "callBackUrl": "http://127.0.0.1:1/"})
    assert (len(desk.posted), len(desk.planned)) == (posted, planned)
    assert all(body["data"]["successFlag"] == 1 for _, body in desk.posted)


def test_a_webhook_can_be_late() -> None:
    """It comes the scripted seconds after the picture is ready."""
    desk = Desk(latency=5)
    desk.fault(fault="late_callback", seconds=40)
    desk.order({**SECOND, "callBackUrl": "http://127.0.0.1:1/"})
    assert [delay for delay, _, _ in desk.planned] == [45]


@pytest.mark.parametrize("fault", [None, "async_failure"])
@pytest.mark.parametrize(("endpoint", "body"), [("generate", FIRST), ("generate-pro", SECOND), ("generate-2", SECOND)])
def test_every_webhook_names_its_order(endpoint: str, body: dict[str, Any], fault: str | None) -> None:
    """The provider's file reads the order's id from each endpoint's own shape, of success and of failure."""
    desk = Desk()
    if fault:
        desk.fault(fault=fault)
    task = desk.order({**body, "callBackUrl": "http://127.0.0.1:1/"}, endpoint)
    provider: Any = Provider(transport=None, catalog=None, clock=None, url="", key=str)  # type: ignore[arg-type]
    assert provider.callback_task(json.loads(desk.planned[0][2]())) == task


@pytest.mark.parametrize("fault", ["html_file", "truncated_file", "wrong_file", "missing_file"])
def test_a_spoilt_file_recovers_after_the_scripted_downloads(fault: str) -> None:
    """The first download is no whole picture; the second, with downloads=1, is."""
    desk = Desk()
    desk.fault(fault=fault, downloads=1)
    record = desk.record(desk.order())
    with pytest.raises(OSError), Image.open(io.BytesIO(desk.file(record).content())) as picture:  # noqa: PT011
        picture.load()
    with Image.open(io.BytesIO(desk.file(record).content())) as picture:
        picture.load()


def test_a_wrong_size_is_a_whole_picture_of_other_pixels() -> None:
    """wrong_size gives the scripted pixels instead of the ordered ones."""
    desk = Desk()
    desk.fault(fault="wrong_size", width=300, height=200)
    with Image.open(io.BytesIO(desk.file(desk.record(desk.order())).content())) as picture:
        assert picture.size == (300, 200)


def test_an_expired_address_is_replaced_by_reading_the_record_again() -> None:
    """403 however often it is asked; the record read after that names a fresh address which works."""
    desk = Desk()
    desk.fault(fault="expired_url")
    task = desk.order()
    first = desk.record(task)
    assert desk.record(task) == first
    assert [desk.file(first).status for _ in range(2)] == [403, 403]
    fresh = desk.record(task)
    assert desk.file(fresh).status == 200
    assert desk.file(first).status == 403
