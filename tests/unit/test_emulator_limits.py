"""Rate limits of the emulated providers, without a socket: the window is exact, the answers are each provider's own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from imagegen.emulator.callbacks import CallbackSender
from imagegen.emulator.ledger import Ledger
from imagegen.emulator.limits import Limits
from imagegen.emulator.outbound import Outbound
from imagegen.emulator.wire import Reply, Request
from imagegen.emulator.world import furnish
from imagegen.errors import InvalidRequest

PROVIDERS = ("nanobanana", "gemini")


class Hands:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Gate:
    """A limit over its own books."""

    def __init__(self, told: str) -> None:
        self.clock, self.ledger = Hands(), Ledger()
        self.limits = Limits(told, PROVIDERS, self.ledger, self.clock)

    def take(self, at: float, provider: str = "gemini", model: str = "m") -> float:
        """One order `at` seconds after the beginning; how long it has to wait."""
        self.clock.now = 1000.0 + at
        excess = self.limits.take(provider, model)
        return excess.wait if excess else 0.0


def test_the_window_slides_and_is_exact() -> None:
    """Three in ten seconds: the fourth waits until the first is ten seconds old, to the clock's own grain."""
    gate = Gate("gemini=3/10s")
    assert [gate.take(0), gate.take(4), gate.take(5), gate.take(6)] == [0, 0, 0, 4.0]
    assert gate.take(9.999) == pytest.approx(0.001)
    assert [gate.take(10), gate.take(10), gate.take(14), gate.take(14)] == [0, 4.0, 0, 1.0]


def test_refused_orders_fill_no_window() -> None:
    """Who is turned away may come as soon as the accepted ones are old enough."""
    gate = Gate("gemini=1/s")
    assert [gate.take(0), gate.take(0.5), gate.take(0.9), gate.take(1.0)] == [0, 0.5, pytest.approx(0.1), 0]


def test_a_model_has_its_own_window_beside_the_provider_s() -> None:
    """Both must have room; an order refused by one takes no place in the other; other providers are free."""
    gate = Gate("gemini=2/m,gemini:pro=1/m")
    assert [gate.take(0, model="pro"), gate.take(1, model="pro"), gate.take(2), gate.take(3)] == [0, 59.0, 0, 57.0]
    assert [gate.take(4, "nanobanana") for _ in range(9)] == [0] * 9


def test_the_books_tell_every_moment() -> None:
    """What was let in and what was refused, with its time, for limited providers only; reset empties all."""
    gate = Gate("gemini=1/s")
    gate.take(0), gate.take(0.25), gate.take(0, "nanobanana")
    document = gate.ledger.document()
    assert document["limited"] == 1
    taken, refused = "1970-01-01T00:16:40Z", "1970-01-01T00:16:40.250000Z"
    assert document["limits"] == {"gemini": {"taken": [taken], "refused": [refused]}}
    gate.limits.reset()
    gate.ledger.reset()
    assert gate.take(0.3) == 0
    assert gate.ledger.document()["limited"] == 0


@pytest.mark.parametrize("told", ["gemini=0/s", "gemini", "fal=1/s", "acme=1/s", "gemini=1/week"])
def test_a_wrong_limit_is_refused(told: str) -> None:
    """The error names the setting and what would be right; a provider that is not emulated is none."""
    with pytest.raises(InvalidRequest) as caught:
        Gate(told)
    assert caught.value.problems[0]["field"] == "limits"


def test_each_provider_answers_429_in_its_own_words() -> None:
    """Gemini: HTTP 429 with quota and RetryInfo; nanobanana: HTTP 200 with code 429 and no hint. Nothing is charged."""
    clock, ledger = Hands(), Ledger()
    outbound = Outbound()
    callbacks = CallbackSender(outbound, ledger)
    limits = "gemini=1/10s,nanobanana=1/10s"
    world = furnish(ledger, outbound, callbacks, clock=clock, plain=True, limits=limits)

    def post(path: str, body: Any) -> Reply:
        headers = {"authorization": "Bearer k", "x-goog-api-key": "k"}
        return world.handle(Request.of("POST", path, headers, json.dumps(body).encode(), "127.0.0.1:1"))

    turn = ("/v1beta/models/gemini-nano-banana-2.1:generateContent", {"contents": [{"parts": [{"text": "a fox"}]}]})
    order = ("/api/v1/nanobanana/generate-2", {"prompt": "a fox", "aspectRatio": "16:9", "resolution": "1K"})
    post(*turn), post(*order)
    clock.now += 2.5
    google, banana = post(*turn), post(*order)
    error = json.loads(google.content())["error"]
    details = {one["@type"].rpartition(".")[2]: one for one in error["details"]}
    assert (google.status, error["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert details["RetryInfo"]["retryDelay"] == "7.5s"
    assert details["QuotaFailure"]["violations"][0]["quotaValue"] == "1"
    assert (banana.status, json.loads(banana.content())["code"], banana.headers) == (200, 429, {})
    assert (ledger.document()["count"], ledger.document()["limited"]) == (2, 2)
    clock.now += 7.5
    assert post(*turn).status == 200
