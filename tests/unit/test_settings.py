"""Settings say where each value came from, refuse what is wrong by name, and never let anybody pay by accident."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from imagegen.errors import InvalidRequest, PartUnavailable
from imagegen.settings import EMULATED_KEY, Settings
from imagegen.settings_rules import DEVELOPMENT_SECRET
from imagegen.settings_values import RateLimit

EXTERNAL = {"IMAGEGEN_DATABASE_URL": "postgresql://u:pw@db/i", "IMAGEGEN_REDIS_URL": "redis://r:6379/0"}
PRODUCTION = {**EXTERNAL, "USE_REAL_IMAGE": "true", "GEMINI_API_KEY": "key-one"}


def start(environ: dict[str, str], cwd: Path) -> None:
    """Load the settings and ask whether anything may start with them."""
    Settings.load(environ, cwd).check()


def refusal(environ: dict[str, str], cwd: Path) -> list[tuple[str, str]]:
    """Field and reason of every problem that loading or checking finds."""
    with pytest.raises(InvalidRequest) as caught:
        start(environ, cwd)
    assert all(problem["remedy"] for problem in caught.value.problems)
    return [(problem["field"], problem["reason"]) for problem in caught.value.problems]


def test_defaults_serve(tmp_path: Path) -> None:
    """Nothing set means development on embedded parts with the emulator, and may start."""
    settings = Settings.load({}, tmp_path)
    settings.check()
    assert (settings.environment, settings.real) == ("development", False)
    assert settings.database_embedded
    assert settings.redis_embedded
    assert settings.home == tmp_path / "var"
    assert settings.storage == (tmp_path / "var" / "storage").as_uri()
    assert settings.provider_names == ("nanobanana", "gemini")
    assert (settings.url_ttl, settings.deadline, settings.result_ttl, settings.max_paid_attempts) == (
        3600,
        600,
        86400,
        1,
    )


def test_environment_beats_dotenv_beats_default(tmp_path: Path) -> None:
    """The environment wins over `.env`, which wins over the default; each value knows its source."""
    (tmp_path / ".env").write_text("IMAGEGEN_NAMESPACE=of_dotenv\nIMAGEGEN_DEADLINE=20m\nOTHER=ignored\n")
    settings = Settings.load({"IMAGEGEN_NAMESPACE": "of_environment", "HOME": "/ignored"}, tmp_path)
    rows = {row.name: (row.value, row.source) for row in settings.describe()}
    assert rows["IMAGEGEN_NAMESPACE"] == ("of_environment", "environment")
    assert rows["IMAGEGEN_DEADLINE"] == ("1200", ".env")
    assert rows["IMAGEGEN_URLS"] == ("public", "default")
    assert rows["IMAGEGEN_ENV"] == ("development", "default")
    assert "OTHER" not in rows


def test_empty_hides_dotenv(tmp_path: Path) -> None:
    """An empty variable in the environment unsets what `.env` says."""
    (tmp_path / ".env").write_text("GEMINI_API_KEY=key-one\n")
    assert Settings.load({"GEMINI_API_KEY": ""}, tmp_path).gemini_api_key is None


def test_secret_from_file_is_read_again(tmp_path: Path) -> None:
    """NAME_FILE gives a secret or address, and `reload` sees the file's new content."""
    key = tmp_path / "key"
    key.write_text("key-one\n")
    settings = Settings.load({"FAL_KEY_FILE": str(key)}, tmp_path)
    assert settings.fal_key is not None
    assert settings.fal_key.get_secret_value() == "key-one"
    assert {row.source for row in settings.describe() if row.name == "FAL_KEY"} == {f"file {key}"}
    key.write_text("key-two\n")
    renewed = settings.reload().fal_key
    assert renewed is not None
    assert renewed.get_secret_value() == "key-two"


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    """A NAME_FILE that cannot be read is refused under its own name."""
    assert refusal({"FAL_KEY_FILE": str(tmp_path / "none")}, tmp_path)[0][0] == "FAL_KEY_FILE"


def test_unknown_name_warns_with_the_nearest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A misspelt `IMAGEGEN_*` name is told with the right one; known NAME_FILE names and foreign ones are not."""
    (tmp_path / "url").write_text("redis://r")
    environ = {"IMAGEGEN_DATABSE_URL": "x", "IMAGEGEN_REDIS_URL_FILE": str(tmp_path / "url"), "REDIS_URL": "y"}
    with caplog.at_level(logging.WARNING):
        Settings.load(environ, tmp_path)
    assert caplog.messages == ["IMAGEGEN_DATABSE_URL is no setting; did you mean IMAGEGEN_DATABASE_URL?"]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("IMAGEGEN_DEADLINE", "soon", "'soon' is no duration"),
        ("IMAGEGEN_DEADLINE", "0", "'0' is no duration"),
        ("IMAGEGEN_RATE_LIMITS", "gemini=fast", "'gemini=fast' is no rate limit"),
        ("IMAGEGEN_RATE_LIMITS", "gemini=0/s", "'gemini=0/s' is no rate limit"),
        ("IMAGEGEN_RATE_LIMITS", "gemni=1/s", "'gemni' is no provider"),
        ("IMAGEGEN_PROVIDERS", "gemini,fall", "'fall' is no provider"),
        ("IMAGEGEN_PROVIDERS", "fal,fal", "names a provider twice"),
        ("IMAGEGEN_REDIS_URL", "http://r", "is no Redis address"),
        ("IMAGEGEN_STORAGE_URL", "s3:bucket", "'s3:bucket' is no storage address"),
        ("IMAGEGEN_PUBLIC_BASE_URL", "cdn.example", "is no http address"),
    ],
)
def test_wrong_values_name_field_and_reason(tmp_path: Path, name: str, value: str, reason: str) -> None:
    """A wrong value is refused with the variable's name and the reason."""
    assert refusal({name: value}, tmp_path) == [(name, reason)]


