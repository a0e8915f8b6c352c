"""One check for the callbacks of all providers, with the secrets and public keys that this deployment has.

    nanobanana   signs nothing
    kie          KIE_WEBHOOK_HMAC_KEY
    gemini       GEMINI_WEBHOOK_SECRET (registered webhooks), public keys (addresses given with a request)
    fal          public keys
    replicate    REPLICATE_WEBHOOK_SECRET

What can be checked must hold. Where there is nothing to check with, nothing is proven, and the address's token decides.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import SecretStr

from imagegen.errors import InvalidRequest
from imagegen.providers.inbound import fal, gemini, kie, nanobanana, replicate
from imagegen.providers.inbound.base import UNPROVEN, Checked, Proof, Refusal
from imagegen.providers.inbound.keys import Fetch, KeySet
from imagegen.settings import Settings, documented_urls
from imagegen.settings_source import env_name
from imagegen.webhooks import keys as signers

RENEW_EVERY = 10.0
"""Seconds between two looks at the secrets' files, however many false signatures come."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rules:
    """With what callbacks are checked; None or empty: with nothing. The URLs are those of public keys."""

    kie: SecretStr | None = None
    gemini: tuple[SecretStr, ...] = ()
    gemini_url: str | None = None
    gemini_audience: str | None = None
    fal_url: str | None = None
    replicate: tuple[SecretStr, ...] = ()


Reread = Callable[[], Rules]
"""Reads the rules once more; raises `InvalidRequest` where they cannot be read."""


def rules_of(settings: Settings) -> Rules:
    """As the settings say; while pictures are emulated no provider's own host is asked for its keys.

    Raises `InvalidRequest` where a secret is none.
    """
    found = Rules(
        kie=settings.kie_webhook_hmac_key,
        gemini=settings.gemini_webhook_secret,
        gemini_url=_keys_url(settings, "gemini_jwks_url"),
        gemini_audience=settings.gemini_webhook_audience,
        fal_url=_keys_url(settings, "fal_jwks_url"),
        replicate=settings.replicate_webhook_secret,
    )
    for field in ("gemini", "replicate"):
        _signers(getattr(found, field), f"{field}_webhook_secret")
    return found


def _keys_url(settings: Settings, field: str) -> str | None:
    url = str(getattr(settings, field))
    return url if settings.real or url not in documented_urls() else None


def _signers(secrets: Sequence[SecretStr], field: str) -> list[Any]:
    return signers([one.get_secret_value() for one in secrets], env_name(field)) if secrets else []


class Verifiers:
    """Checks callbacks. Thread-safe. `fetch` reads public keys; `monotonic` counts seconds; `reread` None: the secrets
    never change."""

    def __init__(self, rules: Rules, fetch: Fetch, monotonic: Callable[[], float], reread: Reread | None = None):
        self._reread, self._monotonic = reread, monotonic
        self._fal = KeySet(rules.fal_url, fetch, monotonic) if rules.fal_url else None
        self._google = KeySet(rules.gemini_url, fetch, monotonic) if rules.gemini_url else None
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._rules = rules

    def check(self, provider: str, body: bytes, headers: Mapping[str, str], now: datetime) -> Checked:
        """What the signature comes to; `headers` in any case of letters.

        Raises `PartUnavailable` where the provider's public keys cannot be read.
        """
        used, lowered = self._rules, {name.lower(): value for name, value in headers.items()}
        found = self._checked(provider, body, lowered, now, used)
        if found is Refusal.FORGED and self._renewed(used):
            return self._checked(provider, body, lowered, now, self._rules)
        return found

    def _checked(self, provider: str, body: bytes, headers: Mapping[str, str], now: datetime, rules: Rules) -> Checked:
        match provider:
            case "nanobanana":
                return nanobanana.verify()
            case "kie" if rules.kie is not None:
                return kie.verify(body, headers, rules.kie.get_secret_value(), now)
            case "replicate" if rules.replicate:
                return replicate.verify(body, headers, _signers(rules.replicate, "replicate_webhook_secret"), now)
            case "fal" if self._fal is not None:
                return _by_keys(self._fal, lambda keys: fal.verify(body, headers, keys, now))
            case "gemini" if rules.gemini or self._google is not None:
                return self._gemini(body, headers, now, rules)
            case _:
                return UNPROVEN

    def _gemini(self, body: bytes, headers: Mapping[str, str], now: datetime, rules: Rules) -> Checked:
        """Either kind of webhook, as far as there is something to check it with; the other kind is refused."""
        if not headers.get("webhook-signature"):
            return Refusal.UNSIGNED
        if gemini.is_static(headers):
            secrets = _signers(rules.gemini, "gemini_webhook_secret")
            return gemini.verify_static(body, headers, secrets, now)
        if self._google is None:
            return Refusal.FORGED
        return _by_keys(self._google, lambda keys: gemini.verify_dynamic(headers, keys, rules.gemini_audience, now))

    def _renewed(self, used: Rules) -> bool:
        """Whether the files hold other secrets than those `used`, by now."""
        if self._reread is None:
            return False
        with self._lock:
            now = self._monotonic()
            if self._rules is used and now - self._looked >= RENEW_EVERY:
                self._looked = now
                try:
                    self._rules = self._reread()
                except InvalidRequest as error:
                    log.warning("the secrets of callbacks stay as they are: %s", error)
            return self._rules != used


def _by_keys(held: KeySet, verify: Callable[[Sequence[Mapping[str, Any]]], Checked]) -> Checked:
    """A false signature may be one by a new key: the keys are read once more, then and when."""
    used = held.keys()
    found = verify(used)
    if isinstance(found, Proof) or found is not Refusal.FORGED:
        return found
    newer = held.others(used)
    return found if newer is None else verify(newer)
