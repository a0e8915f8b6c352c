"""Deliveries: when again, what ends them, and one attempt with everything that may go wrong in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from standardwebhooks import Webhook

from imagegen import policies
from imagegen.delivering import deliver, hand_out
from imagegen.errors import ImagegenError, InvalidRequest, PartUnavailable
from imagegen.jobs import Job
from imagegen.outbox import Delivery, Sending, State, Target, judged
from imagegen.placeholders import replacement
from imagegen.ports import Services
from imagegen.ports_deliveries import DeliveryFilter, Due
from imagegen.testing.memory import MemoryJobs
from imagegen.transport import NotSentError, Reply
from imagegen.webhooks import Signer
from tests.jobs_kit import MemoryStore
from tests.pipeline_doubles import Shop
from tests.pipeline_parts import World

pytest_plugins = ["tests.worlds"]
NOW = datetime(2026, 11, 21, tzinfo=UTC)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ADDRESS, URL = "93.184.216.34", "https://shop.example/hook"
TASK = {"name": "shop.pictures", "queue": "shop"}
DAY = timedelta(hours=24)


def delivery(**given: Any) -> Delivery:
    usual: dict[str, Any] = {
        "id": uuid4(), "event_id": "e", "kind": "k", "target": Target.WEBHOOK, "address": URL, "owner": "ada",
        "document": {}, "at": NOW, "since": NOW,
    }  # fmt: skip
    return Delivery(**{**usual, **given})


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_delivered(status: int) -> None:
    """Nothing more is sent."""
    told = judged(delivery(), Sending(at=NOW, ms=1, status=status))
    assert (told.state, told.due_at) == (State.DELIVERED, None)


@pytest.mark.parametrize(("status", "state"), [(410, State.DISABLED), (301, State.REFUSED), (307, State.REFUSED)])
def test_some_answers_are_the_last(status: int, state: State) -> None:
    """Gone for good, or somewhere else: not tried again."""
    assert judged(delivery(), Sending(at=NOW, ms=1, status=status, error="x")).state is state


@pytest.mark.parametrize("status", [None, 400, 401, 404, 408, 429, 500, 503])
def test_everything_else_is_tried_again(status: int | None) -> None:
    """Five seconds after the first failure."""
    told = judged(delivery(), Sending(at=NOW, ms=1, status=status, error="x"))
    assert (told.state, told.due_at) == (State.DUE, NOW + timedelta(seconds=5))


def test_the_pauses_grow_over_a_day() -> None:
    """5 s, 30 s, 2 min, 10 min, 1 h, 3 h, then every 6 h; past 24 hours it is given up."""
    row, at, waits = delivery(), NOW, []
    for _ in range(99):
        sending = Sending(at=at, ms=1, error="x")
        told = judged(row, sending)
        if told.due_at is None:
            break
        waits.append((told.due_at - at).total_seconds())
        at, row = told.due_at, replace(row, log=(*row.log, sending))
    assert waits == [5, 30, 120, 600, 3600, 10800, 21600, 21600, 21600]
    assert told.state is State.FAILED
    assert at - NOW <= DAY


def test_a_redelivery_begins_anew() -> None:
    """Its pauses count from it, whatever was logged before."""
    log = tuple(Sending(at=NOW, ms=1, error="x") for _ in range(9))
    again = delivery(log=log, since=NOW + DAY)
    assert judged(again, Sending(at=NOW + DAY, ms=1, error="x")).due_at == NOW + DAY + timedelta(seconds=5)


@dataclass
class Receiver:
    """A transport that answers by script; what it was sent."""

    answers: list[int | ImagegenError] = field(default_factory=list)
    got: list[dict[str, Any]] = field(default_factory=list)

    def call(self, method: str, url: str, **given: Any) -> Reply:
        self.got.append({"method": method, "url": url, **given})
        answer = self.answers.pop(0) if self.answers else 204
        if isinstance(answer, ImagegenError):
            raise answer
        return Reply(answer, {}, b"")


class Post:
    """A world in memory with one ended job and its receiver."""

    def __init__(self, world: World) -> None:
        self.world, self.receiver = world, Receiver()
        told: dict[str, Any] = {"transport": self.receiver, "signer": Signer([SECRET])}
        self.services: Services = replace(world.services, **told)
        self.looked: list[str] = []
        self.addresses = [ADDRESS]

    def lookup(self, host: str) -> list[str]:
        self.looked.append(host)
        if not self.addresses:
            raise OSError("unknown")
        return self.addresses

    def ended(self, **request: Any) -> Job:
        job = self.world.job("gemini", request={"prompt": "a fox", "provider": "gemini", **request})
        self.world.chain(job)
        return self.world.now(job)

    def row(self) -> Delivery:
        (found,), _ = self.services.deliveries.list(DeliveryFilter())
        return found

    def carry(self) -> State | None:
        """The sweep hands out one delivery, and a courier makes the attempt."""
        assert hand_out(self.services) == 1
        due: Due = self.world.heard.due.pop()
        return deliver(due.id, due.number, self.services, self.lookup)


@pytest.fixture
def post(world: World) -> Post:
    return Post(world)


def test_an_end_is_posted_signed_and_pinned(post: Post) -> None:
    """One POST of the finished document, whose signature holds, to the address that was judged, within ten seconds."""
    job = post.ended(callbackUrl=URL)
    assert post.carry() is State.DELIVERED
    (got,) = post.receiver.got
    assert (got["method"], got["url"], got["addresses"]) == ("POST", URL, (ADDRESS,))
    assert 0 < got["total"] <= policies.DELIVERY_TOTAL
    sent_at = datetime.fromtimestamp(int(got["headers"]["webhook-timestamp"]), UTC)
    signature = Webhook(SECRET).sign(got["headers"]["webhook-id"], sent_at, got["data"].decode())
    assert got["headers"]["webhook-signature"] == signature
    body = json.loads(got["data"])
    assert (body["type"], body["data"]) == ("image.job.completed", job.document().json_document())
    assert got["headers"]["webhook-id"] == f"job_{job.id}_1_completed"
    row = post.row()
    assert [(one.status, one.error) for one in row.log] == [(204, None)]
    assert hand_out(post.services) == 0


def test_a_repetition_has_the_same_id_and_body(post: Post) -> None:
    """Only the time of sending, and with it the signature, is another."""
    post.ended(callbackUrl=URL)
    post.receiver.answers = [503]
    assert post.carry() is State.DUE
    post.world.clock.advance(5)
    assert post.carry() is State.DELIVERED
    first, second = post.receiver.got
    assert first["data"] == second["data"]
    assert first["headers"]["webhook-id"] == second["headers"]["webhook-id"]
    assert first["headers"]["webhook-timestamp"] != second["headers"]["webhook-timestamp"]
    assert [one.error for one in post.row().log] == ["the receiver answers 503", None]


def test_the_job_never_hears_of_it(post: Post) -> None:
    """Whatever its receiver does, the job's row and history stay as its end left them."""
    job = post.ended(callbackUrl=URL)
    moves = post.world.moves(job)
    post.receiver.answers = [500, NotSentError("nobody there"), 302]
    for _ in range(3):
        post.carry()
        post.world.clock.advance(60)
    assert post.row().state is State.REFUSED
    assert (post.world.now(job), post.world.moves(job)) == (job, moves)


