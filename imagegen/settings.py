"""Settings: environment, then `.env` in the working folder, then defaults; every secret or URL also as NAME_FILE.

Foreign names are ignored; an unknown `IMAGEGEN_*` name is told with the nearest known one. A wrong value is an
`InvalidRequest` which names the variable, the reason and the remedy, all wrong ones at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from dotenv import dotenv_values
from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from imagegen.errors import InvalidRequest, PartUnavailable, Problem
from imagegen.settings_source import KEYS, URLS, collect, env_name, problem, warn_unknown
from imagegen.settings_values import (
    MASK,
    PROVIDERS,
    RateLimit,
    celery_redis_url,
    check_providers,
    is_loopback,
    mask_url,
    parse_duration,
    parse_http_url,
    parse_list,
    parse_postgres_url,
    parse_rates,
    parse_redis_url,
    parse_secrets,
    parse_storage_url,
)

Duration = Annotated[int, BeforeValidator(parse_duration), Field(ge=1)]
HttpUrl = Annotated[str, BeforeValidator(parse_http_url)]
Words = Annotated[tuple[str, ...], BeforeValidator(parse_list)]
Port = Annotated[int, Field(ge=1, le=65535)]

DEVELOPMENT_SECRET = "development-"
"""How a secret made by `up` or shipped in an example begins; production refuses it."""
EMULATED_KEY = "emulated"
"""What a provider that is not real gets instead of a key that could pay."""


class Row(NamedTuple):
    """One line of `imagegen config`."""

    name: str
    value: str
    source: str


@dataclass(frozen=True)
class ProviderAccess:
    """Where a provider is reached and with which key. `urls` in the order of `settings.URLS`."""

    name: str
    urls: tuple[str, ...]
    key: SecretStr
    real: bool

    @property
    def url(self) -> str:
        """The address of the API that takes orders."""
        return self.urls[0]


class Settings(BaseSettings):
    """Every setting; the environment name of a field is `env_name(field)`. Durations are whole seconds."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    home: Path = Path("var")
    env: Literal["development", "production"] | None = None
    database_url: Annotated[SecretStr, BeforeValidator(parse_postgres_url)] | None = None
    database_schema: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$")] | None = None
    redis_url: Annotated[SecretStr, BeforeValidator(parse_redis_url)] | None = None
    broker_url: SecretStr | None = None
    namespace: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,40}$")] = "imagegen"
    storage_url: Annotated[str, BeforeValidator(parse_storage_url)] | None = None
    s3_endpoint_url: HttpUrl | None = None
    s3_public_endpoint_url: HttpUrl | None = None
    urls: Literal["public", "presigned"] = "public"
    url_ttl: Duration = 3600
    public_base_url: HttpUrl | None = None
    callback_base_url: HttpUrl | None = None
    use_real_image: bool | None = None
    providers: Annotated[tuple[str, ...], BeforeValidator(parse_list), AfterValidator(check_providers)] | None = None
    nano_banana_api_key: SecretStr | None = None
    nano_banana_api_url: HttpUrl = "https://api.nanobananaapi.ai"
    gemini_api_key: SecretStr | None = None
    gemini_api_url: HttpUrl = "https://generativelanguage.googleapis.com"
    fal_key: SecretStr | None = None
    fal_queue_url: HttpUrl = "https://queue.fal.run"
    fal_api_url: HttpUrl = "https://api.fal.ai/v1"
    replicate_api_token: SecretStr | None = None
    replicate_api_url: HttpUrl = "https://api.replicate.com/v1"
    kie_api_key: SecretStr | None = None
    kie_api_url: HttpUrl = "https://api.kie.ai"
    kie_webhook_hmac_key: SecretStr | None = None
    max_paid_attempts: Annotated[int, Field(ge=1, le=10)] = 1
    deadline: Duration = 600
    rate_limits: Annotated[dict[str, RateLimit], BeforeValidator(parse_rates)] = Field(default_factory=dict)
    concurrency: Annotated[int, Field(ge=1, le=1000)] | None = None
    log_format: Literal["json", "console"] | None = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], BeforeValidator(lambda text: str(text).lower())
    ] = "info"
    log_prompts: bool = False
    prices_file: Path | None = None
    templates: Path | None = None
    alert_webhook_url: Annotated[SecretStr, BeforeValidator(parse_http_url)] | None = None
    retention: Duration | None = None
    result_ttl: Duration = 86400
    jwt_secret: SecretStr | None = None
    jwks_url: HttpUrl | None = None
    jwt_audience: str | None = None
    webhook_secret: Annotated[tuple[SecretStr, ...], BeforeValidator(parse_secrets)] = ()
    allow_hosts: Words = ()
    api_port: Port | None = None
    flower_port: Port | None = None

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)
    _origin: tuple[dict[str, str], Path] = PrivateAttr(default_factory=lambda: ({}, Path()))
    _aws: dict[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments alone: `load` reads the environment it is given, never the process's own."""
        return (init_settings,)

    @classmethod
    def load(cls, environ: Mapping[str, str], cwd: Path) -> Self:
        """The settings told by `environ` and `cwd/.env`; relative paths are below `cwd`.

        Raises `InvalidRequest` for wrong values and for a NAME_FILE that cannot be read.
        """
        dotenv = {key: value or "" for key, value in dotenv_values(cwd / ".env", interpolate=False).items()}
        warn_unknown(cls.model_fields, environ, dotenv)
        values, sources = collect(cls.model_fields, environ, dotenv)
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            raise InvalidRequest.from_problems([problem(detail) for detail in error.errors()]) from None
        paths = {
            field: (cwd / value).absolute()
            for field in ("home", "prices_file", "templates")
            if (value := getattr(settings, field)) is not None
        }
        settings = settings.model_copy(update=paths)
        settings._sources = sources
        settings._origin = dict(environ), cwd
        settings._aws = {key: v for key, v in dotenv.items() if key.startswith("AWS_") and key not in environ}
        return settings

    def reload(self) -> Self:
        """The same environment and files, read again: a NAME_FILE or `.env` may hold another key by then."""
        return self.load(*self._origin)

    def aws_environ(self) -> dict[str, str]:
        """`AWS_*` names that only `.env` gives: boto3 reads the process environment and would not see them."""
        return dict(self._aws)

    @property
    def database_embedded(self) -> bool:
        """Whether `up` brings its own PostgreSQL."""
        return self.database_url is None

    @property
    def redis_embedded(self) -> bool:
        """Whether `up` brings its own Redis."""
        return self.redis_url is None

    @property
    def environment(self) -> str:
        """`development` or `production`."""
        return self.env or ("development" if self.database_embedded else "production")

    @property
    def real(self) -> bool:
        """Whether providers are the real ones and pictures cost money."""
        return bool(self.use_real_image)

    @property
    def database(self) -> str:
        """The PostgreSQL address for SQLAlchemy; `PartUnavailable` where none is configured."""
        return self._address("database_url", "postgres")

    @property
    def redis(self) -> str:
        """The Redis address for redis-py; `PartUnavailable` where none is configured."""
        return self._address("redis_url", "redis")

    @property
    def broker(self) -> str:
        """The broker address for Celery: IMAGEGEN_BROKER_URL, else Redis."""
        return self.broker_url.get_secret_value() if self.broker_url else celery_redis_url(self.redis)

    @property
    def result_backend(self) -> str:
        """The Redis address for Celery's results."""
        return celery_redis_url(self.redis)

    @property
    def storage(self) -> str:
        """Where pictures are kept: `s3://…`, or `file://…` below the home by default."""
        return self.storage_url or (self.home / "storage").as_uri()

    @property
    def provider_names(self) -> tuple[str, ...]:
        """Provider ids, the preferred first: as told, else those with a key; nanobanana and gemini when emulated."""
        if self.providers is not None:
            return self.providers
        if not self.real:
            return ("nanobanana", "gemini")
        return tuple(name for name in PROVIDERS if getattr(self, KEYS[name]) is not None)

    def provider(self, name: str) -> ProviderAccess:
        """How to reach a provider. While pictures are emulated: never a documented host, never a key that pays."""
        urls = tuple(str(getattr(self, field)) for field in URLS[name])
        key = getattr(self, KEYS[name])
        if self.real:
            if key is None:
                raise InvalidRequest.of(env_name(KEYS[name]), "is not set", f"Set it, or leave {name} out.")
            return ProviderAccess(name, urls, key, real=True)
        for field, url in zip(URLS[name], urls, strict=True):
            if url in documented_urls():
                raise InvalidRequest.of(
                    env_name(field),
                    f"is the real {name}, while USE_REAL_IMAGE is not true",
                    "Give the emulator's address (imagegen emulator), or set USE_REAL_IMAGE=true.",
                )
        if key is None or not all(is_loopback(url) for url in urls):
            key = SecretStr(EMULATED_KEY)
        return ProviderAccess(name, urls, key, real=False)

    def check(self) -> None:
        """Refuse what must not start; `InvalidRequest` with every problem (exit 2)."""
        problems = [*_money_problems(self), *_production_problems(self)]
        if problems:
            raise InvalidRequest.from_problems(problems)

    def describe(self) -> list[Row]:
        """Every setting with its value and source, secrets masked."""
        rows = []
        for field in type(self).model_fields:
            source = self._sources.get(field, "default")
            value = _shown(getattr(self, field), secret_url=field in {"database_url", "redis_url", "broker_url"})
            if source == "default" and field in _DERIVED:
                value = str(getattr(self, _DERIVED[field]))
            rows.append(Row(env_name(field), value, source))
        rows.extend(Row(name, MASK, ".env") for name in sorted(self._aws))
        return rows

    def __repr_args__(self) -> Iterator[tuple[str, str]]:
        """What pydantic shows of it: an address may carry a password."""
        yield from ((row.name, row.value) for row in self.describe() if row.source != "default")

    def _address(self, field: str, part: str) -> str:
        value = getattr(self, field)
        if value is None:
            raise PartUnavailable(
                f"no {part}: {env_name(field)} is not set and no `imagegen up` answers in {self.home}", {"part": part}
            )
        return str(value.get_secret_value())


_DERIVED = {"env": "environment", "use_real_image": "real", "storage_url": "storage"}


def documented_urls() -> frozenset[str]:
    """The addresses of the real providers, as their documentation names them."""
    return frozenset(str(Settings.model_fields[field].default) for fields in URLS.values() for field in fields)


def _money_problems(settings: Settings) -> list[Problem]:
    keyed = [env_name(field) for field in KEYS.values() if getattr(settings, field) is not None]
    if settings.use_real_image is None and not settings.database_embedded and keyed:
        return [
            {
                "field": "USE_REAL_IMAGE",
                "reason": f"is not set, while a database is configured and so is {keyed[0]}",
                "remedy": "Set true to buy real pictures, or false for the emulator.",
            }
        ]
    if not settings.real:
        return []
    missing = [name for name in settings.provider_names if getattr(settings, KEYS[name]) is None]
    if not settings.provider_names:
        return [{"field": "USE_REAL_IMAGE", "reason": "is true, but no provider has a key", "remedy": "Set a key."}]
    return [
        {"field": env_name(KEYS[name]), "reason": "is not set", "remedy": f"Set it, or leave {name} out."}
        for name in missing
    ]


def _production_problems(settings: Settings) -> list[Problem]:
    if settings.environment != "production":
        return []
    found: list[Problem] = []
    for field, part in (("database_url", "PostgreSQL"), ("redis_url", "Redis")):
        if getattr(settings, field) is None:
            found.append(
                {"field": env_name(field), "reason": f"production refuses the embedded {part}", "remedy": "Set it."}
            )
    if not settings.real:
        found.append(
            {
                "field": "USE_REAL_IMAGE",
                "reason": "production refuses the emulator",
                "remedy": "Set true, or IMAGEGEN_ENV=development.",
            }
        )
    secrets = {"jwt_secret": (settings.jwt_secret,), "webhook_secret": settings.webhook_secret}
    for field, held in secrets.items():
        if any(secret and DEVELOPMENT_SECRET in secret.get_secret_value() for secret in held):
            found.append(
                {"field": env_name(field), "reason": "is a development secret", "remedy": "Make one of your own."}
            )
    return found


def _shown(value: Any, secret_url: bool = False) -> str:
    if value is None or value == () or value == {}:
        return ""
    if isinstance(value, SecretStr):
        return mask_url(value.get_secret_value()) if secret_url else MASK
    if isinstance(value, tuple):
        return ",".join(_shown(item) for item in value)
    if isinstance(value, dict):
        return ",".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, bool):
        return str(value).lower()
    return mask_url(value) if isinstance(value, str) and "@" in value and "://" in value else str(value)
