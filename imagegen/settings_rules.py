"""What may not start, whatever each single setting says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imagegen.errors import Problem
from imagegen.settings_source import KEYS, env_name

if TYPE_CHECKING:
    from imagegen.settings import Settings

DEVELOPMENT_SECRET = "development-"
"""How a secret made by `up` or shipped in an example begins; production refuses it."""


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
    secrets = {"jwt_secret": (settings.jwt_secret,), "webhook_secret": settings.webhook_secret}
    for field, held in secrets.items():
        if any(secret and DEVELOPMENT_SECRET in secret.get_secret_value() for secret in held):
            found.append(
                {"field": env_name(field), "reason": "is a development secret", "remedy": "Make one of your own."}
            )
    return found
