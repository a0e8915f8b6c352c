"""Every provider that the settings name, ready for use: the one place that knows all of their files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from imagegen.catalog import Catalog
from imagegen.ports import Clock
from imagegen.providers.base import Provider
from imagegen.providers.gemini import Gemini
from imagegen.providers.keys import Key, Renewing
from imagegen.providers.nanobanana import NanoBanana
from imagegen.settings import Settings
from imagegen.transport import Transport

MAKERS: dict[str, Callable[..., Provider]] = {"nanobanana": NanoBanana, "gemini": Gemini}
"""Provider id to class."""


def build_providers(settings: Settings, transport: Transport, catalog: Catalog, clock: Clock) -> dict[str, Provider]:
    """The configured providers by id, in the user's order of preference; those without a file here are left out.

    While pictures are emulated, `settings.provider` gives the emulator's addresses and no key that could pay.
    """
    built: dict[str, Provider] = {}
    for name in settings.provider_names:
        if name not in MAKERS:
            continue
        key = Key(settings, name, clock)
        parts: dict[str, Any] = {"transport": transport, "catalog": catalog, "clock": clock}
        built[name] = Renewing(MAKERS[name](url=settings.provider(name).url, key=key, **parts), key)
    return built