def test_every_wrong_value_at_once_and_no_secret(tmp_path: Path) -> None:
    """Several wrong values are told together, and a wrong secret is not repeated in the message."""
    environ = {"IMAGEGEN_DATABASE_URL": "mysql://u:hidden@h", "IMAGEGEN_URLS": "open", "IMAGEGEN_API_PORT": "0"}
    with pytest.raises(InvalidRequest) as caught:
        Settings.load(environ, tmp_path)
    assert {problem["field"] for problem in caught.value.problems} == set(environ)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("value", ["90", "90s", " 90 s"])
def test_durations(tmp_path: Path, value: str) -> None:
    """Durations are seconds, or a number with a unit."""
    assert Settings.load({"IMAGEGEN_URL_TTL": value}, tmp_path).url_ttl == 90
    assert Settings.load({"IMAGEGEN_DEADLINE": "3d"}, tmp_path).deadline == 3 * 86400


def test_rate_limits(tmp_path: Path) -> None:
    """Rate limits are kept per provider, or per provider and model."""
    limits = Settings.load({"IMAGEGEN_RATE_LIMITS": "gemini=60/m, fal=20/10s fal:some=1/s"}, tmp_path)
    assert limits.rate_limits == {"gemini": RateLimit(60, 60), "fal": RateLimit(20, 10), "fal:some": RateLimit(1, 1)}
    assert str(limits.rate_limits["gemini"]) == "60/m"


def test_origins_are_spelt_as_browsers_spell_them(tmp_path: Path) -> None:
    """One with a path, a capital letter or no scheme would never match a page's."""
    told = "https://app.example, http://localhost:3000 http://[::1]:8"
    settings = Settings.load({"IMAGEGEN_CORS_ORIGINS": told}, tmp_path)
    assert settings.cors_origins == ("https://app.example", "http://localhost:3000", "http://[::1]:8")
    assert Settings.load({"IMAGEGEN_CORS_ORIGINS": "*"}, tmp_path).cors_origins == ("*",)
    for wrong in ("app.example", "https://app.example/", "https://App.example", "https://*.example", "null"):
        with pytest.raises(InvalidRequest, match=r"IMAGEGEN_CORS_ORIGINS: .* is no origin"):
            Settings.load({"IMAGEGEN_CORS_ORIGINS": wrong}, tmp_path)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg2"])
def test_postgres_spellings(tmp_path: Path, scheme: str) -> None:
    """Every usual spelling of a PostgreSQL address becomes psycopg2's."""
    settings = Settings.load({"IMAGEGEN_DATABASE_URL": f"{scheme}://u:p%40w@h:5/d?ssl=require"}, tmp_path)
    assert settings.database == "postgresql+psycopg2://u:p%40w@h:5/d?sslmode=require"


def test_redis_spellings(tmp_path: Path) -> None:
    """One Redis address gives redis-py's and Celery's spelling, a socket with a space in its path included."""
    socket = Settings.load({"IMAGEGEN_REDIS_URL": "redis+socket:///a b/r.sock?virtual_host=3"}, tmp_path)
    assert socket.redis == "unix:///a%20b/r.sock?db=3"
    assert socket.broker == socket.result_backend == "redis+socket:///a%20b/r.sock?virtual_host=3"
    network = Settings.load({"IMAGEGEN_REDIS_URL": "rediss://:pw@r:1/2", "IMAGEGEN_BROKER_URL": "amqp://q"}, tmp_path)
    assert (network.redis, network.result_backend, network.broker) == ("rediss://:pw@r:1/2",) * 2 + ("amqp://q",)


def test_missing_part_names_the_home(tmp_path: Path) -> None:
    """Asking for an address that nobody configured names the folder looked in."""
    with pytest.raises(PartUnavailable, match=str(tmp_path / "var")):
        _ = Settings.load({}, tmp_path).database


