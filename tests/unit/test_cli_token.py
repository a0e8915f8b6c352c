"""`imagegen token` signs with the secret that the door checks with."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from imagegen.api.tokens import Caller, TokenRules, Tokens
from imagegen.cli.main import imagegen
from imagegen.cli.up import address_lines
from imagegen.clock import SystemClock
from imagegen.errors import InvalidRequest, Unauthenticated
from imagegen.settings import Settings
from imagegen.settings_rules import access_problems

SECRET = "f" * 32
CLOCK = SystemClock()


def read(token: str, later: timedelta = timedelta(0)) -> Caller:
    """The caller that the door takes the token for."""

    def never(*args: object, **more: object) -> None:
        raise AssertionError

    tokens = Tokens(TokenRules(SecretStr(SECRET)), never, CLOCK.monotonic)  # type: ignore[arg-type]
    return tokens.caller(token, CLOCK.now() + later)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with a secret in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMAGEGEN_JWT_SECRET", SECRET)
    monkeypatch.setenv("IMAGEGEN_HOME", str(tmp_path / "home"))
    return tmp_path


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(imagegen, ["token", *words])
    return done.exit_code, done.output.strip()


def test_a_token_is_the_owners(here: Path) -> None:
    """One line, a token of this owner; with --service it acts for all; it ends after --ttl."""
    assert read(run("--owner", "ada")[1]) == Caller("ada")
    code, token = run("--owner", "shop", "--service", "--ttl", "90s")
    assert (code, read(token)) == (0, Caller("shop", service=True))
    with pytest.raises(Unauthenticated, match="expired"):
        read(token, timedelta(seconds=120))


@pytest.mark.parametrize("words", [(), ("--owner", " "), ("--owner", "a" * 200), ("--owner", "a", "--ttl", "soon")])
def test_wrong_usage_is_exit_2(here: Path, words: tuple[str, ...]) -> None:
    """No owner, no name, no duration: usage, and no token."""
    assert run(*words)[0] == 2


def test_without_a_secret_there_is_no_token(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 2 where an issuer signs, exit 3 where no `up` runs that made a secret."""
    monkeypatch.delenv("IMAGEGEN_JWT_SECRET")
    assert run("--owner", "ada")[0] == 3
    monkeypatch.setenv("IMAGEGEN_JWKS_URL", "https://id.example/keys")
    code, text = run("--owner", "ada")
    assert code == 2
    assert "IMAGEGEN_JWT_SECRET" in text


def test_up_prints_a_service_token_in_development_alone(tmp_path: Path) -> None:
    """The line follows the addresses; in production nothing of the secret is printed."""
    told = {"IMAGEGEN_JWT_SECRET": SECRET, "IMAGEGEN_ENV": "development"}
    lines = [*address_lines({"api": "http://a", "flower": "http://f"}, Settings.load(told, tmp_path))]
    assert [line.split()[0] for line in lines] == ["api", "flower", "token"]
    assert read(lines[2].split()[1]) == Caller("default", service=True)
    production = Settings.load({**told, "IMAGEGEN_ENV": "production"}, tmp_path)
    assert [*address_lines({"api": "http://a"}, production)] == ["api http://a"]


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({}, "is not set"),
        ({"IMAGEGEN_JWT_SECRET": "short"}, "fewer than 32 bytes"),
        ({"IMAGEGEN_JWT_SECRET": SECRET}, None),
        ({"IMAGEGEN_JWKS_URL": "https://id.example/keys"}, None),
    ],
)
def test_the_door_opens_only_where_tokens_can_be_checked(tmp_path: Path, told: dict[str, str], reason: str) -> None:
    """No secret, or one that is too short: refused with the remedy."""
    problems = access_problems(Settings.load(told, tmp_path))
    assert [problem["field"] for problem in problems] == ["IMAGEGEN_JWT_SECRET"] * (reason is not None)
    assert reason is None or reason in problems[0]["reason"]
    assert all(problem["remedy"] for problem in problems)


@pytest.mark.parametrize(("text", "shown"), [("600/m", "600/m"), (" 20/10s", "20/10s")])
def test_the_limit_is_written_as_a_rate(tmp_path: Path, text: str, shown: str) -> None:
    """IMAGEGEN_HTTP_LIMIT is count/unit; anything else is refused by name."""
    assert str(Settings.load({"IMAGEGEN_HTTP_LIMIT": text}, tmp_path).http_limit) == shown
    with pytest.raises(InvalidRequest, match="IMAGEGEN_HTTP_LIMIT"):
        Settings.load({"IMAGEGEN_HTTP_LIMIT": "many"}, tmp_path)
