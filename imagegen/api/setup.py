"""What the HTTP door is told beside its services: how callers prove themselves, and what it allows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from imagegen.api.limiter import Limiter, RedisLimiter
from imagegen.api.tokens import TokenRules
from imagegen.errors import InvalidRequest
from imagegen.ports import Clock
from imagegen.settings import Settings
from imagegen.settings_rules import access_problems


@dataclass(frozen=True)
class Setup:
    """Without token rules nobody gets in.

    `checks`: what `/ready` asks, by the part's name; each raises `PartUnavailable` or `StorageError` where it is away.
    """

    tokens: TokenRules = field(default_factory=TokenRules)
    limiter: Limiter | None = None
    origins: tuple[str, ...] = ()
    checks: Mapping[str, Callable[[], None]] = field(default_factory=dict)


def setup(settings: Settings, clock: Clock, checks: Mapping[str, Callable[[], None]]) -> Setup:
    """As the settings say. Raises `InvalidRequest` where no caller's token could be checked."""
    problems = access_problems(settings)
    if problems:
        raise InvalidRequest.from_problems(problems)
    return Setup(
        tokens=TokenRules(settings.jwt_secret, settings.jwks_url, settings.jwt_audience),
        limiter=RedisLimiter(settings.redis, settings.namespace, settings.http_limit, clock.monotonic),
        origins=settings.cors_origins,
        checks=checks,
    )
