"""Providers are built from the settings, and a rotated key is used without a restart."""

from __future__ import annotations

import logging
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from imagegen.catalog import load
from imagegen.errors import AuthError, InvalidRequest
from imagegen.providers.base import Accepted, Order, Progress, Rejected, Running, Submission
from imagegen.providers.keys import RENEW_EVERY, Key, Renewing
from imagegen.providers.registry import build_providers
from imagegen.settings import Settings
from imagegen.testing.memory import ManualClock
from imagegen.transport import Transport

ORDER = Order(prompt="p", model="nano-banana-2", ratio="1:1", tier="1K", format="jpeg")


class Doorman:
    """A provider that takes one key alone, and counts what it was asked."""

    name, synchronous, takes_bytes, reconcile_window = "nanobanana", False, False, 45.0

    def __init__(self, key: Key, good: str, billed: str = "no") -> None:
        self._key, self._good, self._billed = key, good, billed
        self.asked = 0

    def _check(self) -> None:
        self.asked += 1
        if self._key() != self._good:
            raise AuthError("wrong key", {"billed": self._billed})

    def submit(self, order: Order, *, callback_url: str | None) -> Submission:
        """Takes the order, or refuses the key."""
        try:
            self._check()
        except AuthError as error:
            return Rejected(error=error)
        return Accepted(provider_job_id="t")

    def poll(self, provider_job_id: str) -> Progress:
        """Still running, or the key refused."""
        self._check()
        return Running()

    def callback_task(self, body: Any) -> str | None:
        """The body itself."""
        return str(body)

    def credit(self) -> Decimal | None:
        """One, or the key refused."""
        self._check()
        return Decimal(1)


@pytest.fixture
def clock() -> ManualClock:
    """A clock that only the test moves."""
    return ManualClock()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Real money, the key in a file that says `old`."""
    (tmp_path / "key").write_text("old\n")
    environ = {"USE_REAL_IMAGE": "true", "NANO_BANANA_API_KEY_FILE": str(tmp_path / "key")}
    return Settings.load(environ, tmp_path)


def test_a_refused_key_is_read_again_and_the_call_repeated(
    settings: Settings, clock: ManualClock, tmp_path: Path
) -> None:
    """The file holds a new key by then: order, poll and credit go on with it."""
    for ask in ("submit", "poll", "credit"):
        (tmp_path / "key").write_text("old")
        key = Key(settings, "nanobanana", clock)
        door = Doorman(key, "new")
        provider = Renewing(door, key)
        (tmp_path / "key").write_text("new\n")
        answer = {
            "submit": lambda p=provider: p.submit(ORDER, callback_url=None),
            "poll": lambda p=provider: p.poll("t"),
            "credit": lambda p=provider: p.credit(),
        }[ask]()
        assert answer in (Accepted(provider_job_id="t"), Running(), Decimal(1))
        assert door.asked == 2


def test_a_key_that_stays_wrong_is_told_and_not_hammered(settings: Settings, clock: ManualClock) -> None:
    """Without another key the refusal stands, and the file is not read for every job."""
    key = Key(settings, "nanobanana", clock)
    door = Doorman(key, "new")
    provider = Renewing(door, key)
    for _ in range(5):
        answer = provider.submit(ORDER, callback_url=None)
        assert isinstance(answer, Rejected)
        with pytest.raises(AuthError):
            provider.poll("t")
        with pytest.raises(AuthError):
            provider.credit()
    assert door.asked == 15


def test_a_charged_refusal_is_not_repeated(settings: Settings, clock: ManualClock, tmp_path: Path) -> None:
    """An account limited after the drawing was charged: a new key must not buy again."""
    key = Key(settings, "nanobanana", clock)
    door = Doorman(key, "new", billed="yes")
    (tmp_path / "key").write_text("new")
    assert isinstance(Renewing(door, key).submit(ORDER, callback_url=None), Rejected)
    assert door.asked == 1


def test_a_key_file_that_vanished_keeps_the_old_key(
    settings: Settings, clock: ManualClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In the middle of a rotation the file may be missing: said in the log, looked at again later."""
    caplog.set_level(logging.WARNING)
    key = Key(settings, "nanobanana", clock)
    (tmp_path / "key").unlink()
    assert not key.renew("old")
    assert key() == "old"
    assert "cannot be read again" in caplog.text
    (tmp_path / "key").write_text("new")
    assert not key.renew("old")
    clock.advance(RENEW_EVERY)
    assert key.renew("old")
    assert key() == "new"
    assert "new" not in repr(key)


def test_providers_are_built_in_the_user_s_order(tmp_path: Path, clock: ManualClock) -> None:
    """The order of IMAGEGEN_PROVIDERS is kept."""
    environ = {
        "IMAGEGEN_PROVIDERS": "gemini,nanobanana",
        "NANO_BANANA_API_URL": "http://127.0.0.1:9",
        "GEMINI_API_URL": "http://127.0.0.1:9",
    }
    built = build_providers(Settings.load(environ, tmp_path), Transport(), load(), clock)
    assert list(built) == ["gemini", "nanobanana"]
    assert [(one.name, one.synchronous, one.takes_bytes) for one in built.values()] == [
        ("gemini", True, True),
        ("nanobanana", False, False),
    ]


def test_an_emulated_provider_never_meets_the_real_host(tmp_path: Path, clock: ManualClock) -> None:
    """While pictures are emulated the documented hosts are refused."""
    with pytest.raises(InvalidRequest, match="USE_REAL_IMAGE"):
        build_providers(Settings.load({}, tmp_path), Transport(), load(), clock)
