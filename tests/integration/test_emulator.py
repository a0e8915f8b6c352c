"""The emulator over real sockets: keep-alive, held and broken answers, webhooks, references, a clean end."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import requests
from PIL import Image

from imagegen.emulator import Emulator
from imagegen.errors import PartUnavailable

HEADERS = {"Authorization": "Bearer k", "x-goog-api-key": "k"}
ORDER: dict[str, Any] = {"prompt": "Mira, a pilot", "aspectRatio": "16:9", "resolution": "1K"}
TURN: dict[str, Any] = {"contents": [{"parts": [{"text": "a fox"}]}]}
GEMINI = "/v1beta/models/gemini-nano-banana-2.1:generateContent"
SECOND = "/api/v1/nanobanana/generate-2"


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A plain emulator that answers at once."""
    with Emulator(plain=True) as running:
        yield running


@pytest.fixture
def session() -> Iterator[requests.Session]:
    """One keep-alive session with both keys."""
    with requests.Session() as opened:
        opened.headers.update(HEADERS)
        opened.trust_env = False
        yield opened


class Inbox:
    """A receiver of webhooks that answers with the next of `statuses`, then 200."""

    def __init__(self, *statuses: int) -> None:
        self.bodies: list[dict[str, Any]] = []
        inbox, left = self, list(statuses)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                inbox.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(left.pop(0) if left else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/cb"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def __enter__(self) -> Inbox:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Waits for a condition, or fails at the deadline."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def order(session: requests.Session, emulator: Emulator, **fields: Any) -> dict[str, Any]:
    """Submits to generate-2."""
    return dict(session.post(emulator.url + SECOND, json={**ORDER, **fields}, timeout=10).json())


def record(session: requests.Session, emulator: Emulator, task: str) -> dict[str, Any]:
    """Reads record-info."""
    reply = session.get(f"{emulator.url}/api/v1/nanobanana/record-info", params={"taskId": task}, timeout=10)
    return dict(reply.json()["data"])


def test_a_picture_from_order_to_download(emulator: Emulator, session: requests.Session) -> None:
    """Order, record and file over one connection; the books count each, one charge is delivered."""
    task = order(session, emulator)["data"]["taskId"]
    address = record(session, emulator, task)["response"]["resultImageUrl"]
    assert address.startswith(emulator.url + "/files/")
    picture = session.get(address, timeout=10)
    with Image.open(io.BytesIO(picture.content)) as opened:
        assert opened.size == (1376, 768)
    books = session.get(f"{emulator.url}/__ledger", timeout=10).json()
    assert (books["submissions"], books["polls"], books["downloads"]) == (1, 1, 1)
    assert [charge["outcome"] for charge in books["charges"]] == ["delivered"]
    assert books == emulator.ledger()
    assert books["requests"][f"POST {SECOND}"] == 1


def test_many_callers_at_once_are_all_served(emulator: Emulator) -> None:
    """A hundred orders from twenty connections make a hundred tasks and charges."""

    def one(_: int) -> str:
        with requests.Session() as own:
            own.headers.update(HEADERS)
            return str(order(own, emulator)["data"]["taskId"])

    with ThreadPoolExecutor(20) as pool:
        tasks = set(pool.map(one, range(100)))
    assert len(tasks) == emulator.ledger()["count"] == 100
    assert emulator.ledger()["total"] == "4"


@pytest.mark.parametrize(("fault", "charged"), [("lost_answer", 1), ("not_charged_drop", 0)])
@pytest.mark.parametrize(("path", "body"), [(SECOND, ORDER), (GEMINI, TURN)], ids=["nanobanana", "gemini"])
def test_a_broken_connection_leaves_no_answer(
    emulator: Emulator, session: requests.Session, fault: str, charged: int, path: str, body: dict[str, Any]
) -> None:
    """The caller sees a connection error; the books alone know whether it was charged."""
    emulator.fault(fault, times=1)
    with pytest.raises(requests.ConnectionError):
        session.post(emulator.url + path, json=body, timeout=10)
    assert [charge["outcome"] for charge in emulator.ledger()["charges"]] == ["lost"] * charged
    assert session.post(emulator.url + path, json=body, timeout=10).status_code == 200


@pytest.mark.parametrize(("path", "body"), [(SECOND, ORDER), (GEMINI, TURN)], ids=["nanobanana", "gemini"])
def test_a_connection_can_be_reset_before_the_order_is_read(
    emulator: Emulator, session: requests.Session, path: str, body: dict[str, Any]
) -> None:
    """The connection breaks; nothing was read, counted or charged, and the next order is served."""
    rule = emulator.fault("reset", times=1)
    with pytest.raises(requests.ConnectionError):
        session.post(emulator.url + path, json=body, timeout=10)
    assert (rule.fired, emulator.ledger()["count"], emulator.ledger()["submissions"]) == (1, 0, 0)
    assert session.post(emulator.url + path, json=body, timeout=10).status_code == 200


def test_a_server_error_charges_nothing(emulator: Emulator, session: requests.Session) -> None:
    """500 and 503 take no money from either provider."""
    for status, path, body in ((500, SECOND, ORDER), (503, GEMINI, TURN)):
        emulator.fault("server_error", times=1, status=status)
        assert session.post(emulator.url + path, json=body, timeout=10).status_code == status
    assert emulator.ledger()["count"] == 0


def test_nobody_listens_for_a_while(emulator: Emulator, session: requests.Session) -> None:
    """Connections are refused and open ones break; afterwards the same address serves, with its books and tasks."""
    task = order(session, emulator)["data"]["taskId"]
    with emulator.refusing():
        with pytest.raises(requests.ConnectionError):
            order(session, emulator)
        with pytest.raises(requests.ConnectionError, match="refused"):
            requests.post(emulator.url + SECOND, json=ORDER, headers=HEADERS, timeout=10)
    assert record(session, emulator, task)["successFlag"] == 1
    assert emulator.ledger()["count"] == 1


@pytest.mark.parametrize(("path", "body"), [(SECOND, ORDER), (GEMINI, TURN)], ids=["nanobanana", "gemini"])
def test_a_slow_answer_is_charged_at_once(
    emulator: Emulator, session: requests.Session, path: str, body: dict[str, Any]
) -> None:
    """`hang` takes the money first and answers whoever still waits after its seconds."""
    emulator.fault("hang", times=1, seconds=0.4)
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        answer = pool.submit(session.post, emulator.url + path, json=body, timeout=10)
        until(lambda: emulator.ledger()["count"] == 1)
        assert emulator.ledger()["charges"][0]["outcome"] == "lost"
        assert answer.result(10).status_code == 200
        assert time.monotonic() - began >= 0.4
    assert emulator.ledger()["charges"][0]["outcome"] == "delivered"


def test_orders_beyond_the_limit_are_turned_away(session: requests.Session) -> None:
    """The third order within the window gets 429 and costs nothing; the books tell when each came."""
    with Emulator(plain=True, limits="nanobanana=2/h,gemini=1/h") as emulator:
        assert [order(session, emulator)["code"] for _ in range(3)] == [200, 200, 429]
        answers = [session.post(emulator.url + GEMINI, json=TURN, timeout=10) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 429]
        books = session.get(f"{emulator.url}/__ledger", timeout=10).json()
        assert (books["count"], books["limited"]) == (3, 2)
        assert {name: (len(one["taken"]), len(one["refused"])) for name, one in books["limits"].items()} == {
            "gemini": (1, 1),
            "nanobanana": (2, 1),
        }
        emulator.reset()
        assert order(session, emulator)["code"] == 200


def test_an_answer_nobody_waited_for_stays_lost(session: requests.Session) -> None:
    """A caller that gives up while Gemini draws has paid for a lost answer; a patient one gets it after the latency."""
    with Emulator(latency=0.4, plain=True) as emulator:
        with pytest.raises(requests.Timeout):
            session.post(emulator.url + GEMINI, json=TURN, timeout=0.1)
        began = time.monotonic()
        assert session.post(emulator.url + GEMINI, json=TURN, timeout=10).status_code == 200
        assert time.monotonic() - began >= 0.4
        assert [charge["outcome"] for charge in emulator.ledger()["charges"]] == ["lost", "delivered"]


def test_a_webhook_is_posted_and_tried_again(emulator: Emulator, session: requests.Session) -> None:
    """A receiver that fails once gets the same record a second time, then no more."""
    with Inbox(500) as inbox:
        task = order(session, emulator, callBackUrl=inbox.url)["data"]["taskId"]
        until(lambda: emulator.ledger()["callbacks"] == 1)
        assert [body["data"]["taskId"] for body in inbox.bodies] == [task, task]
        assert inbox.bodies[0]["data"]["successFlag"] == 1
        assert emulator.ledger()["callbacksFailed"] == 1


@pytest.mark.parametrize(
    ("fault", "params", "calls"),
    [("lost_callback", {}, 0), ("duplicate_callback", {"copies": 2}, 2), ("late_callback", {"seconds": 0.3}, 1)],
)
def test_a_webhook_can_be_lost_doubled_or_late(
    emulator: Emulator, session: requests.Session, fault: str, params: dict[str, Any], calls: int
) -> None:
    """Each of the three, told apart by how often and when the receiver is called."""
    emulator.fault(fault, **params)
    with Inbox() as inbox:
        began = time.monotonic()
        order(session, emulator, callBackUrl=inbox.url)
        until(lambda: len(inbox.bodies) == calls)
        late = time.monotonic() - began
        time.sleep(0.1)
        assert len(inbox.bodies) == calls
        assert late >= params.get("seconds", 0)


def test_an_early_webhook_is_there_before_the_answer(session: requests.Session) -> None:
    """When the submit is answered, the webhook has been delivered and the task is done, whatever the latency."""
    with Inbox() as inbox, Emulator(latency=60, plain=True, faults=[{"fault": "early_callback"}]) as emulator:
        task = order(session, emulator, callBackUrl=inbox.url)["data"]["taskId"]
        assert [body["data"]["taskId"] for body in inbox.bodies] == [task]
        assert record(session, emulator, task)["successFlag"] == 1


def test_references_are_fetched_from_this_machine_alone(emulator: Emulator, session: requests.Session) -> None:
    """A loopback picture is taken and gives its shape; a page that is no picture, or another machine, is refused."""
    address = record(session, emulator, order(session, emulator)["data"]["taskId"])["response"]["resultImageUrl"]
    task = order(session, emulator, imageUrls=[address], aspectRatio="auto")["data"]["taskId"]
    drawn = session.get(record(session, emulator, task)["response"]["resultImageUrl"], timeout=10).content
    with Image.open(io.BytesIO(drawn)) as picture:
        assert picture.size == (1376, 768)
    for wrong in (f"{emulator.url}/__ledger", f"{emulator.url}/files/none.jpeg", "http://192.0.2.7/a.jpg"):
        refused = order(session, emulator, imageUrls=[wrong])
        assert refused["code"] == 422
        assert "Image fetch failed" in refused["msg"]
    assert emulator.ledger()["count"] == 2


def test_the_script_can_be_changed_over_http(emulator: Emulator, session: requests.Session) -> None:
    """POST adds rules, GET tells their hits, a bad rule answers 400, DELETE clears, reset empties the books."""
    door = f"{emulator.url}/__faults"
    assert session.post(door, json=[{"fault": "maintenance", "times": 1}], timeout=10).status_code == 200
    assert [order(session, emulator)["code"] for _ in range(2)] == [455, 200]
    assert session.get(door, timeout=10).json()[0]["fired"] == 1
    bad = session.post(door, json=[{"fault": "explode"}], timeout=10)
    assert (bad.status_code, bad.json()["error"]["problems"][0]["field"]) == (400, "fault")
    assert session.delete(door, timeout=10).json() == []
    assert session.post(f"{emulator.url}/__reset", timeout=10).status_code == 200
    assert emulator.ledger()["count"] == 0


def test_unknown_paths_and_methods_are_told_apart(emulator: Emulator, session: requests.Session) -> None:
    """404 for a path nobody serves, 405 for the wrong method, and the connection lives on."""
    assert session.get(f"{emulator.url}/api/v1/nanobanana/get-task-details", timeout=10).status_code == 404
    assert session.get(emulator.url + SECOND, timeout=10).status_code == 405
    assert order(session, emulator)["code"] == 200


def test_a_chunked_body_and_an_expectation_are_understood(emulator: Emulator, session: requests.Session) -> None:
    """Chunked bodies are joined; Expect: 100-continue is answered before the body is read."""
    raw = json.dumps(ORDER).encode()
    sent = session.post(emulator.url + SECOND, data=iter([raw[:9], raw[9:]]), timeout=10)
    assert sent.json()["code"] == 200
    host, _, port = emulator.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as plug:
        head = f"POST {SECOND} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nExpect: 100-continue\r\n"
        plug.sendall(f"{head}Content-Length: {len(raw)}\r\nConnection: close\r\n\r\n".encode())
        assert plug.recv(100).startswith(b"HTTP/1.1 100 ")
        plug.sendall(raw)
        answer = b"".join(iter(lambda: plug.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 200 OK")


def test_nothing_is_left_after_stop(session: requests.Session) -> None:
    """Held answers, idle connections and planned webhooks end with the emulator: no thread, no socket, no warning."""
    before = set(threading.enumerate())
    with warnings.catch_warnings(), Inbox() as inbox, ThreadPoolExecutor(1) as pool:
        warnings.simplefilter("error")
        kept = set(threading.enumerate())
        emulator = Emulator(plain=True).start()
        emulator.fault("hang", provider="gemini", seconds=60)
        order(session, emulator, callBackUrl=inbox.url)
        until(lambda: len(inbox.bodies) == 1)
        held = pool.submit(requests.post, emulator.url + GEMINI, json=TURN, headers=HEADERS, timeout=30)
        until(lambda: emulator.ledger()["count"] == 2)
        address = emulator.url
        began = time.monotonic()
        emulator.stop()
        assert time.monotonic() - began < 5
        with pytest.raises(requests.ConnectionError):
            held.result(10)
        with pytest.raises(requests.ConnectionError):
            requests.get(f"{address}/__health", timeout=2)
        mine = {thread for thread in threading.enumerate() if thread.name.startswith("emulator")}
        assert mine - kept - before == set()


def test_a_taken_port_is_named() -> None:
    """Starting on a busy port raises PartUnavailable with the address in its words."""
    with Emulator() as emulator:
        port = int(emulator.url.rpartition(":")[2])
        with pytest.raises(PartUnavailable, match=str(port)):
            Emulator(port).start()
