"""Alerts from PostgreSQL to a webhook over real HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from sqlalchemy import delete

from imagegen import alerts
from imagegen.records import Watch
from imagegen.transport import Transport
from storage.alerts import PostgresAlerts
from storage.tables import ALERTS
from tests.jobs_kit import PostgresStore
from tests.pipeline_parts import World

pytest_plugins = ["tests.stores"]


class Channel:
    """A Slack channel's webhook. `status` answers; `mute` says nothing until it is set."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.status = 200
        self.mute = threading.Event()
        self.mute.set()
        channel = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                channel.mute.wait(10)
                if channel.status == 200:
                    channel.texts.append(body["text"])
                self.send_response(channel.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/services/secret"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def close(self) -> None:
        self.mute.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def channel() -> Iterator[Channel]:
    channel = Channel()
    yield channel
    channel.close()


@pytest.fixture
def world(postgres: PostgresStore, channel: Channel) -> Iterator[World]:
    postgres.database.run(delete(ALERTS))
    world, transport = World(postgres), Transport()
    parts: dict[str, Any] = {"alerts": PostgresAlerts(postgres.database), "transport": transport}
    world.services = replace(world.services, **parts, watch=Watch(webhook_url=channel.url))
    yield world
    transport.close()


def use_up(world: World) -> None:
    """A job that takes the whole of a budget."""
    price = world.job().cost_estimated
    world.services.budgets.set("owner:ada", "day", Decimal(price or 0), False, at=world.clock.now())


def test_a_crossing_is_told_once(world: World, channel: Channel) -> None:
    """One message for what was crossed; the next rounds are silent, and a refusal is told again."""
    use_up(world)
    channel.status = 503
    alerts.watch(world.services)
    channel.status = 200
    for _ in range(3):
        alerts.watch(world.services)
    (text,) = channel.texts
    assert [line.partition(":")[0] for line in text.splitlines()] == ["imagegen"] * 3
    assert "soft budget owner:ada (day): 100 % reached, $0.039 of $0.039 committed" in text
    assert all(one.told_at is not None for one in world.services.alerts.list())


def test_a_mute_webhook_holds_nobody(world: World, channel: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The round ends at its deadline, the alerts stay raised, and no transaction is open meanwhile."""
    monkeypatch.setattr(alerts, "WEBHOOK_TOTAL", 0.3)
    use_up(world)
    channel.mute.clear()
    began = time.monotonic()
    alerts.watch(world.services)
    assert time.monotonic() - began < 8
    assert [one.told_at for one in world.services.alerts.list()] == [None] * 3
    channel.mute.set()
    alerts.watch(world.services)
    assert all(one.told_at is not None for one in world.services.alerts.list())
