"""Keys that change while workers run: a refused key is read again, and the call repeated with the new one.

HTTP 401 and 403 prove that nothing was bought, so repeating even a paid call is safe then; it is done once.
"""

from __future__ import annotations

import logging
import threading
from decimal import Decimal
from typing import Any

from imagegen.errors import AuthError, InvalidRequest
from imagegen.providers.base import Order, Progress, Provider, Rejected, Submission
from imagegen.settings import Settings
from imagegen.transport import Monotonic

RENEW_EVERY = 10.0
"""Seconds between two looks at a refused key: a wrong one must not mean a file read per job."""

log = logging.getLogger("imagegen.providers")


class Key:
    """A provider's key. Called, it gives the text to send; its `repr` does not."""

    def __init__(self, settings: Settings, provider: str, clock: Monotonic) -> None:
        self._settings, self._provider, self._clock = settings, provider, clock
        self._lock = threading.Lock()
        self._secret = settings.provider(provider).key
        self._looked = float("-inf")

    def __call__(self) -> str:
        return self._secret.get_secret_value().strip()

    def __repr__(self) -> str:
        return f"Key({self._provider!r})"

    def renew(self, refused: str) -> bool:
        """Reads the settings again; whether there is another key than the refused one by then."""
        with self._lock:
            if self() == refused and self._clock.monotonic() - self._looked >= RENEW_EVERY:
                self._looked = self._clock.monotonic()
                try:
                    self._secret = self._settings.reload().provider(self._provider).key
                except InvalidRequest as error:
                    log.warning("the key of %s cannot be read again: %s", self._provider, error)
            return self() != refused


class Renewing:
    """A provider whose key may be renewed: the same protocol, one repeat after a renewal."""

    def __init__(self, provider: Provider, key: Key) -> None:
        self._provider, self._key = provider, key
        self.name = provider.name
        self.synchronous, self.takes_bytes = provider.synchronous, provider.takes_bytes
        self.reconcile_window = provider.reconcile_window

    def submit(self, order: Order, *, callback_url: str | None) -> Submission:
        """See `Provider.submit`."""
        used = self._key()
        answer = self._provider.submit(order, callback_url=callback_url)
        refused = isinstance(answer, Rejected) and isinstance(answer.error, AuthError) and answer.error.billed == "no"
        if refused and self._key.renew(used):
            return self._provider.submit(order, callback_url=callback_url)
        return answer

    def poll(self, provider_job_id: str) -> Progress:
        """See `Provider.poll`."""
        used = self._key()
        try:
            return self._provider.poll(provider_job_id)
        except AuthError:
            if not self._key.renew(used):
                raise
            return self._provider.poll(provider_job_id)

    def callback_task(self, body: Any) -> str | None:
        """See `Provider.callback_task`."""
        return self._provider.callback_task(body)

    def credit(self) -> Decimal | None:
        """See `Provider.credit`."""
        used = self._key()
        try:
            return self._provider.credit()
        except AuthError:
            if not self._key.renew(used):
                raise
            return self._provider.credit()
