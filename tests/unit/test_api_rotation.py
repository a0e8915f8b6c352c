"""The shared secret of tokens is replaced in its file while the door is open."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from imagegen.api import setup
from imagegen.api.rotation import LIFE, PAUSE, Rotating, TokenRules
from imagegen.api.tokens import Tokens, mint
from imagegen.errors import InvalidRequest, Unauthenticated
from imagegen.settings import Settings
from imagegen.testing.memory import ManualClock
from imagegen.transport import Reply
from tests.door import Door, served
from tests.pipeline_parts import World

pytest_plugins = ["tests.worlds"]
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
OLD, NEW = "o" * 40, "n" * 40


def never(method: str, url: str, *, total: float, max_bytes: int) -> Reply:
    raise AssertionError("nobody is to be asked")


def token(secret: str) -> str:
    return mint(secret, "ada", now=NOW, ttl=timedelta(hours=10))


class File:
    """A secret's file: what it holds, and how often it was read."""

    def __init__(self, text: str) -> None:
        self.text, self.read = text, 0

    def __call__(self) -> TokenRules:
        self.read += 1
        if not self.text:
            raise InvalidRequest.of("IMAGEGEN_JWT_SECRET_FILE", "is empty", "Write it.")
        return TokenRules(SecretStr(self.text))


@pytest.fixture
def clock() -> ManualClock:
    """The seconds that the door counts."""
    return ManualClock(NOW)


@pytest.fixture
def file() -> File:
    """The file with the old secret."""
    return File(OLD)


@pytest.fixture
def holds(clock: ManualClock, file: File) -> Callable[[str], bool]:
    """Whether a token of this secret is taken."""
    tokens = Tokens(TokenRules(SecretStr(OLD)), never, clock.monotonic, file)

    def check(secret: str) -> bool:
        try:
            tokens.caller(token(secret), NOW)
        except Unauthenticated:
            return False
        return True

    return check


def test_a_new_secret_serves_at_once(holds: Callable[[str], bool], file: File) -> None:
    """The first token of the new secret has the file read; from then on the old one's are refused."""
    assert holds(OLD)
    assert file.read == 0
    file.text = NEW
    assert holds(NEW)
    assert not holds(OLD)
    assert holds(NEW)
    assert file.read == 1


def test_a_flood_of_bad_tokens_does_not_read_the_file_each_time(
    holds: Callable[[str], bool], file: File, clock: ManualClock
) -> None:
    """However many come, the file is read once in PAUSE seconds; good tokens are taken all the while."""
    for second in range(3):
        for _ in range(200):
            assert not holds("x" * 40)
            assert holds(OLD)
        assert file.read == second + 1
        clock.advance(PAUSE)


def test_a_withdrawn_secret_ends(holds: Callable[[str], bool], file: File, clock: ManualClock) -> None:
    """Nobody has to send a bad token: the file is read again when the secret is LIFE seconds old."""
    file.text = NEW
    assert holds(OLD)
    clock.advance(LIFE + 1)
    assert not holds(OLD)
    assert holds(NEW)


def test_a_file_that_cannot_be_used_changes_nothing(
    holds: Callable[[str], bool], file: File, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The old secret serves on; one warning tells of it, and the next good file is taken."""
    file.text = ""
    for _ in range(3):
        assert not holds(NEW)
        assert holds(OLD)
        clock.advance(PAUSE)
    assert len(caplog.records) == 1
    file.text = NEW
    assert holds(NEW)


def test_a_change_that_another_thread_read_is_seen(clock: ManualClock) -> None:
    """Within the pause the rules that somebody else has read meanwhile are used, not read again."""
    file = File(NEW)
    old = TokenRules(SecretStr(OLD))
    rotating = Rotating(old, file, clock.monotonic)
    assert rotating.again(old) == rotating.again(old) == TokenRules(SecretStr(NEW))
    assert rotating.again(rotating.rules()) is None
    assert file.read == 1


def settings(folder: Path, secret: str, **told: str) -> Settings:
    """Settings with the secret in a file of this folder."""
    (folder / "secret").write_text(f"{secret}\n")
    return Settings.load({"IMAGEGEN_JWT_SECRET_FILE": "secret", "IMAGEGEN_JWT_AUDIENCE": "pictures", **told}, folder)


def test_the_file_of_the_settings_is_read_again(tmp_path: Path) -> None:
    """IMAGEGEN_JWT_SECRET_FILE, wherever the process stands; audience and issuer stay as they are."""
    reread = setup.reread(settings(tmp_path, OLD))
    assert reread is not None
    (tmp_path / "secret").write_text(NEW)
    assert reread() == TokenRules(SecretStr(NEW), None, "pictures")
    assert setup.reread(Settings.load({"IMAGEGEN_JWT_SECRET": OLD}, tmp_path)) is None


@pytest.mark.parametrize("text", ["", "short", "development-" + "x" * 40, None])
def test_a_new_secret_keeps_the_rules_of_a_start(
    tmp_path: Path, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Empty, short, gone, and in production a development secret: refused like at the start, and never told."""
    told = {
        "IMAGEGEN_DATABASE_URL": "postgresql://u:p@127.0.0.1:1/none", "IMAGEGEN_REDIS_URL": "redis://127.0.0.1:1/0",
        "USE_REAL_IMAGE": "true", "GEMINI_API_KEY": "key",
    }  # fmt: skip
    reread = setup.reread(settings(tmp_path, OLD, **told))
    assert reread is not None
    if text is None:
        (tmp_path / "secret").unlink()
    else:
        (tmp_path / "secret").write_text(text)
    rotating = Rotating(TokenRules(SecretStr(OLD)), reread, ManualClock(NOW).monotonic)
    caplog.set_level(logging.DEBUG)
    assert rotating.again(rotating.rules()) is None
    assert len(caplog.records) == 1
    assert not text or text not in caplog.text


def test_a_served_door_takes_the_new_secret(world: World, tmp_path: Path) -> None:
    """While it is open, the file is replaced: the new token is let in by the next request, and the old one no more."""
    told = settings(tmp_path, OLD)
    rules = setup.Setup(tokens=setup.token_rules(told), reread=setup.reread(told))

    def statuses(door: Door) -> list[int]:
        now, found = world.clock.now(), []
        for secret in (NEW, OLD):
            made = mint(secret, "ada", now=now, ttl=timedelta(hours=1), audience="pictures")
            reply = door.client.get("/api/images/jobs", headers={"Authorization": f"Bearer {made}"})
            found.append(reply.status_code)
        return found

    with served(world.services, rules) as door:
        assert statuses(door) == [401, 200]
        (tmp_path / "next").write_text(NEW)
        (tmp_path / "next").replace(tmp_path / "secret")
        world.clock.advance(PAUSE)
        assert statuses(door) == [200, 401]
