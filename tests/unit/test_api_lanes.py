"""Who names slow servers waits for them alone: nobody else's request does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any

import pytest

from imagegen import guard
from imagegen.api import inputs, webhooks
from imagegen.api.lanes import FAR, UPLOADS, Lane, names_addresses
from imagegen.errors import Temporary, TooManyRequests
from tests.door import Door, served
from tests.drawings import a_file
from tests.pipeline_parts import World

pytest_plugins = ["tests.worlds"]
PNG = a_file("PNG")
SLOW = {"prompt": "a fox", "owner": "ada", "referenceImages": ["https://slow.example/a.png"]}
GEMINI = {"prompt": "a fox", "provider": "gemini"}
POOL = 40
"""Threads that all other requests share (anyio)."""


@pytest.fixture
def door(world: World) -> Iterator[Door]:
    """The door before a world, for ada."""
    with served(world.services) as door:
        yield door


def test_slow_servers_of_one_owner_hold_up_nobody_else(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """More requests than there are threads wait for a name that does not resolve; all others are answered."""
    let_go = threading.Event()

    def hang(*args: Any, **more: Any) -> Any:
        let_go.wait(30)
        raise OSError("no such host")

    monkeypatch.setattr(guard, "getaddrinfo", hang)
    routes = ("generate", "estimate")
    many = FAR["threads"] + POOL
    with ThreadPoolExecutor(many + 1) as threads:
        slow = [threads.submit(door.post, f"/api/images/{routes[one % 2]}", SLOW) for one in range(many)]
        try:
            others = (door.as_("bob"), door)
            assert [threads.submit(one.get, "/api/images/jobs").result(10).status_code for one in others] == [200] * 2
        finally:
            let_go.set()
        answers = [one.result(30).status_code for one in slow]
    assert set(answers) <= {422, 429}
    assert answers.count(422) >= FAR["pending"]


def test_a_slow_balance_holds_up_estimates_alone(world: World, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that does not answer for its balance keeps nobody from anything else."""
    let_go = threading.Event()

    def credit() -> None:
        let_go.wait(30)

    monkeypatch.setattr(world.studio, "credit", credit)
    with ThreadPoolExecutor(POOL + 1) as threads:
        slow = [threads.submit(door.post, "/api/images/estimate", GEMINI) for _ in range(POOL)]
        try:
            assert threads.submit(door.get, "/api/images/jobs").result(10).status_code == 200
            assert not any(one.done() for one in slow)
        finally:
            let_go.set()
        assert {one.result(30).status_code for one in slow} == {200}


def test_callbacks_hold_up_each_other_alone(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may call the door of callbacks: however many of them wait for keys, who has a token does not."""
    let_go = threading.Event()

    def hang(*args: Any) -> Any:
        let_go.wait(30)
        raise Temporary("its keys cannot be read")

    monkeypatch.setattr(webhooks, "take", hang)
    many = webhooks.THREADS + POOL
    with ThreadPoolExecutor(many + 1) as threads:
        calls = [threads.submit(door.client.post, "/api/webhooks/nano-banana", json={}) for _ in range(many)]
        try:
            assert threads.submit(door.get, "/api/images/jobs").result(10).status_code == 200
            assert not any(one.done() for one in calls)
        finally:
            let_go.set()
        assert {one.result(30).status_code for one in calls} == {503}


def test_an_owner_has_its_share_of_the_lane() -> None:
    """So many at a time, so many that wait; another owner's run beside them, and all of it is forgotten at the end."""
    let_go = threading.Event()
    began: list[str] = []

    async def ask(lane: Lane, owner: str) -> str:
        def work() -> str:
            began.append(owner)
            let_go.wait(30)
            return owner

        async with lane.place(owner) as run:
            return str(await run(work))

    async def all_of_them() -> list[Any]:
        lane = Lane(threads=4, of_owner=2, pending=3)
        asked = [asyncio.create_task(ask(lane, owner)) for owner in ("ada", "ada", "ada", "ada", "bob")]
        async with asyncio.timeout(20):
            while len(began) < 3:
                await asyncio.sleep(0.001)
        assert sorted(began) == ["ada", "ada", "bob"]
        let_go.set()
        told = await asyncio.gather(*asked, return_exceptions=True)
        assert not lane._pending
        assert not lane._turns
        return told

    told = asyncio.run(all_of_them())
    assert told[:3] + told[4:] == ["ada", "ada", "ada", "bob"]
    assert isinstance(told[3], TooManyRequests)


def test_an_owner_sends_so_many_pictures_at_once(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes on top is refused before a byte of it is kept; the others are stored, and nobody else waits."""
    let_go, store, most = threading.Event(), inputs.store_input, UPLOADS["pending"]

    def slow(*args: Any) -> str:
        let_go.wait(30)
        return store(*args)

    def send() -> int:
        headers = {**door.headers, "Content-Type": "image/png"}
        return int(door.client.post("/api/images/inputs", content=PNG, headers=headers).status_code)

    monkeypatch.setattr(inputs, "store_input", slow)
    with ThreadPoolExecutor(most + 1) as threads:
        sent = [threads.submit(send) for _ in range(most + 1)]
        try:
            first, _ = wait(sent, 20, FIRST_COMPLETED)
            assert [one.result() for one in first] == [429]
            assert door.as_("bob").get("/api/images/jobs").status_code == 200
        finally:
            let_go.set()
        assert sorted(one.result(30) for one in sent) == [201] * most + [429]


@pytest.mark.parametrize(
    ("body", "far"),
    [
        ({"prompt": "a fox"}, False),
        ({"prompt": "a fox", "sourceImage": "input:00", "mask": "data:image/png;base64,"}, False),
        (SLOW, True),
        ({"callbackUrl": " HTTPS://shop.example/"}, True),
        ({"requests": [{"style": {"references": ["http://a.example/"]}}]}, True),
        ({"visualStyleCapsuleId": "noir"}, True),
    ],
)
def test_addresses_are_seen_wherever_they_stand(body: dict[str, Any], far: bool) -> None:
    """In any field of any member, and behind a style's name."""
    assert names_addresses(body) is far
