"""What `up` tells its children: addresses and settings by environment alone, and no key that could pay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from imagegen.embedded.environment import Places, Plan, joining, needs_emulator, whole
from imagegen.settings import EMULATED_KEY, Settings

PLACES = Places(
    database_url="postgresql+psycopg2://imagegen:pw@/imagegen?host=%2Fs",
    redis_url="unix:///s/redis.sock?db=0",
    emulator="http://127.0.0.1:9",
    api="http://127.0.0.1:8000",
    api_port=8000,
    flower_port=5555,
    development_secret="development-made",
)


def plan(cwd: Path, **environ: str) -> Plan:
    """A plan for this environment and folder."""
    return Plan(Settings.load(environ, cwd), environ, cwd)


def joined(cwd: Path, places: Places = PLACES, /, **environ: str) -> Settings:
    """The settings of a process that joins, wherever it runs."""
    return Settings.load(joining(plan(cwd, **environ), places), Path("/"))


def test_a_joining_process_needs_nothing_else(tmp_path: Path) -> None:
    """A process elsewhere, without the `.env` of the first, gets the same settings, parts and providers."""
    (tmp_path / ".env").write_text("IMAGEGEN_DEADLINE=20m\nIMAGEGEN_TEMPLATES=mine\nAWS_REGION=x\n")
    settings = joined(tmp_path, IMAGEGEN_BROKER_URL="amqp://q", HOME="/root")
    settings.check()
    assert (settings.deadline, settings.broker, settings.templates) == (1200, "amqp://q", tmp_path / "mine")
    assert (settings.database, settings.redis) == (PLACES.database_url, PLACES.redis_url)
    assert (settings.environment, settings.real, settings.home) == ("development", False, tmp_path / "var")
    assert settings.public_base_url == "http://127.0.0.1:8000/files"
    assert settings.jwt_secret is not None
    assert joining(plan(tmp_path), PLACES)["AWS_REGION"] == "x"


def test_secret_file_stays_a_file(tmp_path: Path) -> None:
    """A secret that came from a file is told by its file, so that a rotated key is found."""
    (tmp_path / "key").write_text("key-one")
    env = joining(plan(tmp_path, KIE_API_KEY_FILE="key"), PLACES)
    assert env["KIE_API_KEY_FILE"] == str(tmp_path / "key")
    assert "key-one" not in env.values()


def test_emulated_providers_get_no_real_key(tmp_path: Path) -> None:
    """With a real key around and pictures emulated, children know the emulator's address and a worthless key."""
    environ = {"GEMINI_API_KEY": "key-real", "NANO_BANANA_API_KEY": "key-real"}
    settings = joined(tmp_path, **environ)
    for name in settings.provider_names:
        access = settings.provider(name)
        assert (access.url, access.key.get_secret_value(), access.real) == ("http://127.0.0.1:9", EMULATED_KEY, False)
    assert (
        "key-real"
        not in whole(plan(tmp_path, **environ), joining(plan(tmp_path, **environ), PLACES), tmp_path).values()
    )


def test_provider_served_on_this_machine(tmp_path: Path) -> None:
    """A provider address of this machine is used instead of the emulator, with the key that was told."""
    environ = {"NANO_BANANA_API_URL": "http://localhost:7", "NANO_BANANA_API_KEY": "theirs"}
    assert not needs_emulator(plan(tmp_path, **environ).settings)
    settings = joined(tmp_path, replace(PLACES, emulator=None), **environ)
    assert settings.provider_names == ("nanobanana",)
    access = settings.provider("nanobanana")
    assert (access.url, access.key.get_secret_value()) == ("http://localhost:7", "theirs")


@pytest.mark.parametrize("url", ["https://gateway.example", "https://generativelanguage.googleapis.com"])
def test_provider_elsewhere_is_replaced(tmp_path: Path, url: str) -> None:
    """While pictures are emulated, an address beyond this machine is replaced by the emulator's."""
    assert needs_emulator(plan(tmp_path, GEMINI_API_URL=url).settings)
    assert joined(tmp_path, GEMINI_API_URL=url).provider("gemini").url == "http://127.0.0.1:9"


def test_real_providers_stay(tmp_path: Path) -> None:
    """With USE_REAL_IMAGE=true children keep the keys and the documented hosts, and there is no emulator."""
    environ = {"USE_REAL_IMAGE": "true", "GEMINI_API_KEY": "key-real"}
    assert not needs_emulator(plan(tmp_path, **environ).settings)
    settings = joined(tmp_path, replace(PLACES, emulator=None), **environ)
    settings.check()
    assert settings.provider("gemini").real
    assert settings.provider("gemini").key.get_secret_value() == "key-real"


def test_isolated_ignores_what_is_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An isolated plan keeps the path and drops every setting and key around it, but those told to it."""
    for name, value in {"IMAGEGEN_DATABASE_URL": "postgresql://prod", "FAL_KEY_FILE": "/x", "AWS_PROFILE": "p"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("USE_REAL_IMAGE", "true")
    isolated = Plan.isolated(tmp_path / "home", IMAGEGEN_MAX_PAID_ATTEMPTS="2")
    assert isolated.settings.database_embedded
    assert not isolated.settings.real
    assert isolated.settings.max_paid_attempts == 2
    assert "PATH" in isolated.environ
    assert not {"FAL_KEY_FILE", "AWS_PROFILE", "USE_REAL_IMAGE"} & isolated.environ.keys()


def test_application_root_leads_the_path(tmp_path: Path) -> None:
    """Children find the worker application first, then what PYTHONPATH named."""
    child = whole(plan(tmp_path, PYTHONPATH="/lib"), {}, tmp_path)
    assert child["PYTHONPATH"] == f"{tmp_path}:/lib"
