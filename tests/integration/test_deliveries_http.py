"""Deliveries over real HTTP on PostgreSQL: receivers that fail, hang, redirect inside, or have gone for good."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from imagegen import policies
from imagegen.clock import SystemClock
from imagegen.delivering import deliver, hand_out
from imagegen.jobs import Job
from imagegen.outbox import Delivery, State
from imagegen.ports import Services
from imagegen.ports_deliveries import DeliveryFilter
from imagegen.transport import NotSentError, Transport
from imagegen.webhooks import Signer, verify
from tests.jobs_kit import Store
from tests.pipeline_parts import World
from tests.receiver import Inbox, receiving

pytest_plugins = ["tests.stores"]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NAMED = "shop.example"


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with receiving() as inbox:
        yield inbox


class Post:
    """A world on PostgreSQL whose deliveries go over the real transport. Its clock is the system's."""

    def __init__(self, postgres: Store) -> None:
        self.world = World(postgres)
        self.transport = Transport()
        told: dict[str, Any] = {
            "transport": self.transport, "signer": Signer([SECRET]), "allow_hosts": ("127.0.0.0/8",),
            "clock": SystemClock(),
        }  # fmt: skip
        self.services: Services = replace(self.world.services, **told)
        self.lookups: list[list[str]] = []

    def ended(self, url: str) -> Job:
        job = self.world.job("gemini", request={"prompt": "a fox", "provider": "gemini", "callbackUrl": url})
        self.world.chain(job)
        return self.world.now(job)

    def lookup(self, host: str) -> list[str]:
        assert host == NAMED
        return self.lookups.pop(0)

    def carry(self) -> State | None:
        """Hands out the one delivery that is due, and makes the attempt."""
        assert hand_out(self.services) == 1
        due = self.world.heard.due.pop()
        return deliver(due.id, due.number, self.services, self.lookup)

    def row(self) -> Delivery:
        (found,), _ = self.services.deliveries.list(DeliveryFilter())
        return found


@pytest.fixture
def post(postgres: Store) -> Iterator[Post]:
    post = Post(postgres)
    yield post
    post.transport.close()


def test_a_webhook_arrives_and_verifies(post: Post, inbox: Inbox) -> None:
    """Raw body and headers as they came prove the event; the document is the job's."""
    job = post.ended(inbox.url("/ok?key=1"))
    assert post.carry() is State.DELIVERED
    (got,) = inbox.at("/ok")
    event = verify(got.body, got.headers, [SECRET])
    assert (event.type, event.document.id, event.document.ok) == ("image.job.completed", job.id, True)
    assert (got.path, got.headers["content-type"]) == ("/ok?key=1", "application/json")
    assert event.document.json_document() == job.document().json_document()


def test_a_receiver_that_fails_is_told_again(post: Post, inbox: Inbox) -> None:
    """500, then accepted: two requests with one id; the log has both."""
    inbox.answers["/flaky"] = [500, 204]
    post.ended(inbox.url("/flaky"))
    assert post.carry() is State.DUE
    row = post.row()
    assert row.due_at is not None
    later = replace(post.services, clock=_At(row.due_at))
    assert hand_out(later) == 1
    due = post.world.heard.due.pop()
    assert deliver(due.id, due.number, later) is State.DELIVERED
    assert len({got.headers["webhook-id"] for got in inbox.at("/flaky")}) == 1
    assert [one.status for one in post.row().log] == [500, 204]


def test_a_receiver_that_hangs_is_left(post: Post, inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the total deadline the attempt is over, whatever the receiver does, and is tried again."""
    monkeypatch.setattr(policies, "DELIVERY_TOTAL", 0.4)
    inbox.answers["/hang"] = [None]
    post.ended(inbox.url("/hang"))
    began = time.monotonic()
    assert post.carry() is State.DUE
    assert time.monotonic() - began < 8
    (sending,) = post.row().log
    assert sending.status is None
    assert sending.error is not None
    assert 300 < sending.ms < 3000


def test_a_redirect_inside_is_not_followed(post: Post, inbox: Inbox) -> None:
    """The receiver points at another address: refused, and nobody asked there."""
    inbox.answers["/away"] = [(307, inbox.url("/inside", "127.0.0.2"))]
    post.ended(inbox.url("/away"))
    assert post.carry() is State.REFUSED
    assert inbox.at("/inside") == []
    assert [one.status for one in post.row().log] == [307]


def test_gone_is_gone(post: Post, inbox: Inbox) -> None:
    """410: disabled, and nothing is due any more."""
    inbox.answers["/gone"] = [410]
    post.ended(inbox.url("/gone"))
    assert post.carry() is State.DISABLED
    assert hand_out(post.services) == 0
    assert len(inbox.at("/gone")) == 1


def test_nobody_there_is_tried_again(post: Post) -> None:
    """A refused connection is logged and tried again."""
    with receiving() as gone:
        url = gone.url("/")
    post.ended(url)
    assert post.carry() is State.DUE
    assert "did not leave" in (post.row().log[0].error or "")


def test_an_address_inside_is_refused(post: Post, inbox: Inbox) -> None:
    """Without the exemption the loopback is not reached, and not tried again."""
    post.services = replace(post.services, allow_hosts=())
    post.ended(inbox.url("/ok"))
    assert post.carry() is State.REFUSED
    assert inbox.got == []


def test_a_name_is_looked_up_once(post: Post, inbox: Inbox) -> None:
    """What the name service says the second time does not matter: the connection goes to the address that was judged.

    The name would lead nowhere by itself; the receiver still gets it as Host.
    """
    post.lookups = [["127.0.0.1"], ["127.0.0.9"]]
    post.ended(inbox.url("/named", NAMED))
    assert post.carry() is State.DELIVERED
    assert post.lookups == [["127.0.0.9"]]
    (got,) = inbox.at("/named")
    assert got.headers["host"] == f"{NAMED}:{inbox.port}"


def test_a_pinned_call_tries_each_address(post: Post, inbox: Inbox) -> None:
    """The first that answers is taken; none: the request did not leave."""
    url = inbox.url("/pinned", NAMED)
    call = post.transport.call
    assert call("GET", url, total=5, addresses=["127.0.0.9", "127.0.0.1"]).status == 204
    with pytest.raises(NotSentError):
        call("GET", url, total=5, addresses=["127.0.0.9"])
    assert len(inbox.at("/pinned")) == 1


class _At(SystemClock):
    """The system's clock, set to a moment."""

    def __init__(self, moment: Any) -> None:
        self._moment = moment

    def now(self) -> Any:
        return self._moment
