"""What cannot be proved from here, and is said: what providers charged, and where they are reached."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from imagegen.doctor.findings import Finding
from imagegen.settings import Settings, documented_urls
from imagegen.settings_source import KEY_SETS, URLS, env_name


def provider_findings(settings: Settings) -> Iterator[Finding]:
    """Of each provider in use."""
    for name in settings.provider_names:
        yield Finding(
            severity="info", kind="no-listing", id=name,
            what="has no list of orders to ask: what it charged cannot be compared with the attempts here",
            remedy="Compare `imagegen costs --by provider` with its own statement of account.",
        )  # fmt: skip
        for field in (*URLS[name], *KEY_SETS.get(name, ())):
            url = str(getattr(settings, field))
            if url not in documented_urls():
                yield Finding(
                    severity="info", kind="other-host", id=name,
                    what=f"is reached at {urlsplit(url).netloc.rpartition('@')[2]}, which is not its documented host",
                    remedy=f"Right for the emulator or a gateway of yours; else unset {env_name(field)}.",
                )  # fmt: skip
