"""The part of every client that receives: webhooks, verified with the secret that they are signed with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imagegen.webhooks import WebhookEvent, verify

Secret = str | Sequence[str] | None
"""`whsec_…` of the sending service, or both while it rotates them."""


class VerifiesWebhooks:
    """`verify_webhook` for a client that was given the secret."""

    _webhook_secrets: tuple[str, ...] = ()

    def _expect_webhooks(self, secret: Secret) -> None:
        self._webhook_secrets = (secret,) if isinstance(secret, str) else tuple(secret or ())

    def verify_webhook(self, body: bytes, headers: Mapping[str, str]) -> WebhookEvent:
        """The event of a webhook that came: `body` as it was received, byte for byte; nothing is sent.

        Raises `InvalidRequest` (answer 400) where its signature does not prove it or it is five minutes old, and where
        this client has no `webhook_secret`; `NotServed` where `standardwebhooks` (extra `api`) is not installed. It
        may come more than once: handle each `event.id` once.
        """
        return verify(body, headers, self._webhook_secrets)
