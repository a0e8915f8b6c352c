"""What may not start, whatever each single setting says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imagegen.errors import Problem
from imagegen.links import LONGEST
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
        remedy = "Set a provider's key, such as GEMINI_API_KEY, or USE_REAL_IMAGE=false for the emulator."
        return [{"field": "USE_REAL_IMAGE", "reason": "is true, but no provider has a key", "remedy": remedy}]
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


def address_problems(settings: Settings) -> list[Problem]:
    """Signed addresses end within a week, and are those of the store itself."""
    if settings.urls != "presigned":
        return []
    found: list[Problem] = []
    if settings.url_ttl > LONGEST.total_seconds():
        found.append(
            {
                "field": "IMAGEGEN_URL_TTL",
                "reason": f"is longer than {LONGEST.days} days, the most that a signed address may live",
                "remedy": "Set seven days or less, such as 1h; a new address comes with every reading of the job.",
            }
        )
    if settings.public_base_url is not None and settings.storage.startswith("s3:"):
        found.append(
            {
                "field": "IMAGEGEN_PUBLIC_BASE_URL",
                "reason": "is set, and a signature of the bucket does not hold at another address",
                "remedy": "Unset it, or IMAGEGEN_URLS; IMAGEGEN_S3_PUBLIC_ENDPOINT_URL names the store for browsers.",
            }
        )
    return found


def file_problems(settings: Settings) -> list[Problem]:
    """Who signs the addresses of a local store: asked once `up` has said where it is served."""
    if settings.urls != "presigned" or not settings.storage.startswith("file:"):
        return []
    found: list[Problem] = []
    if settings.public_base_url is None:
        found.append(
            {
                "field": "IMAGEGEN_PUBLIC_BASE_URL",
                "reason": "is not set, so nobody would check the signatures of a local store's addresses",
                "remedy": "Set the HTTP door's, https://HOST/files, or use an S3 store.",
            }
        )
    if settings.jwt_secret is None:
        found.append(
            {
                "field": "IMAGEGEN_JWT_SECRET",
                "reason": "is not set, and the addresses of a local store are signed with a key made of it",
                "remedy": f"Set {SECRET_BYTES} random bytes or more for workers and HTTP door alike.",
            }
        )
    return found or _short_secret(settings)


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
