"""What the HTTP door is told beside its services: how callers prove themselves, and what it allows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from imagegen.api.limiter import Limiter, RedisLimiter
from imagegen.api.rotation import Reread, TokenRules
from imagegen.errors import InvalidRequest
from imagegen.ports import Clock
from imagegen.providers.inbound.verifiers import Rules, rules_of
from imagegen.settings import Settings
from imagegen.settings_rules import access_problems, production_problems
from imagegen.settings_source import env_name, read_file


@dataclass(frozen=True)
class Inbound:
    """With what providers' callbacks are checked: by default nothing but the tokens of their addresses."""

    rules: Rules = field(default_factory=Rules)
    reread: Callable[[], Rules] | None = None


@dataclass(frozen=True)
class Setup:
    """Without token rules nobody gets in.

    `reread`: reads the token rules again, where their secret stands in a file.
    `checks`: what `/ready` asks, by the part's name; each raises `PartUnavailable` or `StorageError` where it is away.
    """

    tokens: TokenRules = field(default_factory=TokenRules)
    reread: Reread | None = None
    limiter: Limiter | None = None
    origins: tuple[str, ...] = ()
    checks: Mapping[str, Callable[[], None]] = field(default_factory=dict)
    inbound: Inbound = field(default_factory=Inbound)


def setup(settings: Settings, clock: Clock, checks: Mapping[str, Callable[[], None]]) -> Setup:
    """As the settings say. Raises `InvalidRequest` where no caller's token could be checked."""
    problems = access_problems(settings)
    if problems:
        raise InvalidRequest.from_problems(problems)
    return Setup(
        tokens=token_rules(settings),
        reread=reread(settings),
        limiter=RedisLimiter(settings.redis, settings.namespace, settings.http_limit, clock.monotonic),
        origins=settings.cors_origins,
        checks=checks,
        inbound=Inbound(rules_of(settings), lambda: rules_of(settings.reload())),
    )


def token_rules(settings: Settings) -> TokenRules:
    """With what these settings have tokens checked."""
    return TokenRules(settings.jwt_secret, settings.jwks_url, settings.jwt_audience)


def reread(settings: Settings) -> Reread | None:
    """Reads IMAGEGEN_JWT_SECRET_FILE again; None where the secret does not come from a file."""
    name = f"{env_name('jwt_secret')}_FILE"
    path = settings.told().get(name)
    if path is None:
        return None

    def read() -> TokenRules:
        text = read_file(name, Path(path))
        if not text:
            raise InvalidRequest.of(name, f"{path} is empty", "Write the secret in one step, by renaming a whole file.")
        told = settings.model_copy(update={"jwt_secret": SecretStr(text)})
        problems = access_problems(told) + production_problems(told)
        if problems:
            raise InvalidRequest.from_problems(problems)
        return token_rules(told)

    return read
