"""Settings: environment, then `.env` in the working folder, then defaults; every secret or URL also as NAME_FILE.

Foreign names are ignored; an unknown `IMAGEGEN_*` name is told with the nearest known one. A wrong value is an
`InvalidRequest` which names the variable, the reason and the remedy, all wrong ones at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from dotenv import dotenv_values
from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from imagegen import policies
from imagegen.errors import InvalidRequest, PartUnavailable
from imagegen.retention import parse_retention
from imagegen.settings_rules import address_problems, money_problems, production_problems
from imagegen.settings_source import FILE_SOURCE, KEY_SETS, KEYS, URLS, collect, env_name, problem, warn_unknown
from imagegen.settings_values import (
    MASK,
    PROVIDERS,
    RateLimit,
    celery_redis_url,
    check_providers,
    is_loopback,
    parse_counts,
    parse_duration,
    parse_http_url,
    parse_list,
    parse_origins,
    parse_postgres_url,
    parse_rate,
    parse_rates,
    parse_redis_url,
    parse_secrets,
    parse_storage_url,
    shown,
)
from imagegen.webhooks import Signer

Duration = Annotated[int, BeforeValidator(parse_duration), Field(ge=1)]
HttpUrl = Annotated[str, BeforeValidator(parse_http_url)]
Words = Annotated[tuple[str, ...], BeforeValidator(parse_list)]
Port = Annotated[int, Field(ge=1, le=65535)]

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
    gemini_webhook_secret: Annotated[tuple[SecretStr, ...], BeforeValidator(parse_secrets)] = ()
    gemini_webhook_audience: str | None = None
    gemini_jwks_url: HttpUrl = "https://generativelanguage.googleapis.com/.well-known/jwks.json"
    fal_key: SecretStr | None = None
    fal_queue_url: HttpUrl = "https://queue.fal.run"
    fal_api_url: HttpUrl = "https://api.fal.ai/v1"
    fal_jwks_url: HttpUrl = "https://rest.fal.ai/.well-known/jwks.json"
    replicate_api_token: SecretStr | None = None
    replicate_api_url: HttpUrl = "https://api.replicate.com/v1"
    replicate_webhook_secret: Annotated[tuple[SecretStr, ...], BeforeValidator(parse_secrets)] = ()
    kie_api_key: SecretStr | None = None
    kie_api_url: HttpUrl = "https://api.kie.ai"
    kie_webhook_hmac_key: SecretStr | None = None
    max_paid_attempts: Annotated[int, Field(ge=1, le=10)] = 1
    deadline: Duration = 600
    cache_ttl: Duration | None = None
    rate_limits: Annotated[dict[str, RateLimit], BeforeValidator(parse_rates)] = Field(default_factory=dict)
    in_flight: Annotated[dict[str, int], BeforeValidator(parse_counts)] = Field(default_factory=dict)
    concurrency: Annotated[int, Field(ge=1, le=1000)] | None = None
    log_format: Literal["json", "console"] | None = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], BeforeValidator(lambda text: str(text).lower())
    ] = "info"
    log_prompts: bool = False
    prices_file: Path | None = None
    templates: Path | None = None
    alert_webhook_url: Annotated[SecretStr, BeforeValidator(parse_http_url)] | None = None
    credit_low: Annotated[Decimal, Field(ge=0, allow_inf_nan=False)] = policies.CREDIT_LOW
    spend_alert: Annotated[Decimal, Field(gt=0, allow_inf_nan=False)] | None = None
    retention: Annotated[dict[str, int], BeforeValidator(parse_retention)] = Field(default_factory=dict)
    result_ttl: Duration = 86400
    jwt_secret: SecretStr | None = None
    jwks_url: HttpUrl | None = None
    jwt_audience: str | None = None
    http_limit: Annotated[RateLimit, BeforeValidator(parse_rate)] = RateLimit(600, 60)
    cors_origins: Annotated[tuple[str, ...], BeforeValidator(parse_origins)] = ()
    webhook_secret: Annotated[tuple[SecretStr, ...], BeforeValidator(parse_secrets)] = ()
    allow_hosts: Words = ()
    api_port: Port | None = None
    flower_port: Port | None = None

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)
    _texts: dict[str, str] = PrivateAttr(default_factory=dict)
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
        values, sources = collect(cls.model_fields, environ, dotenv, cwd)
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
        settings._sources, settings._texts = sources, values | {field: str(path) for field, path in paths.items()}
        settings._origin = dict(environ), cwd
        settings._aws = {key: v for key, v in dotenv.items() if key.startswith("AWS_") and key not in environ}
        return settings

    def reload(self) -> Self:
        """The same environment and files, read again: a NAME_FILE or `.env` may hold another key by then."""
        return self.load(*self._origin)

    def told(self) -> dict[str, str]:
        """The variables that give another process these settings; what came from a file is told by its file."""
        found: dict[str, str] = {}
        for field, source in self._sources.items():
            name, path = env_name(field), source.removeprefix(FILE_SOURCE)
            found |= {f"{name}_FILE": path} if path != source else {name: self._texts[field]}
        return found

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
        problems = [*money_problems(self), *production_problems(self), *address_problems(self)]
        if problems:
            raise InvalidRequest.from_problems(problems)
        self.signer()

    def signer(self) -> Signer | None:
        """What signs webhooks, None without a secret; `InvalidRequest` where a secret is none."""
        secrets = [secret.get_secret_value() for secret in self.webhook_secret]
        return Signer(secrets) if secrets else None

    def describe(self) -> list[Row]:
        """Every setting with its value and source, secrets masked."""
        rows = []
        for field in type(self).model_fields:
            source = self._sources.get(field, "default")
            value = shown(getattr(self, field), secret_url=field in {"database_url", "redis_url", "broker_url"})
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
    named = (*URLS.values(), *KEY_SETS.values())
    return frozenset(str(Settings.model_fields[field].default) for fields in named for field in fields)
