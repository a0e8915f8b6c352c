"""What may not start, whatever each single setting says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imagegen.errors import Problem
from imagegen.settings_source import KEYS, env_name

if TYPE_CHECKING:
    from imagegen.settings import Settings

DEVELOPMENT_SECRET = "development-"
"""How a secret made by `up` or shipped in an example begins; production refuses it."""


SECRET_BYTES = 32
"""Shortest key for HS256: as long as its hash (RFC 7518, section 3.2)."""


def money_problems(settings: Settings) -> list[Problem]:
    """Nobody pays by accident, and nobody orders without a key."""
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


def access_problems(settings: Settings) -> list[Problem]:
    """The HTTP door opens only where tokens can be checked, in development too."""
    if settings.jwt_secret is None and settings.jwks_url is None:
        return [
            {
                "field": "IMAGEGEN_JWT_SECRET",
                "reason": "is not set, so no caller's token could be checked",
                "remedy": f"Set {SECRET_BYTES} random bytes or more (openssl rand -hex 32), or IMAGEGEN_JWKS_URL.",
            }
        ]
    return _short_secret(settings)


def _short_secret(settings: Settings) -> list[Problem]:
    secret = settings.jwt_secret
    if secret is None or len(secret.get_secret_value().encode()) >= SECRET_BYTES:
        return []
    return [
        {
            "field": "IMAGEGEN_JWT_SECRET",
            "reason": f"has fewer than {SECRET_BYTES} bytes",
            "remedy": "Make a longer one: openssl rand -hex 32.",
        }
    ]


def production_problems(settings: Settings) -> list[Problem]:
    """Production refuses embedded parts, the emulator and development secrets."""
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
    found += _short_secret(settings)
    secrets = {"jwt_secret": (settings.jwt_secret,), "webhook_secret": settings.webhook_secret}
    for field, held in secrets.items():
        if any(secret and DEVELOPMENT_SECRET in secret.get_secret_value() for secret in held):
            found.append(
                {"field": env_name(field), "reason": "is a development secret", "remedy": "Make one of your own."}
            )
    return found