def test_description_masks_secrets(tmp_path: Path) -> None:
    """`imagegen config` shows no key, no password and no signing secret."""
    (tmp_path / ".env").write_text("AWS_SECRET_ACCESS_KEY=hidden-aws\n")
    environ = {
        **EXTERNAL,
        "IMAGEGEN_DATABASE_URL": "postgresql://u:hidden-pw@db/i?password=hidden-too",
        "IMAGEGEN_BROKER_URL": "amqp://u:hidden-broker@q",
        "IMAGEGEN_S3_ENDPOINT_URL": "https://u:hidden-s3@s3.example",
        "FAL_KEY": "hidden-fal",
        "IMAGEGEN_WEBHOOK_SECRET": "whsec_hidden1 whsec_hidden2",
        "IMAGEGEN_ALERT_WEBHOOK_URL": "https://hooks.example/hidden",
    }
    settings = Settings.load(environ, tmp_path)
    text = "\n".join(" ".join(row) for row in settings.describe())
    assert "hidden" not in text
    assert "hidden" not in repr(settings)
    assert "AWS_SECRET_ACCESS_KEY ******** .env" in text
    assert settings.aws_environ() == {"AWS_SECRET_ACCESS_KEY": "hidden-aws"}
    assert [secret.get_secret_value() for secret in settings.webhook_secret] == ["whsec_hidden1", "whsec_hidden2"]


@pytest.mark.parametrize(
    "key", ["NANO_BANANA_API_KEY", "GEMINI_API_KEY", "FAL_KEY", "REPLICATE_API_TOKEN", "KIE_API_KEY"]
)
def test_nobody_pays_by_accident(tmp_path: Path, key: str) -> None:
    """A configured database and a key without USE_REAL_IMAGE is refused; on the embedded database it is emulated."""
    fields = [field for field, _ in refusal({**EXTERNAL, key: "k"}, tmp_path)]
    assert "USE_REAL_IMAGE" in fields
    embedded = Settings.load({key: "k"}, tmp_path)
    embedded.check()
    assert not embedded.real


def test_emulated_provider_never_reaches_a_real_one(tmp_path: Path) -> None:
    """While emulated, a documented host is refused, and a key goes only to this machine."""
    environ = {"GEMINI_API_KEY": "key-one", "GEMINI_API_URL": "http://127.0.0.1:9", "NANO_BANANA_API_KEY": "key-two"}
    settings = Settings.load(environ, tmp_path)
    assert settings.provider("gemini").key.get_secret_value() == "key-one"
    with pytest.raises(InvalidRequest, match="NANO_BANANA_API_URL: is the real nanobanana"):
        settings.provider("nanobanana")
    away = Settings.load({**environ, "GEMINI_API_URL": "http://emulator:9"}, tmp_path)
    assert away.provider("gemini").key.get_secret_value() == EMULATED_KEY


def test_real_providers(tmp_path: Path) -> None:
    """Real providers are those with a key, in a fixed order, at their documented hosts unless told otherwise."""
    settings = Settings.load({**PRODUCTION, "FAL_KEY": "key-fal"}, tmp_path)
    settings.check()
    assert settings.provider_names == ("gemini", "fal")
    assert settings.provider("fal").urls == ("https://queue.fal.run", "https://api.fal.ai/v1")
    assert settings.provider("gemini").url == "https://generativelanguage.googleapis.com"
    preferred = Settings.load({**PRODUCTION, "FAL_KEY": "k", "IMAGEGEN_PROVIDERS": "fal,gemini"}, tmp_path)
    assert preferred.provider_names == ("fal", "gemini")


def test_real_provider_without_key_is_refused(tmp_path: Path) -> None:
    """Real pictures need the key of every provider named, and of one at least."""
    assert refusal({**PRODUCTION, "IMAGEGEN_PROVIDERS": "gemini,kie"}, tmp_path) == [("KIE_API_KEY", "is not set")]
    assert refusal({"USE_REAL_IMAGE": "true"}, tmp_path) == [("USE_REAL_IMAGE", "is true, but no provider has a key")]


def test_production_refuses_toys(tmp_path: Path) -> None:
    """Production, told or by a configured database, refuses embedded parts, the emulator and development secrets."""
    assert refusal({"IMAGEGEN_ENV": "production", "USE_REAL_IMAGE": "true", "GEMINI_API_KEY": "k"}, tmp_path) == [
        ("IMAGEGEN_DATABASE_URL", "production refuses the embedded PostgreSQL"),
        ("IMAGEGEN_REDIS_URL", "production refuses the embedded Redis"),
    ]
    assert refusal({**EXTERNAL, "USE_REAL_IMAGE": "false"}, tmp_path) == [
        ("USE_REAL_IMAGE", "production refuses the emulator")
    ]
    assert refusal({**PRODUCTION, "IMAGEGEN_JWT_SECRET": DEVELOPMENT_SECRET + "x" * 32}, tmp_path) == [
        ("IMAGEGEN_JWT_SECRET", "is a development secret")
    ]
    Settings.load({**EXTERNAL, "USE_REAL_IMAGE": "false", "IMAGEGEN_ENV": "development"}, tmp_path).check()
