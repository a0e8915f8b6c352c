"""What children of `up` are told: everything through their environment, nothing through files of ours. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import SecretStr

from imagegen.settings import EMULATED_KEY, Settings, documented_urls
from imagegen.settings_source import KEYS, URLS, env_name
from imagegen.settings_values import is_loopback


@dataclass(frozen=True)
class Plan:
    """What is to run: the settings, and the environment and working folder (with its `.env`) that they come from."""

    settings: Settings
    environ: Mapping[str, str]
    cwd: Path

    @classmethod
    def here(cls) -> Self:
        """As this process's environment and working folder say."""
        return cls(Settings.load(os.environ, Path.cwd()), dict(os.environ), Path.cwd())

    @classmethod
    def isolated(cls, home: Path, **told: str) -> Self:
        """Own parts and the emulator in `home`, whatever is configured around; `told` are settings by their names."""
        kept = {name: value for name, value in os.environ.items() if not is_setting(name)}
        environ = {**kept, **told, env_name("home"): str(home)}
        home.mkdir(parents=True, exist_ok=True)
        return cls(Settings.load(environ, home), environ, home)


@dataclass(frozen=True)
class Places:
    """Where the parts are: addresses as settings spell them; None for what is not started here."""

    database_url: str
    redis_url: str
    emulator: str | None
    api: str | None
    api_port: int | None
    flower_port: int | None
    development_secret: str


def outside_providers(settings: Settings) -> dict[str, str]:
    """Emulated providers that somebody else serves on this machine: id to address."""
    if settings.real:
        return {}
    told = {name: str(getattr(settings, fields[0])) for name, fields in URLS.items()}
    return {name: url for name, url in told.items() if url not in documented_urls() and is_loopback(url)}


def needs_emulator(settings: Settings) -> bool:
    """Whether a provider is to be emulated that nobody serves yet."""
    return not settings.real and not set(emulated_names(settings)) <= outside_providers(settings).keys()


def emulated_names(settings: Settings) -> tuple[str, ...]:
    """Providers in order of preference: as told, else those served outside, else the emulator's."""
    return settings.providers or tuple(outside_providers(settings)) or settings.provider_names


def joining(plan: Plan, places: Places) -> dict[str, str]:
    """The variables with which a process joins this instance."""
    settings = plan.settings
    aws = {name: value for name, value in plan.environ.items() if name.startswith("AWS_")}
    found = {
        "home": str(settings.home),
        "env": settings.environment,
        "database_url": places.database_url,
        "redis_url": places.redis_url,
        "storage_url": settings.storage,
        "use_real_image": str(settings.real).lower(),
    }
    if places.api is not None:
        found["api_port"] = str(places.api_port)
        if settings.public_base_url is None and settings.storage.startswith("file:"):
            found["public_base_url"] = f"{places.api}/files"
    if places.flower_port is not None:
        found["flower_port"] = str(places.flower_port)
    if settings.jwt_secret is None and settings.jwks_url is None and settings.environment == "development":
        found["jwt_secret"] = places.development_secret
    found |= _providers(settings, places)
    return {
        **aws,
        **settings.aws_environ(),
        **settings.told(),
        **{env_name(field): value for field, value in found.items()},
    }


def _providers(settings: Settings, places: Places) -> dict[str, str]:
    if settings.real:
        return {"providers": ",".join(settings.provider_names)}
    names = emulated_names(settings)
    outside = outside_providers(settings)
    found = {"providers": ",".join(names)}
    for name in names:
        if name in outside:
            key = getattr(settings, KEYS[name])
            found[KEYS[name]] = key.get_secret_value() if isinstance(key, SecretStr) else EMULATED_KEY
        elif places.emulator is not None:
            found |= dict.fromkeys(URLS[name], places.emulator)
            found[KEYS[name]] = EMULATED_KEY
    return found


def whole(plan: Plan, joined: Mapping[str, str], app_root: Path) -> dict[str, str]:
    """The whole environment of a child that runs the worker application."""
    path = plan.environ.get("PYTHONPATH")
    python_path = os.pathsep.join([str(app_root), path] if path else [str(app_root)])
    return {**plan.environ, **joined, "PYTHONPATH": python_path, "PYTHONUNBUFFERED": "1"}


def is_setting(name: str) -> bool:
    """Whether an environment name configures imagegen, a provider or the object store."""
    own = {env_name(field) for field in Settings.model_fields}
    return name.startswith(("IMAGEGEN_", "AWS_")) or name.removesuffix("_FILE") in own