def test_no_redirect_is_followed(post: Post) -> None:
    """A redirect is refused and logged as what it is."""
    post.ended(callbackUrl=URL)
    post.receiver.answers = [301]
    assert post.carry() is State.REFUSED
    assert [one.error for one in post.row().log] == ["the receiver redirects, which is not followed"]


def test_each_attempt_judges_the_address_anew(post: Post) -> None:
    """A name that leads inside by then is refused, and nothing is sent."""
    post.ended(callbackUrl=URL)
    post.addresses = ["10.0.0.7"]
    assert post.carry() is State.REFUSED
    assert post.receiver.got == []
    assert [one.error for one in post.row().log] == ["callbackUrl shop.example is not a public address"]


def test_a_name_that_is_unknown_just_now_is_asked_again(post: Post) -> None:
    """The name service's failure is not the receiver's last word."""
    post.ended(callbackUrl=URL)
    post.addresses = []
    assert post.carry() is State.DUE
    post.world.clock.advance(5)
    post.addresses = [ADDRESS]
    assert post.carry() is State.DELIVERED


def test_without_a_secret_nothing_leaves(post: Post) -> None:
    """A secret that was taken away: the delivery waits for it."""
    post.ended(callbackUrl=URL)
    post.services = replace(post.services, signer=None)
    assert post.carry() is State.DUE
    assert post.receiver.got == []


def test_a_task_gets_the_document(post: Post) -> None:
    """Its message has an id that stays the same; a broker that is away is tried again, a queue of ours is refused."""
    job = post.ended(notifyTask=TASK)
    heard = post.world.heard
    notify = heard.notify
    outage: ImagegenError = PartUnavailable("away", {"part": "broker"})

    def away(task: Mapping[str, str], task_id: str, document: Mapping[str, Any]) -> None:
        raise outage

    heard.notify = away  # type: ignore[method-assign]
    assert post.carry() is State.DUE
    post.world.clock.advance(5)
    heard.notify = notify  # type: ignore[method-assign]
    assert post.carry() is State.DELIVERED
    ((task, task_id, document),) = heard.notified
    assert (task, task_id, document) == (TASK, post.row().task_id, job.document().json_document())
    again = post.services.deliveries.redeliver(post.row().id, at=post.world.clock.now())
    assert again.task_id == task_id
    outage = InvalidRequest.of("notifyTask.queue", "is ours", "Name yours.")
    heard.notify = away  # type: ignore[method-assign]
    assert post.carry() is State.REFUSED


def test_two_messages_make_one_attempt(post: Post) -> None:
    """A doubled hint finds the attempt begun."""
    post.ended(callbackUrl=URL)
    hand_out(post.services)
    (due,) = post.world.heard.due
    assert deliver(due.id, due.number, post.services, post.lookup) is State.DELIVERED
    assert deliver(due.id, due.number, post.services, post.lookup) is None
    assert len(post.receiver.got) == 1


def test_the_sweep_hands_out_what_is_due(post: Post) -> None:
    """Within one sweep of the end."""
    post.ended(callbackUrl=URL)
    post.world.sweep()
    assert [one.number for one in post.world.heard.due] == [1]


def test_a_replacement_tells_nobody_of_itself(post: Post) -> None:
    """The placeholder's job hears `completed` and `replaced`; the job that bought the picture has no targets."""
    shop: Shop = post.world.studio
    assert isinstance(post.world.store, MemoryStore)
    rows: MemoryJobs = post.world.store.jobs

    job = post.ended(callbackUrl=URL, notifyTask=TASK, placeholder="on_failure")
    assert shop.charged == 1
    assert not {"callbackUrl", "notifyTask", "placeholder"} & set(replacement(job, post.services).request)
    assert len(rows.outbox) == 2
